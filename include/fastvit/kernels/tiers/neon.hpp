// SPDX-License-Identifier: MIT
// The AArch64 tier: four floats in a 128-bit register, thirty-two registers. Part of the baseline, so it needs no target region.
#pragma once

#include "fastvit/kernels/tiers/prelude.hpp"

#if defined(__aarch64__)
#include <arm_neon.h>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::neon {

constexpr bool supported() noexcept { return true; }

FASTVIT_KERNELS_BEGIN
#if !defined(__clang__)
// GCC 12 moves loads up before it gives out registers, until accumulators go to the stack: an iteration of the matrix product's
// largest tile is then 165 instructions, a window row of the 7 x 7 depthwise tile 196; without, 145 and 159, and nothing on the
// stack.
#pragma GCC optimize("no-schedule-insns")
#endif

inline constexpr std::string_view tier_name = "neon";

inline constexpr index_type tile_bytes = 192 * 1024;

// 6 x 4 accumulators, 4 weights and 1 activation are 29 of the 32 registers.
inline constexpr index_type gemm_rows = 6;
constexpr index_type gemm_panel(index_type) { return 16; }
inline constexpr int depthwise_rows = 2, depthwise_columns = 8, depthwise_taps = 7;

struct vec {
    static constexpr index_type lanes = 4;
    float32x4_t v;

    static vec load(const float *p) { return {vld1q_f32(p)}; }
    static vec broadcast(float x) { return {vdupq_n_f32(x)}; }
    void store(float *p) const { vst1q_f32(p, v); }
};

// The compilers' operators and not the intrinsics: Clang compiles the bodies of those with the flags of the unit.
inline vec operator+(vec a, vec b) { return {a.v + b.v}; }
inline vec operator-(vec a, vec b) { return {a.v - b.v}; }
inline vec operator*(vec a, vec b) {
    vec product{a.v * b.v};
    FASTVIT_ROUNDED("w", product.v);
    return product;
}
inline vec operator/(vec a, vec b) { return {a.v / b.v}; }
inline vec square_root(vec a) {
    vec root;
    __asm__("fsqrt %0.4s, %1.4s" : "=w"(root.v) : "w"(a.v)); // the intrinsic may become an estimate
    return root;
}
inline vec min(vec a, vec b) { return {vminq_f32(a.v, b.v)}; }
inline vec max(vec a, vec b) { return {vmaxq_f32(a.v, b.v)}; }
inline vec fma(vec a, vec b, vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline void accumulate(vec &c, vec a, vec b) {
    c = fma(a, b, c);
#if defined(__clang__) // 14 moves loads up likewise: 208 instructions an iteration instead of 144
    __asm__ volatile("" : "+w"(c.v));
#endif
}
inline vec negative_absolute(vec a) { return {vnegq_f32(vabsq_f32(a.v))}; }
inline vec round_to_even(vec a) { return {vrndnq_f32(a.v)}; }
inline vec exp2_of_integer(vec a) {
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(a.v), vdupq_n_s32(127));
    return {vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23))};
}
inline vec load_bfloat16(const std::byte *p) {
    return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const std::uint16_t *>(p)), 16))};
}
inline vec round_to_bfloat16(vec a) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a.v), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    // By its bits: -ffast-math knows no NaN.
    const uint32x4_t is_number = vcleq_u32(vandq_u32(bits, vdupq_n_u32(0x7fffffff)), vdupq_n_u32(0x7f800000));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    return {vreinterpretq_f32_u32(vandq_u32(vbslq_u32(is_number, rounded, quiet), vdupq_n_u32(0xffff0000u)))};
}
inline void interleave(vec a, vec b, vec &first, vec &second) {
    first.v = vzip1q_f32(a.v, b.v);
    second.v = vzip2q_f32(a.v, b.v);
}

/// 7 bits times 8 bits: the sum of two products fits 16 bits, and the sum of four, as weights have their limits.
struct int8_product {
    static constexpr precision type = precision::int8;
    static constexpr index_type group = 4, element_bytes = 1, rows = 5;
    static constexpr bool adds_two_groups = true;
    using sums = int32x4_t;
    using weights = int8x16_t;

    static sums zero() { return vdupq_n_s32(0); }
    static weights load(const std::byte *p) { return vld1q_s8(reinterpret_cast<const std::int8_t *>(p)); }
    static weights broadcast(const std::byte *p) { return vreinterpretq_s8_s32(vdupq_n_s32(load_int32(p))); }
    static void add(sums &c, weights x, weights w) {
        const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
        c = vpadalq_s16(c, vpaddq_s16(low, high));
    }
    static void add_two(sums &c, weights x, weights y, const std::byte *p, const std::byte *q) {
        const weights v = load(p), w = load(q);
        const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(x), vget_low_s8(v)), vget_low_s8(y), vget_low_s8(w)),
                        high = vmlal_high_s8(vmull_high_s8(x, v), y, w);
        c = vpadalq_s16(c, vpaddq_s16(low, high));
    }
    static vec to_float(sums c, std::int32_t zero, const std::int32_t *column_sums) {
        return {vcvtq_f32_s32(vmlsq_n_s32(c, vld1q_s32(column_sums), zero))};
    }
    static void store(std::byte *to, const vec *x, std::int32_t zero) {
        const int32x4_t z = vdupq_n_s32(zero);
        int16x4_t words[4];
        for (int i = 0; i < 4; ++i) words[i] = vqmovn_s32(vqaddq_s32(vcvtnq_s32_f32(x[i].v), z));
        const uint8x8_t first = vqmovun_s16(vcombine_s16(words[0], words[1])),
                        second = vqmovun_s16(vcombine_s16(words[2], words[3]));
        vst1q_u8(reinterpret_cast<std::uint8_t *>(to), vcombine_u8(first, second));
    }
};

#include "fastvit/kernels/encoded/bfloat16_as_float32.inl"
#include "fastvit/kernels/tiers/bodies.inl"

FASTVIT_KERNELS_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::neon

#endif
