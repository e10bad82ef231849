// SPDX-License-Identifier: MIT
// The AVX-512 tier: sixteen floats in a 512-bit register, thirty-two registers.
#pragma once

#include "fastvit/kernels/tiers/prelude.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::avx512 {

inline bool supported() noexcept {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

FASTVIT_TARGET_BEGIN("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")

inline constexpr std::string_view tier_name = "avx512";

// Of the second-level cache, 1 MB and more in most processors with AVX-512. Products are twice as fast as AVX2's, so weights must
// come from the third level less often.
inline constexpr index_type tile_bytes = 768 * 1024;

// 8 x 3 accumulators, 3 weights and 1 activation are 28 of the 32 registers. Panels of 48 where they fit without a remainder
// (48, 96, 144, 192, 288, 576, ... : the T variants and their hidden maps), else of 32.
inline constexpr index_type gemm_rows = 8;
constexpr index_type gemm_panel(index_type columns) { return columns % 48 == 0 ? 48 : 32; }

// 2 rows x 8 columns of accumulators, 7 weights (a whole tap row) and 1 input are 24 registers.
inline constexpr int depthwise_rows = 2, depthwise_columns = 8, depthwise_taps = 7;

struct vec {
    static constexpr index_type lanes = 16;
    __m512 v;

    static vec load(const float *p) { return {_mm512_loadu_ps(p)}; }
    static vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
    void store(float *p) const { _mm512_storeu_ps(p, v); }
    /// Of each lane's index only the 5 lowest bits count.
    static vec lookup(const float (&table)[32], vec index) {
        return {_mm512_permutex2var_ps(_mm512_loadu_ps(table), _mm512_castps_si512(index.v), _mm512_loadu_ps(table + 16))};
    }
};

// The compilers' operators and not the intrinsics: Clang compiles the bodies of those with the flags of the unit.
inline vec operator+(vec a, vec b) { return {a.v + b.v}; }
inline vec operator-(vec a, vec b) { return {a.v - b.v}; }
inline vec operator*(vec a, vec b) {
    vec product{a.v * b.v};
    FASTVIT_ROUNDED("v", product.v);
    return product;
}
inline vec operator/(vec a, vec b) { return {a.v / b.v}; }
inline vec square_root(vec a) {
    vec root;
    __asm__("vsqrtps %1, %0" : "=v"(root.v) : "v"(a.v)); // the intrinsic may become an estimate
    return root;
}
// With a mask of ones: GCC 12 takes the undefined operand of the plain forms for a use of an uninitialised variable (its bug
// 105593).
inline constexpr __mmask16 all = 0xFFFF;
inline vec min(vec a, vec b) { return {_mm512_maskz_min_ps(all, a.v, b.v)}; }
inline vec max(vec a, vec b) { return {_mm512_maskz_max_ps(all, a.v, b.v)}; }
inline vec fma(vec a, vec b, vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline void accumulate(vec &c, vec a, vec b) {
#if FASTVIT_INTRINSIC_STEPS
    c = fma(a, b, c);
#else // GCC 12 picks the form that overwrites a factor for some steps of an unrolled loop, then moves and spills registers
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(c.v) : "v"(a.v), "v"(b.v));
#endif
}
inline vec negative_absolute(vec a) { return {_mm512_maskz_or_ps(all, a.v, _mm512_set1_ps(-0.0F))}; }
inline vec round_to_even(vec a) { return {_mm512_maskz_roundscale_ps(all, a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline vec exp2_of_integer(vec a) {
    const __m512i exponent = _mm512_add_epi32(_mm512_maskz_cvtps_epi32(all, a.v), _mm512_set1_epi32(127));
    return {_mm512_castsi512_ps(_mm512_maskz_slli_epi32(all, exponent, 23))};
}
inline vec load_bfloat16(const std::byte *p) {
    const __m512i bits = _mm512_maskz_cvtepu16_epi32(all, _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
    return {_mm512_castsi512_ps(_mm512_maskz_slli_epi32(all, bits, 16))};
}
inline vec round_to_bfloat16(vec a) {
    const __m512i bits = _mm512_castps_si512(a.v);
    const __m512i odd = _mm512_maskz_and_epi32(all, _mm512_maskz_srli_epi32(all, bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    // By its bits: -ffast-math knows no NaN.
    const __m512i magnitude = _mm512_maskz_and_epi32(all, bits, _mm512_set1_epi32(0x7fffffff));
    const __mmask16 is_nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
    const __m512i value = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000));
    return {_mm512_castsi512_ps(_mm512_maskz_and_epi32(all, value, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
inline void interleave(vec a, vec b, vec &first, vec &second) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    first.v = _mm512_permutex2var_ps(a.v, low, b.v);
    second.v = _mm512_permutex2var_ps(a.v, high, b.v);
}

/// As in AVX2. 8 x 3 accumulators, 2 activations, 2 products and ones are 29 of the 32 registers.
struct int8_product {
    static constexpr precision type = precision::int8;
    static constexpr index_type group = 4, element_bytes = 1, rows = 8;
    static constexpr bool adds_two_groups = true;
    using sums = __m512i;
    using weights = __m512i;

    static sums zero() { return _mm512_setzero_si512(); }
    static weights load(const std::byte *p) { return _mm512_loadu_si512(p); }
    static weights broadcast(const std::byte *p) { return _mm512_set1_epi32(load_int32(p)); }
    static void add(sums &c, weights x, weights w) {
        const __m512i ones = _mm512_set1_epi16(1);
#if FASTVIT_INTRINSIC_STEPS
        c = _mm512_add_epi32(c, _mm512_madd_epi16(_mm512_maddubs_epi16(x, w), ones));
        FASTVIT_END_STEP("v", c);
#else // see avx2.hpp; GCC 12 keeps an array of 8 x 1 sums in memory if the assembly is given its elements
        __m512i sum = c, products;
        __asm__("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
                : "+v"(sum), "=&v"(products)
                : "v"(x), "v"(w), "v"(ones));
        c = sum;
#endif
    }
    static void add_two(sums &c, weights x, weights y, const std::byte *p, const std::byte *q) {
        const __m512i ones = _mm512_set1_epi16(1);
#if FASTVIT_INTRINSIC_STEPS
        const __m512i products = _mm512_add_epi16(_mm512_maddubs_epi16(x, load(p)), _mm512_maddubs_epi16(y, load(q)));
        c = _mm512_add_epi32(c, _mm512_madd_epi16(products, ones));
        FASTVIT_END_STEP("v", c);
#else
        __m512i sum = c, first, second;
        __asm__("vpmaddubsw %5, %3, %1\n\tvpmaddubsw %6, %4, %2\n\tvpaddw %2, %1, %1\n\t"
                "vpmaddwd %7, %1, %1\n\tvpaddd %1, %0, %0"
                : "+v"(sum), "=&v"(first), "=&v"(second)
                : "v"(x), "v"(y), "m"(*reinterpret_cast<const __m512i_u *>(p)), "m"(*reinterpret_cast<const __m512i_u *>(q)),
                  "v"(ones));
        c = sum;
#endif
    }
    static vec to_float(sums c, std::int32_t zero, const std::int32_t *column_sums) {
        const __m512i sum = _mm512_loadu_si512(column_sums);
        const __m512i exact = _mm512_sub_epi32(c, _mm512_maskz_mullo_epi32(all, sum, _mm512_set1_epi32(zero)));
        return {_mm512_maskz_cvtepi32_ps(all, exact)};
    }
    static void store(std::byte *to, const vec *x, std::int32_t zero) {
        const __m512i value = _mm512_add_epi32(_mm512_maskz_cvtps_epi32(all, x[0].v), _mm512_set1_epi32(zero));
        const __m512i held = _mm512_maskz_max_epi32(all, value, _mm512_setzero_si512());
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm512_maskz_cvtusepi32_epi8(all, held));
    }
    static void store_four(std::byte *to, const vec *x, std::int32_t zero) {
        const auto words = [&](int i) {
            return _mm512_adds_epi16(
                _mm512_packs_epi32(_mm512_maskz_cvtps_epi32(all, x[i].v), _mm512_maskz_cvtps_epi32(all, x[i + 1].v)),
                _mm512_set1_epi16(static_cast<short>(zero)));
        };
        // Packing works on each quarter of a register alone.
        const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_storeu_si512(to, _mm512_maskz_permutexvar_epi32(all, order, _mm512_packus_epi16(words(0), words(2))));
    }
};

#include "fastvit/kernels/encoded/bfloat16_as_float32.inl"
#include "fastvit/kernels/tiers/bodies.inl"

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::avx512

#endif
