// SPDX-License-Identifier: MIT
// The AVX-512 tier with dot products of bytes and of bfloat16 (Cooper Lake, Sapphire Rapids and Zen 4 on).
#pragma once

#include "fastvit/kernels/tiers/avx512_vnni.hpp"

#if defined(__x86_64__)
#include <cpuid.h>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::avx512_bf16 {

inline bool supported() noexcept {
    unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
    return avx512_vnni::supported() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 5 & 1) != 0;
}

/// Whether products in bfloat16 take longer than in float32. An Emerald Rapids starts a dot product every other cycle, a quarter
/// as many as multiply-adds; a Zen 5 almost as many. Other processors are taken to be like those of their maker.
inline bool slower_than_float32() noexcept {
    __builtin_cpu_init();
    return __builtin_cpu_is("intel") != 0;
}

FASTVIT_TARGET_BEGIN("avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")

using namespace avx512;

/// Pairs: each instruction adds up two products for each column. Its own rules of arithmetic: subnormal numbers count as zero.
struct bfloat16_product {
    static constexpr precision type = precision::bfloat16;
    static constexpr index_type group = 2, element_bytes = 2, rows = gemm_rows;
    using sums = __m512;
    using weights = __m512i;

    static sums zero() { return _mm512_setzero_ps(); }
    static weights load(const std::byte *p) { return _mm512_loadu_si512(p); }
    static weights broadcast(const std::byte *p) { return _mm512_set1_epi32(load_int32(p)); }
    static void add(sums &c, weights x, weights w) {
        c = _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
    }
    static void store(std::byte *to, const vec *x, std::int32_t) {
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x[0].v)));
    }
};

#include "fastvit/kernels/encoded/body.inl"

inline constexpr kernel_table table = [] {
    kernel_table t = avx512_vnni::table;
    t.name = "avx512_bf16";
    t.bfloat16 = encoded_in<bfloat16_product>;
    return t;
}();

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::avx512_bf16

#endif
