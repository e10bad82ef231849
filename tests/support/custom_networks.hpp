// SPDX-License-Identifier: MIT
// Networks that nobody has published, made in a line, with seeded parameters.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/model.hpp"

#include "support/seeded.hpp"

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

fastvit::architecture make(std::vector<fastvit::stage_architecture> stages, index_type head_channels, index_type classes,
                           index_type in_channels = 3);

fastvit::architecture with_fork_features(fastvit::architecture net);

/// RepMixer and attention, and every output that there is, quick enough to be run many times.
fastvit::architecture small_net();

const fastvit::checkpoint &small_checkpoint();
fastvit::model small_model(fastvit::graph form = fastvit::graph::folded);

} // namespace fastvit_test
