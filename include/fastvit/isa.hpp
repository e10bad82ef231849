// SPDX-License-Identifier: MIT
// Which kernels run. Each instruction set is a tier, and the tier is chosen when the program runs.
#pragma once

#include "fastvit/kernels/registry.hpp"

#include <span>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI {

/// A set of kernels in this program: its name, and whether this machine can run it, and for models of which types.
using isa_tier = kernels::tier;

/// The tiers compiled into this program, the fastest first.
[[nodiscard]] inline std::span<const isa_tier> isa_tiers() { return kernels::tiers(); }

/// The tier that a model of that type runs with: see kernels::select_tier().
[[nodiscard]] inline const isa_tier &select_isa(std::string_view name = {}, precision type = precision::float32) {
    return kernels::select_tier(name, type);
}

}} // namespace fastvit::FASTVIT_ABI
