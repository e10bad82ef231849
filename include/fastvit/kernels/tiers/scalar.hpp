// SPDX-License-Identifier: MIT
// The tier of every machine: four floats by the compilers' vector extension, which becomes the baseline's registers (SSE2 on
// x86-64) or, where there are none, plain scalar code.
#pragma once

#include "fastvit/base/float16.hpp"
#include "fastvit/kernels/tiers/prelude.hpp"

#include <cstdint>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::scalar {

constexpr bool supported() noexcept { return true; }

FASTVIT_KERNELS_BEGIN

inline constexpr std::string_view tier_name = "scalar";

inline constexpr index_type tile_bytes = 192 * 1024;

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
inline vec load_bfloat16(const std::byte *p) {
    std::uint16_t upper[vec::lanes];
    __builtin_memcpy(upper, p, sizeof upper);
    vec r;
    for (index_type l = 0; l < vec::lanes; ++l) r.v[l] = io::bfloat16_to_float(upper[l]);
    return r;
}
inline vec round_to_bfloat16(vec a) {
    for (index_type l = 0; l < vec::lanes; ++l) a.v[l] = io::bfloat16_to_float(io::float_to_bfloat16(a.v[l]));
    return a;
}
inline void interleave(vec a, vec b, vec &first, vec &second) {
    first.v = vec::floats{a.v[0], b.v[0], a.v[1], b.v[1]};
    second.v = vec::floats{a.v[2], b.v[2], a.v[3], b.v[3]};
}

/// The definition of int8 products, which all tiers follow to the last bit.
struct int8_product {
    static constexpr precision type = precision::int8;
    static constexpr index_type group = 4, element_bytes = 1, rows = 2;
    struct sums {
        std::int32_t of[vec::lanes];
    };
    struct weights {
        std::int8_t of[vec::lanes][group];
    };
    struct activations {
        std::uint8_t of[group];
    };

    static sums zero() { return {}; }
    static weights load(const std::byte *p) {
        weights w;
        __builtin_memcpy(&w, p, sizeof w);
        return w;
    }
    static activations broadcast(const std::byte *p) {
        activations x;
        __builtin_memcpy(&x, p, sizeof x);
        return x;
    }
    static void add(sums &c, activations x, weights w) {
        for (index_type l = 0; l < vec::lanes; ++l)
            for (index_type k = 0; k < group; ++k) c.of[l] += x.of[k] * w.of[l][k];
    }
    static vec to_float(sums c, std::int32_t zero, const std::int32_t *column_sums) {
        vec value;
        for (index_type l = 0; l < vec::lanes; ++l) value.v[l] = static_cast<float>(c.of[l] - zero * column_sums[l]);
        return value;
    }
    static void store(std::byte *to, const vec *x, std::int32_t zero) {
        for (index_type i = 0; i < channel_padding; ++i) {
            // In [0, 127], unless a value was not finite.
            const float value = round_to_even(x[i / vec::lanes]).v[i % vec::lanes] + static_cast<float>(zero);
            to[i] = static_cast<std::byte>(value >= 0 && value <= 127 ? static_cast<int>(value) : 0);
        }
    }
};

#include "fastvit/kernels/encoded/bfloat16_as_float32.inl"
#include "fastvit/kernels/tiers/bodies.inl"

FASTVIT_KERNELS_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::scalar
