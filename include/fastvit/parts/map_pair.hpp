// SPDX-License-Identifier: MIT
// The two maps that the blocks of a stage work in.
#pragma once

#include "fastvit/runtime/map.hpp"

#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// The activations, and a map of the same layout to work in: a part of the backbone reads `x` and leaves its result there.
struct map_pair {
    runtime::map x, other;
    int place = 0; ///< number of the stage map that x is; other is the other one

    void swap() noexcept {
        std::swap(x, other);
        place = 1 - place;
    }

    /// Around the maps of every stage: what the largest windows of ConvFFN, patch embedding and positional encoding need, 7 x 7.
    static constexpr index_type halo = 3;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
