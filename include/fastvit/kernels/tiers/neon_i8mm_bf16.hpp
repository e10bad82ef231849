// SPDX-License-Identifier: MIT
// The AArch64 tier with matrix products of bytes and dot products of bfloat16 (Armv8.6 has both: Neoverse N2; Neoverse V1 too).
// Only on Linux, which says whether the machine has them.
#pragma once

#include "fastvit/kernels/tiers/neon_dotprod.hpp"

#if defined(__aarch64__)

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::neon_i8mm_bf16 {

inline bool supported() noexcept {
#if defined(__linux__)
    constexpr unsigned long both = 1UL << 13 | 1UL << 14; // HWCAP2_I8MM, HWCAP2_BF16
    return neon_dotprod::supported() && (::getauxval(AT_HWCAP2) & both) == both;
#else
    return false;
#endif
}

#if defined(__clang__)
FASTVIT_TARGET_BEGIN("i8mm,bf16")
#else
FASTVIT_TARGET_BEGIN("arch=armv8.2-a+i8mm+bf16")
#pragma GCC optimize("no-schedule-insns") // see neon.hpp
#endif

using namespace neon;

/// Each instruction multiplies two pixels with two columns, eight inputs of each. 3 x 8 such blocks, 3 pairs of pixels and the
/// weights of one pair of columns are 28 of the 32 registers.
struct int8_product : neon::int8_product {
    static constexpr index_type group = 8, rows = 6;
    static constexpr bool adds_two_groups = false;
    using pixel_pair = int8x16_t;

    static pixel_pair load_pair(const std::byte *first, const std::byte *second) {
        return vcombine_s8(vld1_s8(reinterpret_cast<const std::int8_t *>(first)),
                           vld1_s8(reinterpret_cast<const std::int8_t *>(second)));
    }
    static void add(sums &block, pixel_pair x, weights w) {
        __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(block) : "w"(x), "w"(w));
    }
    /// The two rows of two blocks that stand beside each other.
    static void split(sums left, sums right, sums &first, sums &second) {
        const int64x2_t a = vreinterpretq_s64_s32(left), b = vreinterpretq_s64_s32(right);
        first = vreinterpretq_s32_s64(vzip1q_s64(a, b));
        second = vreinterpretq_s32_s64(vzip2q_s64(a, b));
    }
};

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
    t.name = "neon_i8mm_bf16";
    t.bfloat16 = encoded_in<bfloat16_product>;
    t.int8.format = encoded_format<int8_product>;
    t.int8.gemm = encoded_gemm<int8_product>; // encoded as in the other tiers
    return t;
}();

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::neon_i8mm_bf16

#endif
