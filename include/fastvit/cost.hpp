// SPDX-License-Identifier: MIT
// What a forward pass costs, part by part.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/parts/part_cost.hpp"

#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The parts of one image's folded forward pass in the order in which they run: stem, stages.S.downsample, stages.S.pos_emb,
/// stages.S.blocks.B.token_mixer and .mlp, final_conv, head.fc. Convolutions, linear layers and both products of attention
/// count; additions, activations and the global average do not. `height` and `width` are the image's, in pixels. Throws
/// invalid_argument for sizes that forward() would not take.
[[nodiscard]] std::vector<part_cost> part_costs(const architecture &net, index_type height, index_type width);

/// Multiply-adds of one image's folded forward pass: the sum of part_costs().
[[nodiscard]] double multiply_adds(const architecture &net, index_type height, index_type width);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/cost.hpp"
#endif
