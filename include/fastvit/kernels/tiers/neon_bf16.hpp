// SPDX-License-Identifier: MIT
// The AArch64 tier with dot products of bytes and of bfloat16 (Armv8.6 on: Neoverse N2 and V1). Only on Linux, which says whether
// the machine has them.
#pragma once

#include "fastvit/kernels/tiers/neon_dotprod.hpp"

#if defined(__aarch64__)

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::neon_bf16 {

inline bool supported() noexcept {
#if defined(__linux__)
    return neon_dotprod::supported() && (::getauxval(AT_HWCAP2) >> 14 & 1) != 0; // HWCAP2_BF16
#else
    return false;
#endif
}

#if defined(__clang__)
FASTVIT_TARGET_BEGIN("bf16")
#else
FASTVIT_TARGET_BEGIN("arch=armv8.2-a+bf16")
#pragma GCC optimize("no-schedule-insns") // see neon.hpp
#endif

using namespace neon;

/// Pairs: each instruction adds up two products for each column, by rules of its own.
struct bfloat16_product {
    static constexpr precision type = precision::bfloat16;
    static constexpr index_type group = 2, element_bytes = 2, rows = gemm_rows;
    using sums = float32x4_t;
    using weights = int16x8_t;

    static sums zero() { return vdupq_n_f32(0); }
    static weights load(const std::byte *p) { return vld1q_s16(reinterpret_cast<const std::int16_t *>(p)); }
    static weights broadcast(const std::byte *p) { return vreinterpretq_s16_s32(vdupq_n_s32(load_int32(p))); }
    static void add(sums &c, weights x, weights w) { __asm__("bfdot %0.4s, %1.8h, %2.8h" : "+w"(c) : "w"(x), "w"(w)); }
    static void store(std::byte *to, const vec *x, std::int32_t) {
        for (int i = 0; i < 2; ++i) {
            int16x8_t upper;
            __asm__("bfcvtn %0.4h, %1.4s\n\tbfcvtn2 %0.8h, %2.4s" : "=&w"(upper) : "w"(x[2 * i].v), "w"(x[2 * i + 1].v));
            vst1q_s16(reinterpret_cast<std::int16_t *>(to) + 8 * i, upper);
        }
    }
};

#include "fastvit/kernels/encoded/body.inl"

inline constexpr kernel_table table = [] {
    kernel_table t = neon_dotprod::table;
    t.name = "neon_bf16";
    t.bfloat16 = encoded_in<bfloat16_product>;
    return t;
}();

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::neon_bf16

#endif
