// SPDX-License-Identifier: MIT
// The tier of every machine: four floats by the compilers' vector extension, which becomes the baseline's registers (SSE2 on
// x86-64) or, where there are none, plain scalar code.
#pragma once

#include "fastvit/kernels/tiers/prelude.hpp"

#include <cstdint>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::scalar {

constexpr bool supported() noexcept { return true; }

FASTVIT_KERNELS_BEGIN

inline constexpr std::string_view tier_name = "scalar";

// SSE2 has sixteen registers and no fused multiply-add: 4 x 2 accumulators, 2 weights, 1 activation and the products'
// temporaries.
inline constexpr index_type gemm_rows = 4;
constexpr index_type gemm_panel(index_type) { return 8; }
inline constexpr int depthwise_rows = 2, depthwise_columns = 4, depthwise_taps = 3;

struct vec {
    static constexpr index_type lanes = 4;
    using floats = float __attribute__((vector_size(16)));
    floats v;

    static vec load(const float *p) {
        vec r;
        __builtin_memcpy(&r.v, p, sizeof r.v);
        return r;
    }
    static vec broadcast(float x) { return {floats{x, x, x, x}}; }
    void store(float *p) const { __builtin_memcpy(p, &v, sizeof v); }
};

inline vec operator+(vec a, vec b) { return {a.v + b.v}; }
inline vec operator-(vec a, vec b) { return {a.v - b.v}; }
inline vec operator*(vec a, vec b) {
    vec product{a.v * b.v};
#if defined(__SSE2__)
    FASTVIT_ROUNDED("x", product.v);
#elif defined(__aarch64__)
    FASTVIT_ROUNDED("w", product.v);
#else
    FASTVIT_ROUNDED("m", product.v);
#endif
    return product;
}
inline vec operator/(vec a, vec b) { return {a.v / b.v}; }
inline vec square_root(vec a) {
#if defined(__SSE2__)
    __asm__("sqrtps %0, %0" : "+x"(a.v)); // the built-in function may become an estimate
#elif defined(__aarch64__)
    __asm__("fsqrt %0.4s, %0.4s" : "+w"(a.v));
#else
    for (int i = 0; i < 4; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
#endif
    return a;
}
inline vec min(vec a, vec b) { return {a.v < b.v ? a.v : b.v}; }
inline vec max(vec a, vec b) { return {a.v > b.v ? a.v : b.v}; }
inline vec fma(vec a, vec b, vec c) { return a * b + c; }
inline void accumulate(vec &c, vec a, vec b) { c = fma(a, b, c); }
inline vec negative_absolute(vec a) { return {a.v < 0 ? a.v : -a.v}; }
inline vec round_to_even(vec a) {
    // Adding 1.5 * 2^23 leaves no bit for a fraction; right for |a| < 2^22, and the exponents it serves are below 2^8.
    const vec shift = vec::broadcast(12582912.0F);
    return (a + shift) - shift;
}
inline vec exp2_of_integer(vec a) {
    using ints = std::int32_t __attribute__((vector_size(16)));
    const ints exponent = __builtin_convertvector(a.v, ints) + 127;
    const ints bits = exponent << 23;
    vec r;
    __builtin_memcpy(&r.v, &bits, sizeof r.v);
    return r;
}
inline void interleave(vec a, vec b, vec &first, vec &second) {
    first.v = vec::floats{a.v[0], b.v[0], a.v[1], b.v[1]};
    second.v = vec::floats{a.v[2], b.v[2], a.v[3], b.v[3]};
}

#include "fastvit/kernels/tiers/bodies.inl"

FASTVIT_KERNELS_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::scalar
