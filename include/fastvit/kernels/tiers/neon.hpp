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
inline void interleave(vec a, vec b, vec &first, vec &second) {
    first.v = vzip1q_f32(a.v, b.v);
    second.v = vzip2q_f32(a.v, b.v);
}

#include "fastvit/kernels/tiers/bodies.inl"

FASTVIT_KERNELS_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::neon

#endif
