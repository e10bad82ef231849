// SPDX-License-Identifier: MIT
// The tiers of kernels in this program. They are listed in impl/kernels/registry.hpp, the only list that a new tier joins.
#pragma once

#include "fastvit/base/config.hpp"

#include <span>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

struct kernel_table; // see kernels/table.hpp

/// One set of kernels in this program.
struct tier {
    std::string_view name; ///< what FASTVIT_ISA and model_options::isa take
    bool supported;        ///< this machine and its operating system can run it
    const kernel_table *kernels;
};

/// The tiers compiled into this program, the fastest first.
std::span<const tier> tiers();

/// The tier named `name`; if that is empty, the one that the environment variable FASTVIT_ISA names; if that is not set, the
/// fastest that this machine can run. Throws invalid_argument, which lists the names, for a tier that is unknown or that the
/// machine cannot run.
const tier &select_tier(std::string_view name = {});

}}} // namespace fastvit::FASTVIT_ABI::kernels

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/kernels/registry.hpp"
#endif
