// SPDX-License-Identifier: MIT
// The architecture of a checkpoint, read off its tensors.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint/state_dict.hpp"
#include "fastvit/kernels/attention/contract.hpp"
#include "fastvit/parts/list.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// More than any published FastViT has (5, 24), and little enough that a hostile file cannot make loading long.
inline constexpr index_type max_stages = 8, max_blocks = 1024;

namespace detail {

/// A dimension that the architecture follows from, of a `matrix` that may be quantised or of another tensor; throws
/// `missing_tensor`, `shape_mismatch` or `unsupported`.
inline index_type dimension(const state_dict &dict, const std::string &canonical, std::size_t rank, std::size_t dim,
                            bool matrix = false) {
    const io::stored_tensor *const t = dict.find(canonical);
    if (!t)
        throw error(error_kind::missing_tensor,
                    {.problem = "this tensor is missing", .tensor = dict.names().from_canonical(canonical)});
    // Without elements, or with elements that are not read, any dimension can be claimed without the bytes for it.
    if (!matrix || t->type != io::dtype::i8) io::check_floating(*t);
    if (t->dims.rank() != rank || t->dims.count() == 0)
        throw error(error_kind::shape_mismatch, {.problem = "wrong shape",
                                                 .expected = std::to_string(rank) + " dimensions, none of them 0",
                                                 .found = t->dims.to_string(),
                                                 .tensor = t->name});
    return t->dims[dim];
}

/// The side of a depthwise convolution's window.
inline index_type window(const state_dict &dict, const std::string &name) {
    const index_type side = dimension(dict, name, 4, 2);
    if (!is_window(side))
        throw error(error_kind::unsupported, {.problem = "side of a convolution's window",
                                              .expected = "3, 5 or 7",
                                              .found = std::to_string(side),
                                              .tensor = dict.name_of(name)});
    return side;
}

inline stage_architecture recognise_stage(const state_dict &dict, const std::string &name) {
    stage_architecture stage;
    while (stage.blocks < max_blocks && dict.any_with_prefix(name + "blocks." + std::to_string(stage.blocks) + "."))
        ++stage.blocks;
    const std::string block = name + "blocks.0.";
    const bool folded_ffn = dict.any_with_prefix(block + "mlp.conv.reparam_conv.");
    const std::string ffn = block + (folded_ffn ? "mlp.conv.reparam_conv.weight" : "mlp.conv.conv.weight");
    stage.channels = dimension(dict, ffn, 4, 0);
    stage.ffn_kernel = window(dict, ffn);
    stage.hidden = dimension(dict, block + "mlp.fc1.weight", 4, 0, true);
    stage.position = dict.any_with_prefix(name + "pos_emb.");
    if (const std::string large = name + "downsample.proj.0."; dict.any_with_prefix(large))
        stage.downsample_kernel = window(
            dict, large + (dict.any_with_prefix(large + "reparam_conv.") ? "reparam_conv.weight" : "large_conv.conv.weight"));
    stage.downsample_squeeze_excite = dict.any_with_prefix(name + "downsample.proj.0.se.");
    const auto has = [&](std::string_view start) { return dict.any_with_prefix(block + std::string(start)); };
    parts::any_block(parts::blocks(), [&]<class Block>() {
        if (!Block::recognise(has, stage)) return false;
        stage.mixer = Block::kind;
        return true;
    });
    if (stage.mixer == token_mixer::attention && stage.channels % kernels::head_channels != 0)
        throw error(error_kind::unsupported,
                    {.problem = "channels of an attention stage",
                     .expected = "a multiple of " + std::to_string(kernels::head_channels) + ", the channels of a head",
                     .found = std::to_string(stage.channels),
                     .tensor = dict.name_of(block + "token_mixer.qkv.weight")});
    return stage;
}

} // namespace detail

/// Throws `missing_tensor`, `shape_mismatch` or `unsupported` where the tensors that decide are not there or make no sense.
inline architecture recognise(const state_dict &dict) {
    using detail::dimension;
    architecture net;
    const bool folded_stem = dict.find("stem.0.reparam_conv.weight") != nullptr;
    net.in_channels = dimension(dict, folded_stem ? "stem.0.reparam_conv.weight" : "stem.0.conv_kxk.0.conv.weight", 4, 1);
    // Either may be folded without the other. If both are, the branch is gone and the answer makes no difference.
    net.stem_scale_branch = dict.any_with_prefix("stem.0.conv_scale.") || dict.any_with_prefix("stem.1.conv_scale.") ||
                            (folded_stem && dict.find("stem.1.reparam_conv.weight"));
    do {
        net.stages.push_back(detail::recognise_stage(dict, "stages." + std::to_string(net.stages.size()) + "."));
    } while (static_cast<index_type>(net.stages.size()) < max_stages &&
             dict.any_with_prefix("stages." + std::to_string(net.stages.size()) + "."));
    for (std::size_t s = 1; s < net.stages.size(); ++s)
        if (net.stages[s].channels % net.stages[s - 1].channels != 0)
            throw error(error_kind::unsupported,
                        {.problem = "channels of stage " + std::to_string(s),
                         .expected = "a multiple of the stage before, " + std::to_string(net.stages[s - 1].channels),
                         .found = std::to_string(net.stages[s].channels)});

    if (dict.any_with_prefix("final_conv.")) {
        const bool folded = dict.find("final_conv.reparam_conv.weight") != nullptr;
        net.head_channels =
            dimension(dict, folded ? "final_conv.reparam_conv.weight" : "final_conv.conv_kxk.0.conv.weight", 4, 0);
        if (net.head_channels % net.stages.back().channels != 0 || net.head_channels < 16)
            throw error(error_kind::unsupported, {.problem = "channels of the head's convolution",
                                                  .expected = "a multiple of the last stage's " +
                                                              std::to_string(net.stages.back().channels) + ", and at least 16",
                                                  .found = std::to_string(net.head_channels)});
    }
    if (dict.find("head.fc.proj")) {
        net.linear = linear_form::transposed;
        net.classes = dimension(dict, "head.fc.proj", 2, 1);
    } else if (dict.any_with_prefix("head.fc.")) {
        if ((dict.names().projection_beside() || dict.linear_moved()) && !dict.find("head.fc.bias"))
            net.linear = linear_form::unbiased;
        net.classes = dimension(dict, "head.fc.weight", 2, 0, true);
    } else {
        net.classes = 0;
        for (const io::stored_tensor *const t : dict.other_head()) net.other_head.push_back(t->name);
    }
    for (index_type k = 0; is_fork_feature(k); k += 2)
        if (dict.any_with_prefix("norm" + std::to_string(k) + ".")) net.fork_features = true;

    const variant_entry *const known = find_variant(net.stages);
    net.variant = known ? known->name : "custom";
    // No tensor shows it. A custom network counts as MCi if it has what only that family has.
    net.large_kernel_gelu = known && known->large_kernel_gelu;
    for (const stage_architecture &stage : net.stages)
        if (!known && (stage.downsample_squeeze_excite || stage.norm == attention_norm::layer_norm)) net.large_kernel_gelu = true;
    return net;
}

}}} // namespace fastvit::FASTVIT_ABI::loading
