// SPDX-License-Identifier: MIT
// The tier of every machine: four floats by the compilers' vector extension, which becomes the baseline's registers (SSE2 on
// x86-64) or, where there are none, plain scalar code.
#pragma once

#include "fastvit/kernels/tiers/prelude.hpp"

#include <cmath>
#include <cstdint>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::scalar {

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
inline vec operator*(vec a, vec b) { return {a.v * b.v}; }
inline vec operator/(vec a, vec b) { return {a.v / b.v}; }
inline vec min(vec a, vec b) { return {a.v < b.v ? a.v : b.v}; }
inline vec max(vec a, vec b) { return {a.v > b.v ? a.v : b.v}; }
inline vec fma(vec a, vec b, vec c) { return {a.v * b.v + c.v}; }
inline void accumulate(vec &c, vec a, vec b) { c = fma(a, b, c); }
inline vec negative_absolute(vec a) { return {a.v < 0 ? a.v : -a.v}; }
inline vec round_to_even(vec a) {
    // Adding 1.5 * 2^23 leaves no bit for a fraction; right for |a| < 2^22, and the exponents it serves are below 2^8.
    const vec shift = vec::broadcast(12582912.0F);
    vec r{a.v + shift.v};
    FASTVIT_OPAQUE(r.v); // or -ffast-math would cancel the shift
    return {r.v - shift.v};
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

}}} // namespace fastvit::FASTVIT_ABI::kernels::scalar
