// SPDX-License-Identifier: MIT
// The AVX2 tier: eight floats in a 256-bit register, sixteen registers, fused multiply-add.
#pragma once

#include "fastvit/kernels/tiers/prelude.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::avx2 {

/// Asks CPUID for the instructions and XCR0 for whether the operating system keeps the registers.
inline bool supported() noexcept {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

FASTVIT_TARGET_BEGIN("avx2,fma")

inline constexpr std::string_view tier_name = "avx2";

// 6 x 2 accumulators, 2 weights and 1 activation are 15 of the 16 registers; 12 chains cover the multiply-add's latency of 4
// cycles at two a cycle with room for the loads' jitter.
inline constexpr index_type gemm_rows = 6;
constexpr index_type gemm_panel(index_type) { return 16; }

// 2 rows x 4 columns of accumulators, 4 weights and 1 input are 13 registers. The weights of a whole tap row (7) would also fit,
// but leave the compilers no register, and GCC then copies accumulators.
inline constexpr int depthwise_rows = 2, depthwise_columns = 4, depthwise_taps = 4;

struct vec {
    static constexpr index_type lanes = 8;
    __m256 v;

    static vec load(const float *p) { return {_mm256_loadu_ps(p)}; }
    static vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
    void store(float *p) const { _mm256_storeu_ps(p, v); }
};

// Free functions: GCC 12 does not give the region's target to friends defined inside a class.
// The compilers' operators and not the intrinsics: Clang compiles the bodies of those with the flags of the unit.
inline vec operator+(vec a, vec b) { return {a.v + b.v}; }
inline vec operator-(vec a, vec b) { return {a.v - b.v}; }
inline vec operator*(vec a, vec b) {
    vec product{a.v * b.v};
    FASTVIT_ROUNDED("x", product.v);
    return product;
}
inline vec operator/(vec a, vec b) { return {a.v / b.v}; }
inline vec square_root(vec a) {
    vec root;
    __asm__("vsqrtps %1, %0" : "=x"(root.v) : "x"(a.v)); // the intrinsic may become an estimate
    return root;
}
inline vec min(vec a, vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline vec max(vec a, vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline vec fma(vec a, vec b, vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline void accumulate(vec &c, vec a, vec b) {
#if defined(__clang__)
    c = fma(a, b, c);
#else // GCC 12 picks the form that overwrites a factor for some steps of an unrolled loop, then moves and spills registers
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(c.v) : "x"(a.v), "x"(b.v));
#endif
}
inline vec negative_absolute(vec a) { return {_mm256_or_ps(a.v, _mm256_set1_ps(-0.0F))}; }
inline vec round_to_even(vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline vec exp2_of_integer(vec a) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(a.v), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}
inline void interleave(vec a, vec b, vec &first, vec &second) {
    const __m256 low = _mm256_unpacklo_ps(a.v, b.v), high = _mm256_unpackhi_ps(a.v, b.v);
    first.v = _mm256_permute2f128_ps(low, high, 0x20);
    second.v = _mm256_permute2f128_ps(low, high, 0x31);
}

#include "fastvit/kernels/tiers/bodies.inl"

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::avx2

#endif
