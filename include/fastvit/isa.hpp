// SPDX-License-Identifier: MIT
// Which kernels run: every tier that this compiler can make is in the program, and the machine decides at run time.
#pragma once

#include "fastvit/error.hpp"
#include "fastvit/kernels/contract.hpp"
#include "fastvit/kernels/tiers/avx2.hpp"
#include "fastvit/kernels/tiers/avx512.hpp"
#include "fastvit/kernels/tiers/neon.hpp"
#include "fastvit/kernels/tiers/scalar.hpp"

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI {

/// One set of kernels in this program.
struct isa_tier {
    const kernels::kernel_table *kernels; ///< kernels->name is what FASTVIT_ISA takes
    bool supported;                       ///< this machine and its operating system can run it
};

/// The tiers compiled into this program, the fastest first.
inline auto isa_tiers() {
#if defined(__x86_64__)
    // The compilers' run-time support asks CPUID for the instructions and XCR0 for whether the operating system keeps the
    // registers.
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    return std::array{isa_tier{&kernels::avx512::table, avx512}, isa_tier{&kernels::avx2::table, avx2},
                      isa_tier{&kernels::scalar::table, true}};
#elif defined(__aarch64__)
    return std::array{isa_tier{&kernels::neon::table, true}, isa_tier{&kernels::scalar::table, true}};
#else
    return std::array{isa_tier{&kernels::scalar::table, true}};
#endif
}

/// The kernels named `name`; for an empty name those that the environment variable FASTVIT_ISA names; without it the fastest that
/// this machine can run. Throws invalid_argument, with the names there are, for one that is unknown or that the machine cannot
/// run.
inline const kernels::kernel_table &select_kernels(std::string_view name = {}) {
    if (name.empty())
        if (const char *const forced = std::getenv("FASTVIT_ISA")) name = forced;
    std::string usable;
    for (const isa_tier &tier : isa_tiers()) {
        if (!tier.supported) continue;
        if (name.empty() || name == tier.kernels->name) return *tier.kernels;
        usable += (usable.empty() ? "" : ", ") + std::string(tier.kernels->name);
    }
    throw error(error_kind::invalid_argument, {.problem = "instruction set (FASTVIT_ISA or the isa option)",
                                               .expected = "one that this machine can run: " + usable,
                                               .found = std::string(name)});
}

}} // namespace fastvit::FASTVIT_ABI
