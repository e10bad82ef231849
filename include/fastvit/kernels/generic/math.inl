// SPDX-License-Identifier: MIT
// Elementary functions of a register.

/// x * Phi(x), Phi the normal distribution's function: the exact (erf) form of GELU. Within 5e-7 * max(1, |x|).
///
/// Phi(x) - 1/2 is odd, so it is x * P(x^2); P is a minimax polynomial in s = 2 (x/5)^2 - 1 over [-1, 1], weighted for the error
/// of the product (tools/fit_gelu.py). In s the coefficients are small and add up to 0.4, so nothing cancels. Beyond |x| = 5,
/// where Phi is within 3e-7 of 0 or 1, x is held there. A rational form with five terms above and below takes as long, because of
/// its division.
inline vec gelu(vec x) {
    constexpr float limit = 5.0F;
    const vec held = max(min(x, vec::broadcast(limit)), vec::broadcast(-limit));
    const vec s = fma(held * held, vec::broadcast(2.0F / (limit * limit)), vec::broadcast(-1.0F));
    vec p = vec::broadcast(4.929573042e-04F);
    p = fma(p, s, vec::broadcast(-1.514143078e-03F));
    p = fma(p, s, vec::broadcast(2.001889050e-03F));
    p = fma(p, s, vec::broadcast(-2.915697638e-03F));
    p = fma(p, s, vec::broadcast(6.165405735e-03F));
    p = fma(p, s, vec::broadcast(-1.097321138e-02F));
    p = fma(p, s, vec::broadcast(1.649766602e-02F));
    p = fma(p, s, vec::broadcast(-2.333673835e-02F));
    p = fma(p, s, vec::broadcast(3.142622858e-02F));
    p = fma(p, s, vec::broadcast(-4.043294862e-02F));
    p = fma(p, s, vec::broadcast(5.152142048e-02F));
    p = fma(p, s, vec::broadcast(-7.029665262e-02F));
    p = fma(p, s, vec::broadcast(1.413637847e-01F));
    return x * fma(held, p, vec::broadcast(0.5F));
}

/// e^x within 2 units in the last place, x held to [-87, 88], where e^x is a normal float32.
///
/// x = n ln 2 + r with |r| <= ln(2)/2; ln 2 in two parts so that n times the first is exact for |n| < 2^9; e^r by its Taylor
/// terms up to r^7 / 5040, whose remainder at ln(2)/2 is 5e-9.
inline vec exp(vec x) {
    const vec held = max(min(x, vec::broadcast(88.0F)), vec::broadcast(-87.0F));
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

inline vec apply(activation act, vec x) {
    switch (act) {
    case activation::none: return x;
    case activation::relu: return max(x, vec::broadcast(0.0F));
    case activation::gelu: return gelu(x);
    case activation::sigmoid: return vec::broadcast(1.0F) / (vec::broadcast(1.0F) + exp(vec::broadcast(0.0F) - x));
    }
    return x;
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
