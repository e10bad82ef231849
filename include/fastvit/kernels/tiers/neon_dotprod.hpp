// SPDX-License-Identifier: MIT
// The AArch64 tier with dot products of bytes (Armv8.2 on: Cortex-A75, Neoverse N1, Apple A13).
#pragma once

#include "fastvit/kernels/tiers/neon.hpp"

#if defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
#endif

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::neon_dotprod {

inline bool supported() noexcept {
#if defined(__linux__)
    return (::getauxval(AT_HWCAP) >> 20 & 1) != 0; // HWCAP_ASIMDDP
#elif defined(__APPLE__)
    return true; // every Apple silicon Mac
#else
    return false;
#endif
}

#if defined(__clang__)
FASTVIT_TARGET_BEGIN("dotprod")
#else
FASTVIT_TARGET_BEGIN("arch=armv8.2-a+dotprod")
#pragma GCC optimize("no-schedule-insns") // see neon.hpp
#endif

using namespace neon;

/// 6 x 4 accumulators, 4 weights and 1 activation are 29 of the 32 registers.
struct int8_product : neon::int8_product {
    static constexpr index_type rows = 6;
    static constexpr bool adds_two_groups = false;
    static void add(sums &c, weights x, weights w) { __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(x), "w"(w)); }
};

#include "fastvit/kernels/encoded/body.inl"

inline constexpr kernel_table table = [] {
    kernel_table t = neon::table;
    t.name = "neon_dotprod";
    t.int8.gemm = encoded_gemm<int8_product>; // encoded as in the other tier
    return t;
}();

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::neon_dotprod

#endif
