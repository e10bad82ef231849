// SPDX-License-Identifier: MIT
// Elementary functions of a register.

/// x * Phi(x), Phi the normal distribution's function: the exact (erf) form of GELU. Within 3e-7 * max(1, |x|).
///
/// Phi(x) - 1/2 is odd: x P(x^2) / Q(x^2), fitted by tools/fit_gelu.py with Q's first coefficient 1. Beyond |x| = 5.2, where Phi
/// is within 1e-7 of 0 or 1, x is held there. A polynomial of the same accuracy has twelve steps and no division, and takes 0.36
/// ns an element where this takes 0.28 (Zen 3, AVX2): the divider works beside the multiply-adds.
///
/// Several registers at a time: one alone would wait at each step for the multiply-add before.
template <int Count> FASTVIT_ALWAYS_INLINE void gelu(vec (&x)[Count]) {
    constexpr float limit = 5.2F;
    constexpr float p[] = {1.170093822e+01F, 6.300377808e+02F, 1.073345410e+04F, 9.738347656e+04F, 7.635311250e+05F};
    constexpr float q[] = {2.267565002e+02F, 5.331221680e+03F, 7.293163281e+04F, 5.630675625e+05F, 1.913892625e+06F};
    vec held[Count], t[Count], above[Count], below[Count];
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        held[i] = max(min(x[i], vec::broadcast(limit)), vec::broadcast(-limit));
        t[i] = held[i] * held[i];
        above[i] = vec::broadcast(p[0]);
        below[i] = t[i] + vec::broadcast(q[0]);
    }
    FASTVIT_UNROLL for (int k = 1; k < 5; ++k) {
        FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
            above[i] = fma(above[i], t[i], vec::broadcast(p[k]));
            below[i] = fma(below[i], t[i], vec::broadcast(q[k]));
        }
    }
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) x[i] = x[i] * (above[i] * held[i] / below[i] + vec::broadcast(0.5F));
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
