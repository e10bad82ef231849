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

// Zen 3 has 512 KB of second-level cache.
inline constexpr index_type tile_bytes = 192 * 1024;

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
#if FASTVIT_INTRINSIC_STEPS
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
inline vec load_bfloat16(const std::byte *p) {
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16))};
}
inline vec round_to_bfloat16(vec a) {
    const __m256i bits = _mm256_castps_si256(a.v), odd = _mm256_srli_epi32(_mm256_slli_epi32(bits, 15), 31);
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    // By its bits: -ffast-math knows no NaN.
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    const __m256 is_nan = _mm256_castsi256_ps(_mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000)));
    const __m256 quiet = _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x400000)));
    const __m256 value = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), quiet, is_nan);
    return {_mm256_and_ps(value, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000u))))};
}
inline void interleave(vec a, vec b, vec &first, vec &second) {
    const __m256 low = _mm256_unpacklo_ps(a.v, b.v), high = _mm256_unpackhi_ps(a.v, b.v);
    first.v = _mm256_permute2f128_ps(low, high, 0x20);
    second.v = _mm256_permute2f128_ps(low, high, 0x31);
}

/// Bytes times bytes: the sum of two products fits 16 bits, as activations have 7 bits, and the sum of four, as weights have
/// their limits. 5 x 2 accumulators, 2 activations, 2 products and ones are 15 of the 16 registers; weights come from memory. 2.4
/// times the float32 peak; 16-bit products (vpmaddwd), which activations of 8 bits would need, reach 1.5 times (Zen 3).
struct int8_product {
    static constexpr precision type = precision::int8;
    static constexpr index_type group = 4, element_bytes = 1, rows = 5;
    static constexpr bool adds_two_groups = true;
    using sums = __m256i;
    using weights = __m256i;

    static sums zero() { return _mm256_setzero_si256(); }
    static weights load(const std::byte *p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)); }
    static weights broadcast(const std::byte *p) { return _mm256_set1_epi32(load_int32(p)); }
    static void add(sums &c, weights x, weights w) {
        const __m256i ones = _mm256_set1_epi16(1);
#if FASTVIT_INTRINSIC_STEPS
        c = _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), ones));
        FASTVIT_END_STEP("x", c);
#else // GCC 12 adds up the products of several steps first, or computes several at once, and spills them
        __m256i products;
        __asm__("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
                : "+x"(c), "=&x"(products)
                : "x"(x), "x"(w), "x"(ones));
#endif
    }
    static void add_two(sums &c, weights x, weights y, const std::byte *p, const std::byte *q) {
        const __m256i ones = _mm256_set1_epi16(1);
#if FASTVIT_INTRINSIC_STEPS
        const __m256i products = _mm256_add_epi16(_mm256_maddubs_epi16(x, load(p)), _mm256_maddubs_epi16(y, load(q)));
        c = _mm256_add_epi32(c, _mm256_madd_epi16(products, ones));
        FASTVIT_END_STEP("x", c);
#else
        __m256i sum = c, first, second; // see avx512.hpp
        __asm__("vpmaddubsw %5, %3, %1\n\tvpmaddubsw %6, %4, %2\n\tvpaddw %2, %1, %1\n\t"
                "vpmaddwd %7, %1, %1\n\tvpaddd %1, %0, %0"
                : "+x"(sum), "=&x"(first), "=&x"(second)
                : "x"(x), "x"(y), "m"(*reinterpret_cast<const __m256i_u *>(p)), "m"(*reinterpret_cast<const __m256i_u *>(q)),
                  "x"(ones));
        c = sum;
#endif
    }
    static vec to_float(sums c, std::int32_t zero, const std::int32_t *column_sums) {
        const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(column_sums));
        return {_mm256_cvtepi32_ps(_mm256_sub_epi32(c, _mm256_mullo_epi32(sum, _mm256_set1_epi32(zero))))};
    }
    static void store(std::byte *to, const vec *x, std::int32_t zero) {
        const __m256i z = _mm256_set1_epi32(zero), first = _mm256_add_epi32(_mm256_cvtps_epi32(x[0].v), z),
                      second = _mm256_add_epi32(_mm256_cvtps_epi32(x[1].v), z);
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0b11011000);
        const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to), bytes);
    }
};

#include "fastvit/kernels/encoded/bfloat16_as_float32.inl"
#include "fastvit/kernels/tiers/bodies.inl"

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::avx2

#endif
