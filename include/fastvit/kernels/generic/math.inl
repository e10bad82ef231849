// SPDX-License-Identifier: MIT
// Elementary functions of a register.

/// x * Phi(x), Phi the normal distribution's function: the exact (erf) form of GELU. Within 9e-7 * max(1, |x|).
///
/// x Phi(x) = max(x, 0) - a Phi(-a) with a = |x|, and Phi(-a) is the 16th power of a polynomial of degree 5, fitted by
/// tools/fit_gelu.py: the root is so smooth that few terms do, and the power costs four squarings. a is held at the polynomial's
/// zero, beyond which it would grow again. The code works with -a. A rational function of x^2 of the same accuracy has as many
/// operations and a division; behind a matrix product it takes 0.42 ns an element where this takes 0.27 (Zen 3, AVX2).
///
/// Several registers at a time: one alone would wait at each step for the multiply-add before.
template <int Count> FASTVIT_ALWAYS_INLINE void gelu(vec (&x)[Count]) {
    constexpr float limit = 8.52899742F;
    constexpr float q[] = {4.552029350e-05F,  6.922365865e-04F, 1.396245323e-03F,
                           -1.776715368e-02F, 4.777984694e-02F, 9.576057196e-01F};
    vec minus_a[Count], root[Count];
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        minus_a[i] = max(vec::broadcast(-limit), negative_absolute(x[i]));
        root[i] = fma(minus_a[i], vec::broadcast(q[0]), vec::broadcast(q[1]));
    }
    FASTVIT_UNROLL for (int k = 2; k < 6; ++k) FASTVIT_UNROLL for (int i = 0; i < Count; ++i) root[i] =
        fma(root[i], minus_a[i], vec::broadcast(q[k]));
    FASTVIT_UNROLL for (int power = 2; power <= 16; power *= 2) FASTVIT_UNROLL for (int i = 0; i < Count; ++i) root[i] =
        root[i] * root[i];
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) x[i] = fma(minus_a[i], root[i], max(vec::broadcast(0.0F), x[i]));
}

/// e^x within 2 units in the last place, x held to [-87, 88], where e^x is a normal float32.
///
/// x = n ln 2 + r with |r| <= ln(2)/2; ln 2 in two parts so that n times the first is exact for |n| < 2^9; e^r by its Taylor
/// terms up to r^7 / 5040, whose remainder at ln(2)/2 is 5e-9.
inline vec exp(vec x) {
    // In this order a NaN stays one: x86 and the comparisons of the scalar tier give the second operand then.
    const vec held = max(vec::broadcast(-87.0F), min(vec::broadcast(88.0F), x));
    const vec n = round_to_even(held * vec::broadcast(1.44269504F));
    vec r = fma(n, vec::broadcast(-0.693359375F), held);
    r = fma(n, vec::broadcast(2.12194440e-4F), r);
    vec p = vec::broadcast(1.0F / 5040);
    p = fma(p, r, vec::broadcast(1.0F / 720));
    p = fma(p, r, vec::broadcast(1.0F / 120));
    p = fma(p, r, vec::broadcast(1.0F / 24));
    p = fma(p, r, vec::broadcast(1.0F / 6));
    p = fma(p, r, vec::broadcast(0.5F));
    p = fma(p, r, vec::broadcast(1.0F));
    p = fma(p, r, vec::broadcast(1.0F));
    return p * exp2_of_integer(n);
}

template <int Count> FASTVIT_ALWAYS_INLINE void apply(activation act, vec (&x)[Count]) {
    if (act == activation::gelu) return gelu(x);
    if (act == activation::none) return;
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        if (act == activation::relu)
            x[i] = max(vec::broadcast(0.0F), x[i]);
        else
            x[i] = vec::broadcast(1.0F) / (vec::broadcast(1.0F) + exp(vec::broadcast(0.0F) - x[i]));
    }
}

inline float sum_of_lanes(vec x) {
    float lane[vec::lanes];
    x.store(lane);
    float total = 0;
    for (const float l : lane) total += l;
    return total;
}

inline float max_of_lanes(vec x) {
    float lane[vec::lanes];
    x.store(lane);
    float most = lane[0];
    for (const float l : lane) most = std::max(most, l);
    return most;
}
