// SPDX-License-Identifier: MIT
// What a forward pass costs, part by part.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/base/config.hpp"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// A part of the network under the name that an observer is told, and its multiply-adds for one image.
struct part_cost {
    std::string name;
    double multiply_adds;
};

/// The parts of one image's folded forward pass in the order in which they run: stem, stages.S.downsample, stages.S.pos_emb,
/// stages.S.blocks.B.token_mixer and .mlp, final_conv, head. Counted are convolutions, linear layers and both products of
/// attention; not additions, activations and the squeeze-and-excite's pooling.
inline std::vector<part_cost> part_costs(const architecture &net, index_type height, index_type width) {
    const auto half = [](index_type n) { return (n + 1) / 2; };
    const auto d = [](index_type n) { return static_cast<double>(n); };
    std::vector<part_cost> parts;
    const auto add = [&](std::string name, double macs) { parts.push_back({std::move(name), macs}); };

    const index_type c0 = net.stages.empty() ? 0 : net.stages[0].channels;
    height = half(height), width = half(width);
    double stem = d(height * width) * d(c0 * net.in_channels * 9);
    height = half(height), width = half(width);
    stem += d(height * width) * d(c0 * 9 + c0 * c0);
    add("stem", stem);
    index_type before = c0;
    for (std::size_t s = 0; s < net.stages.size(); ++s) {
        const stage_architecture &stage = net.stages[s];
        const std::string name = "stages." + std::to_string(s) + ".";
        const index_type c = stage.channels;
        if (s > 0) {
            height = half(height), width = half(width);
            add(name + "downsample",
                d(height * width) * d(c * 49 + c * c) + (stage.downsample_squeeze_excite ? d(2 * c * (c / 4)) : 0));
        }
        const double pixels = d(height * width);
        if (stage.position) add(name + "pos_emb", pixels * d(c * 49));
        for (index_type b = 0; b < stage.blocks; ++b) {
            const std::string block = name + "blocks." + std::to_string(b) + ".";
            add(block + "token_mixer",
                stage.mixer == token_mixer::rep_mixer ? pixels * d(c * 9) : pixels * d(4 * c * c) + 2 * pixels * pixels * d(c));
            add(block + "mlp", pixels * d(c * 49 + 2 * c * stage.hidden));
        }
        before = c;
    }
    if (net.head_channels > 0) {
        add("final_conv", d(height * width) * d(net.head_channels * 9) + d(2 * net.head_channels * (net.head_channels / 16)));
        before = net.head_channels;
    }
    add("head", d(before * net.classes));
    return parts;
}

/// Multiply-adds of one image's folded forward pass: the sum of part_costs().
inline double multiply_adds(const architecture &net, index_type height, index_type width) {
    double total = 0;
    for (const part_cost &part : part_costs(net, height, width)) total += part.multiply_adds;
    return total;
}

}} // namespace fastvit::FASTVIT_ABI
