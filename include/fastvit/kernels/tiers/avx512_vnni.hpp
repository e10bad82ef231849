// SPDX-License-Identifier: MIT
// The AVX-512 tier with its dot products of bytes (VNNI: Cascade Lake, Ice Lake and Zen 4 on).
#pragma once

#include "fastvit/kernels/tiers/avx512.hpp"

#if defined(__x86_64__)

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::avx512_vnni {

inline bool supported() noexcept { return avx512::supported() && __builtin_cpu_supports("avx512vnni"); }

FASTVIT_TARGET_BEGIN("avx512f,avx512dq,avx512vl,avx512bw,avx512vnni,avx2,fma")

using namespace avx512;

/// 8 x 3 accumulators, 3 weights and 1 activation are 28 of the 32 registers.
struct int8_product : avx512::int8_product {
    static constexpr bool adds_two_groups = false;
    static void add(sums &c, weights x, weights w) { c = _mm512_dpbusd_epi32(c, x, w); }
};

#include "fastvit/kernels/encoded/body.inl"

inline constexpr kernel_table table = [] {
    kernel_table t = avx512::table;
    t.name = "avx512_vnni";
    t.int8.gemm = encoded_gemm<int8_product>; // encoded as in the other tier
    return t;
}();

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::avx512_vnni

#endif
