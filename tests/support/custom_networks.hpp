// SPDX-License-Identifier: MIT
// Networks that nobody has published, made in a line, with seeded parameters.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/model.hpp"

#include "support/seeded.hpp"

#include <utility>
#include <vector>

namespace fastvit_test {

constexpr fastvit::stage_architecture plain(index_type blocks, index_type channels, index_type hidden) {
    return {.blocks = blocks, .channels = channels, .hidden = hidden};
}
constexpr fastvit::stage_architecture attending(index_type blocks, index_type channels, index_type hidden,
                                                fastvit::attention_norm norm = fastvit::attention_norm::batch_norm) {
    return {.blocks = blocks,
            .channels = channels,
            .hidden = hidden,
            .mixer = fastvit::token_mixer::attention,
            .position = true,
            .norm = norm};
}

inline fastvit::architecture make(std::vector<fastvit::stage_architecture> stages, index_type head_channels, index_type classes,
                                  index_type in_channels = 3) {
    fastvit::architecture net;
    net.variant = "custom";
    net.in_channels = in_channels;
    net.classes = classes;
    net.stages = std::move(stages);
    net.head_channels = head_channels;
    return net;
}

inline fastvit::architecture with_fork_features(fastvit::architecture net) {
    net.fork_features = true;
    return net;
}

/// RepMixer and attention, and every output that there is, quick enough to be run many times.
inline fastvit::architecture small_net() {
    return with_fork_features(make({plain(1, 8, 24), plain(2, 16, 48), plain(1, 32, 96), attending(1, 64, 192)}, 128, 10));
}

inline const fastvit::checkpoint &small_checkpoint() {
    static const fastvit::checkpoint source = seeded_checkpoint(small_net(), fastvit::io::spelling::timm);
    return source;
}
inline fastvit::model small_model(fastvit::graph form = fastvit::graph::folded) {
    return fastvit::model(small_checkpoint(), {.graph = form});
}

} // namespace fastvit_test
