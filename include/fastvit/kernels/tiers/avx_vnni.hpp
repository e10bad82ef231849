// SPDX-License-Identifier: MIT
// The AVX2 tier with AVX-VNNI's dot products of bytes in 256-bit registers.
#pragma once

#include "fastvit/kernels/tiers/avx2.hpp"

#if defined(__x86_64__)
#include <cpuid.h>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::avx_vnni {

inline bool supported() noexcept {
    unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
    return avx2::supported() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}

FASTVIT_TARGET_BEGIN("avx2,fma,avxvnni")

using namespace avx2;

/// 6 x 2 accumulators, 2 weights and 1 activation are 15 of the 16 registers.
struct int8_product : avx2::int8_product {
    static constexpr index_type rows = 6;
    static constexpr bool adds_two_groups = false;
    static void add(sums &c, weights x, weights w) { c = _mm256_dpbusd_avx_epi32(c, x, w); }
};

#include "fastvit/kernels/encoded/body.inl"

inline constexpr kernel_table table = [] {
    kernel_table t = avx2::table;
    t.name = "avx_vnni";
    t.int8.gemm = encoded_gemm<int8_product>; // encoded as in the other tier
    return t;
}();

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::avx_vnni

#endif
