// SPDX-License-Identifier: MIT
// Elementary functions of a register.

/// x * Phi(x), Phi the normal distribution's function: the exact (erf) form of GELU. Within 3e-7 * max(1, |x|).
///
/// x Phi(x) = max(x, 0) - a Phi(-a) with a = |x|, and Phi(-a) is the 8th power of a polynomial of degree 7, fitted by
/// tools/fit_math.py: the root is so smooth that few terms do, and the power costs three squarings. a is held where the
/// polynomial is smallest (the product is 3e-8 there); beyond, it would grow again. The code works with -a. A rational function
/// of x^2 of the same accuracy has as many operations and a division; behind a matrix product it takes 0.42 ns an element where
/// this takes 0.25 (Zen 3, AVX2). The 16th power of degree 5 saves 4% of that, and its error is 8e-7.
///
/// In place, Count registers of numbers in memory at a time: one alone would wait at each step for the multiply-add before. Six
/// fill the registers of AVX2, because x is read again at the end instead of kept.
template <int Count> FASTVIT_ALWAYS_INLINE void gelu_power(float *const (&x)[Count]) {
    constexpr float limit = 6.14669991F;
    constexpr float q[] = {-3.238305453e-06F, -3.569202090e-05F, 3.993263454e-05F, 1.630398561e-03F,
                           7.925541140e-04F,  -3.186645731e-02F, 9.147208184e-02F, 9.170051813e-01F};
    vec minus_a[Count], root[Count];
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        minus_a[i] = max(vec::broadcast(-limit), negative_absolute(vec::load(x[i])));
        root[i] = fma(minus_a[i], vec::broadcast(q[0]), vec::broadcast(q[1]));
    }
    FASTVIT_UNROLL for (int k = 2; k < 8; ++k) FASTVIT_UNROLL for (int i = 0; i < Count; ++i) root[i] =
        fma(root[i], minus_a[i], vec::broadcast(q[k]));
    FASTVIT_UNROLL for (int power = 2; power <= 8; power *= 2) FASTVIT_UNROLL for (int i = 0; i < Count; ++i) root[i] =
        root[i] * root[i];
    FASTVIT_FORGET_MEMORY;
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) fma(minus_a[i], root[i], max(vec::broadcast(0.0F), vec::load(x[i])))
        .store(x[i]);
}

/// The one of the two that the tier's registers can do with fewer instructions.
template <int Count, class Vec = vec> FASTVIT_ALWAYS_INLINE void gelu(float *const (&x)[Count]) {
    if constexpr (requires(Vec index) { Vec::lookup(gelu_cubics[0], index); })
        gelu_by_segments<Count, Vec>(x);
    else
        gelu_power(x);
}

/// As gelu_power(), but within 2.5e-4 * max(1, |x|), for values that are rounded to 8 bits next, or are sums of products of
/// numbers that were: the polynomial has degree 3.
/// Fitted by tools/fit_math.py, so that the error is within 8.1e-4 * |x| near 0 too: all values of a pixel may be small.
template <int Count> FASTVIT_ALWAYS_INLINE void rough_gelu(vec (&x)[Count]) {
    constexpr float limit = 6.18251419F;
    constexpr float q[] = {-4.980292637e-03F, -3.903033212e-02F, 8.848657459e-02F, 9.168197513e-01F};
    vec minus_a[Count], root[Count];
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        minus_a[i] = max(vec::broadcast(-limit), negative_absolute(x[i]));
        root[i] = fma(minus_a[i], vec::broadcast(q[0]), vec::broadcast(q[1]));
    }
    FASTVIT_UNROLL for (int k = 2; k < 4; ++k) FASTVIT_UNROLL for (int i = 0; i < Count; ++i) root[i] =
        fma(root[i], minus_a[i], vec::broadcast(q[k]));
    FASTVIT_UNROLL for (int power = 2; power <= 8; power *= 2) FASTVIT_UNROLL for (int i = 0; i < Count; ++i) root[i] =
        root[i] * root[i];
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) x[i] = fma(minus_a[i], root[i], max(vec::broadcast(0.0F), x[i]));
}

/// 2^f for |f| <= 1/2, the polynomial of degree 6 with the smallest relative error, 8e-8 with rounding (tools/fit_math.py).
inline vec exp2_of_fraction(vec f) {
    constexpr float p[] = {1.534569601e-04F, 1.340006362e-03F, 9.618490003e-03F, 5.550328270e-02F,
                           2.402264625e-01F, 6.931471825e-01F, 1.000000000e+00F};
    vec value = fma(vec::broadcast(p[0]), f, vec::broadcast(p[1]));
    FASTVIT_UNROLL for (int k = 2; k < 7; ++k) value = fma(value, f, vec::broadcast(p[k]));
    return value;
}

/// 2^x for x <= 0 within a unit in the last place; x is held at -126, below which float32 is no longer normal.
inline vec exp2(vec x) {
    const vec held = max(vec::broadcast(-126.0F), x); // in this order a NaN stays one: see exp()
    const vec n = round_to_even(held);
    return exp2_of_fraction(held - n) * exp2_of_integer(n);
}

/// e^x within 3 units in the last place, x held to [-87, 88], where e^x is a normal float32.
///
/// x = n ln 2 + r; ln 2 in two parts so that n times the first is exact for |n| < 2^9.
inline vec exp(vec x) {
    // In this order a NaN stays one: x86 and the comparisons of the scalar tier give the second operand then.
    const vec held = max(vec::broadcast(-87.0F), min(vec::broadcast(88.0F), x));
    const vec log2e = vec::broadcast(1.44269504F), n = round_to_even(held * log2e);
    vec r = fma(n, vec::broadcast(-0.693359375F), held);
    r = fma(n, vec::broadcast(2.12194440e-4F), r);
    return exp2_of_fraction(r * log2e) * exp2_of_integer(n);
}

/// In place, Count registers of numbers in memory.
template <int Count> FASTVIT_ALWAYS_INLINE void activate(activation act, float *const (&x)[Count]) {
    if (act == activation::gelu) return gelu(x);
    if (act == activation::none) return;
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        const vec value = vec::load(x[i]), zero = vec::broadcast(0.0F), one = vec::broadcast(1.0F);
        (act == activation::relu ? max(zero, value) : one / (one + exp(zero - value))).store(x[i]);
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
    for (const float l : lane) most = most < l ? l : most; // std::max belongs to the flags of the unit
    return most;
}

/// Lane i of register j becomes lane j of register i: log2(lanes) rounds of a perfect shuffle of the rows.
FASTVIT_ALWAYS_INLINE void transpose(vec (&m)[vec::lanes]) {
    constexpr index_type half = vec::lanes / 2;
    FASTVIT_UNROLL for (index_type round = 1; round < vec::lanes; round *= 2) {
        vec shuffled[vec::lanes];
        FASTVIT_UNROLL for (index_type i = 0; i < half; ++i) interleave(m[i], m[i + half], shuffled[2 * i], shuffled[2 * i + 1]);
        FASTVIT_UNROLL for (index_type i = 0; i < vec::lanes; ++i) m[i] = shuffled[i];
    }
}
