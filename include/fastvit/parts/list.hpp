// SPDX-License-Identifier: MIT
// The parts of a network, in the order in which they run. This is the one list: loading, writing, cost, memory, the outputs'
// shapes and the observer's names all follow from it.
//
// A part is a class with
//
//     config    what distinguishes one from another; taken from the architecture here
//     weights   its tensors, in the train-time or the folded form
//     describe(archive, weights, config)    its tensors' names and shapes
//     reparameterize(weights)   what the official reparameterize_model leaves in a checkpoint
//     fold(weights)             that, and whatever else can be folded
//     fold_bytes                memory that folding takes for each element of the part's largest matrix
//     output(config, extent)    the extent of its result
//     costs(config, extent)     its multiply-adds, by name
//     a constructor (target, weights, config), which packs the weights in whichever form they are, and run()
//
// and a block of a stage also has `kind` and recognise(), by which a checkpoint's blocks are told apart, and, if int8 computes
// its matrices, fold_for_int8(weights), what save_converted() leaves of it in a quantised checkpoint.
//
// A new token mixer is a file beside the others, a name in architecture.hpp and a word in `blocks` below.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/error.hpp"
#include "fastvit/outputs.hpp"
#include "fastvit/parts/attention.hpp"
#include "fastvit/parts/conv_mixer.hpp"
#include "fastvit/parts/fork_norm.hpp"
#include "fastvit/parts/head.hpp"
#include "fastvit/parts/patch_embed.hpp"
#include "fastvit/parts/pooling.hpp"
#include "fastvit/parts/position.hpp"
#include "fastvit/parts/rep_mixer.hpp"
#include "fastvit/parts/stem.hpp"

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// Types, as an argument.
template <class... T> struct type_list {};

/// The blocks that a stage may be made of, one for each token_mixer. A checkpoint's is the first that recognises its tensors.
using blocks = type_list<attention_block, conv_mixer_block, rep_mixer_block, pooling_block>;

/// Calls visit.operator()<Block>() for each until one returns true, and returns whether one did.
template <class... Block, class Visitor> bool any_block(type_list<Block...>, Visitor &&visit) {
    return (visit.template operator()<Block>() || ...);
}

/// Where a part stands.
struct place {
    std::string name;        ///< timm's, before the names of its tensors; also what an observer is told
    bool ends_stage = false; ///< the last block of one
};

/// Calls visit.operator()<Part>(place, config) for each part in the order in which they run; a fork feature's norm follows what
/// it normalises.
template <class Visitor> void for_each_part(const architecture &net, Visitor &&visit) {
    index_type number = 0; // of the official network.N
    const auto end_module = [&](index_type channels) {
        if (net.fork_features && is_fork_feature(number))
            visit.template operator()<fork_norm>(place{"norm" + std::to_string(number)}, fork_norm::config{channels});
        ++number;
    };
    if (net.stages.empty()) throw error(error_kind::invalid_argument, "an architecture without stages");
    index_type before = net.stages[0].channels;
    visit.template operator()<stem>(place{"stem"}, stem::config{net.in_channels, before, net.stem_scale_branch});
    for (std::size_t s = 0; s < net.stages.size(); ++s) {
        const stage_architecture &stage = net.stages[s];
        const std::string name = "stages." + std::to_string(s) + ".";
        if (s > 0) {
            visit.template operator()<patch_embed>(place{name + "downsample"},
                                                   patch_embed::config{before, stage.channels, stage.downsample_squeeze_excite,
                                                                       net.large_kernel_gelu, stage.downsample_kernel});
            end_module(stage.channels);
        }
        if (stage.position) {
            visit.template operator()<position>(place{name + "pos_emb"}, position::config{stage.channels});
            end_module(stage.channels);
        }
        for (index_type b = 0; b < stage.blocks; ++b)
            any_block(blocks(), [&]<class Block>() {
                if (Block::kind != stage.mixer) return false;
                visit.template operator()<Block>(place{name + "blocks." + std::to_string(b), b + 1 == stage.blocks}, stage);
                return true;
            });
        end_module(stage.channels);
        before = stage.channels;
    }
    if (net.head_channels > 0) {
        visit.template operator()<head_conv>(place{"final_conv"}, head_conv::config{before, net.head_channels});
        before = net.head_channels;
    }
    if (net.classes > 0) visit.template operator()<linear>(place{"head.fc"}, linear::config{before, net.classes, net.linear});
}

/// The same, visit(place, config, in, out) with the extents of the part's input and output, for images of the extent `size`.
template <class Visitor> void for_each_part(const architecture &net, extent size, Visitor &&visit) {
    for_each_part(net, [&]<class Part>(const place &p, const typename Part::config &c) {
        const extent in = std::exchange(size, Part::output(c, size));
        visit.template operator()<Part>(p, c, in, size);
    });
}

/// The extent of a batch of this shape. Throws invalid_argument for one that the network cannot take.
inline extent image_extent(const architecture &net, const shape &images) {
    // So that no size computed from them can overflow.
    constexpr index_type sides = index_type{1} << 20, pixels = index_type{1} << 34;
    bool fits = images.rank() == 4 && images[1] == net.in_channels;
    for (const index_type d : images) fits = fits && d > 0 && d < sides;
    if (!fits || images.count() / net.in_channels >= pixels)
        throw error(error_kind::invalid_argument,
                    {.problem = "shape of the images",
                     .expected = "[N, " + std::to_string(net.in_channels) +
                                 ", H, W], each from 1 to 2^20 - 1, with fewer than 2^34 pixels in the batch",
                     .found = images.to_string()});
    return {images[0], images[2], images[3], images[1]};
}

/// The shapes of the outputs that `wanted` has, for images of the extent `size`; see outputs.hpp.
inline output_shapes shapes_of(const architecture &net, const extent &size, output_kind wanted) {
    output_shapes shapes;
    const auto map_shape = [](const extent &e) { return shape{e.images, e.channels, e.height, e.width}; };
    extent last = size;
    for_each_part(net, size, [&]<class Part>(const place &p, const typename Part::config &, const extent &, const extent &out) {
        if constexpr (std::is_same_v<Part, stem>) {
            if (wants(wanted, output_kind::stem)) shapes.stem = map_shape(out);
        } else if constexpr (std::is_same_v<Part, fork_norm>) {
            if (wants(wanted, output_kind::fork_features)) shapes.fork_features.push_back(map_shape(out));
        } else if constexpr (std::is_same_v<Part, head_conv>) {
            if (wants(wanted, output_kind::final_conv)) shapes.final_conv = map_shape(out);
        } else if constexpr (std::is_same_v<Part, linear>) {
            if (wants(wanted, output_kind::logits)) shapes.logits = shape{out.images, out.channels};
            return;
        }
        if (p.ends_stage && wants(wanted, output_kind::stages)) shapes.stages.push_back(map_shape(out));
        last = out;
    });
    if (wants(wanted, output_kind::embedding)) shapes.embedding = shape{last.images, last.channels};
    return shapes;
}

}}} // namespace fastvit::FASTVIT_ABI::parts
