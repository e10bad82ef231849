// SPDX-License-Identifier: MIT
// The tiers of kernels in this program. They are listed in impl/kernels/registry.hpp, the only list that a new tier joins.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/precision.hpp"

#include <span>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

struct kernel_table; // see kernels/table.hpp

/// One set of kernels in this program.
struct tier {
    std::string_view name; ///< what FASTVIT_ISA and model_options::isa take
    bool supported;        ///< this machine can run it, in float32 at least: see runs()
    const kernel_table *kernels;
    /// Null, or asks the operating system for what products below float32 need, and says whether it gave it: always the same.
    bool (*permitted)() noexcept = nullptr;

    /// Whether the kernels for models of that type can run.
    bool runs(precision type) const noexcept { return supported && (type == precision::float32 || !permitted || permitted()); }
};

/// The tiers compiled into this program, the fastest first.
std::span<const tier> tiers();

/// The tier named `name`; if that is empty, the one that the environment variable FASTVIT_ISA names; if that is not set, the
/// fastest that this machine can run models of that type with. Throws invalid_argument, which lists the names, for a tier that is
/// unknown, that the machine cannot run, or that the operating system does not permit for that type.
const tier &select_tier(std::string_view name = {}, precision type = precision::float32);

/// The same from a list.
const tier &select_tier_of(std::span<const tier> list, std::string_view name, precision type);

}}} // namespace fastvit::FASTVIT_ABI::kernels

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/kernels/registry.hpp"
#endif
