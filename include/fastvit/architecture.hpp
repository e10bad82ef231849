// SPDX-License-Identifier: MIT
// What distinguishes one FastViT from another, and the published ones.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/text.hpp"
#include "fastvit/error.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// How the blocks of a stage mix tokens (paper, section 3.1). No published network uses the last two: pooling is the paper's
/// baseline, and ConvMixer is what RepMixer was made of.
enum class token_mixer : unsigned char { rep_mixer, attention, pooling, conv_mixer };
[[nodiscard]] constexpr std::string_view to_string(token_mixer mixer) noexcept {
    switch (mixer) {
    case token_mixer::rep_mixer: return "RepMixer";
    case token_mixer::attention: return "attention";
    case token_mixer::pooling: return "pooling";
    case token_mixer::conv_mixer: return "ConvMixer";
    }
    return "?";
}

/// What normalises the input of attention: BatchNorm, which folds away, or LayerNorm over the channels of each pixel (MCi3,
/// MCi4).
enum class attention_norm : unsigned char { batch_norm, layer_norm };

/// How a checkpoint holds the last linear layer.
enum class linear_form : unsigned char {
    biased,    ///< weight [classes, channels] and bias: classifiers, and timm's form of the CLIPs
    unbiased,  ///< the weight alone: open_clip's own projection, beside a trunk without a linear layer
    transposed ///< MobileCLIP's `head.proj` [channels, classes], without bias
};

/// Whether a ConvFFN or a patch embedding may have a window of that side.
[[nodiscard]] constexpr bool is_window(index_type side) noexcept { return side == 3 || side == 5 || side == 7; }

/// One stage: blocks of one width at one resolution.
struct stage_architecture {
    index_type blocks = 0; ///< at least 1 in a network
    index_type channels = 0;
    index_type hidden = 0; ///< channels inside the ConvFFN: channels times the MLP ratio
    token_mixer mixer = token_mixer::rep_mixer;
    bool position = false;                  ///< a conditional positional encoding before the blocks
    bool downsample_squeeze_excite = false; ///< squeeze and excite after the patch embedding's large kernel (MCi0 to MCi2)
    attention_norm norm = attention_norm::batch_norm; ///< for attention stages
    index_type ffn_kernel = 7;                        ///< side of ConvFFN's window: 3, 5 or 7, which all published networks have
    index_type downsample_kernel = 7;                 ///< of the patch embedding's

    friend bool operator==(const stage_architecture &, const stage_architecture &) = default;
};

/// A whole network. All of it can be read off a checkpoint's tensors, except large_kernel_gelu, which follows from the variant.
struct architecture {
    std::string variant; ///< `fastvit_t8` ...; `custom` if it is none of the published ones
    index_type in_channels = 3;
    index_type classes = 1000; ///< outputs of the last linear layer; 0 without one
    std::vector<stage_architecture> stages;
    index_type head_channels = 0; ///< of the last convolution, the width of the embedding; 0 without one
    linear_form linear = linear_form::biased;
    std::vector<std::string> other_head; ///< a head that is not one linear layer: its tensors, as the file names them
    bool fork_features = false;          ///< BatchNorms for output_kind::fork_features: official `fork_feat` checkpoints
    bool stem_scale_branch = true;       ///< the stem's 3 x 3 convolutions have a 1 x 1 branch in the train-time graph
    bool large_kernel_gelu = false; ///< GELU after the patch embedding's large kernel: MCi only (computed but dropped elsewhere)

    /// Input pixels for each pixel of the last stage, in each direction: 32 for four stages.
    [[nodiscard]] index_type stride() const noexcept { return index_type{2} << stages.size(); }
};

/// Why a network without `classes` gives no logits, for messages.
inline std::string why_no_logits(const architecture &net) {
    if (net.other_head.empty()) return "this network has no linear layer, so it gives no logits";
    return "the head of this network is not one linear layer, so it gives no logits: " + io::first_of_list(net.other_head, 6);
}

/// Whether the official dense-prediction form (`fork_feat`) returns the output of network.N: for 0, 2, 4 and 6, whichever parts
/// those are.
[[nodiscard]] constexpr bool is_fork_feature(index_type number) noexcept { return number % 2 == 0 && number <= 6; }

/// What distinguishes a published variant from the others.
struct variant_entry {
    std::string_view name;
    std::size_t stages;
    std::array<index_type, 5> blocks;
    std::array<index_type, 5> channels;
    index_type mlp_ratio;
    std::size_t attention_stages; ///< the last ones
    bool large_kernel_gelu;
};

/// apple/ml-fastvit `models/fastvit.py`, apple/ml-mobileclip and timm `fastvit.py`, in order of size.
inline constexpr std::array<variant_entry, 12> variant_table{{
    {"fastvit_t8", 4, {2, 2, 4, 2}, {48, 96, 192, 384}, 3, 0, false},
    {"fastvit_t12", 4, {2, 2, 6, 2}, {64, 128, 256, 512}, 3, 0, false},
    {"fastvit_s12", 4, {2, 2, 6, 2}, {64, 128, 256, 512}, 4, 0, false},
    {"fastvit_sa12", 4, {2, 2, 6, 2}, {64, 128, 256, 512}, 4, 1, false},
    {"fastvit_sa24", 4, {4, 4, 12, 4}, {64, 128, 256, 512}, 4, 1, false},
    {"fastvit_sa36", 4, {6, 6, 18, 6}, {64, 128, 256, 512}, 4, 1, false},
    {"fastvit_ma36", 4, {6, 6, 18, 6}, {76, 152, 304, 608}, 4, 1, false},
    {"fastvit_mci0", 4, {2, 6, 10, 2}, {64, 128, 256, 512}, 3, 1, true},
    {"fastvit_mci1", 4, {4, 12, 20, 4}, {64, 128, 256, 512}, 3, 1, true},
    {"fastvit_mci2", 4, {4, 12, 24, 4}, {80, 160, 320, 640}, 3, 1, true},
    {"fastvit_mci3", 5, {2, 12, 24, 4, 2}, {96, 192, 384, 768, 1536}, 4, 2, true},
    {"fastvit_mci4", 5, {2, 12, 24, 4, 4}, {128, 256, 512, 1024, 2048}, 4, 2, true},
}};

/// The published variant of that name, with the class count it was published with. Throws invalid_argument for an unknown name.
[[nodiscard]] inline architecture published_architecture(std::string_view name) {
    architecture net;
    std::string known;
    for (const variant_entry &v : variant_table) {
        known += (known.empty() ? "" : ", ") + std::string(v.name);
        if (v.name != name) continue;
        const bool mci = v.large_kernel_gelu, layer_norm = v.stages == 5;
        net.variant = name;
        net.large_kernel_gelu = mci;
        net.stem_scale_branch = !layer_norm;
        net.classes = !mci ? 1000 : layer_norm ? 768 : 512;
        for (std::size_t i = 0; i < v.stages; ++i) {
            const bool attends = i + v.attention_stages >= v.stages;
            net.stages.push_back({.blocks = v.blocks[i],
                                  .channels = v.channels[i],
                                  .hidden = v.channels[i] * v.mlp_ratio,
                                  .mixer = attends ? token_mixer::attention : token_mixer::rep_mixer,
                                  .position = attends,
                                  .downsample_squeeze_excite = mci && !layer_norm && i >= 2,
                                  .norm = attends && layer_norm ? attention_norm::layer_norm : attention_norm::batch_norm});
        }
        net.head_channels = 2 * net.stages.back().channels;
        return net;
    }
    throw error(error_kind::invalid_argument, {.problem = "variant", .expected = "one of " + known, .found = std::string(name)});
}

/// The published variant with these stages, or null. Head, class count and input channels may be a user's own.
[[nodiscard]] inline const variant_entry *find_variant(std::span<const stage_architecture> stages) {
    for (const variant_entry &v : variant_table)
        if (const auto known = published_architecture(v.name).stages;
            std::equal(stages.begin(), stages.end(), known.begin(), known.end()))
            return &v;
    return nullptr;
}

}} // namespace fastvit::FASTVIT_ABI
