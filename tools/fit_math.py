#!/usr/bin/env python3
"""Fits the polynomial of kernels/generic/math.inl: Phi(-a) = q(a)^16 for a in [0, 5.2], Phi the normal distribution's function.

Iteratively reweighted least squares (Lawson) on the sixteenth root; the weight makes the error of a * Phi(-a) equal over the
interval. a is then held at q's zero, beyond the interval, where the power is 0. Prints the coefficients in powers of -a, the highest first,
and the error of GELU evaluated in float32. Needs numpy.
"""
import math

import numpy as np

LIMIT, DEGREE, POWER = 5.2, 5, 16


def phi(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2))


def fit() -> np.ndarray:
    """Coefficients in powers of a, the lowest first."""
    a = LIMIT * (1 - np.cos(np.pi * (np.arange(8000) + 0.5) / 8000)) / 2
    root = phi(-a) ** (1 / POWER)
    weight = np.maximum(a, 1e-3) * POWER * phi(-a) / root  # d(a q^16) = a 16 q^15 dq
    powers = np.vander(a / LIMIT, DEGREE + 1, increasing=True)
    lawson, best = np.ones_like(a), (np.inf, None)
    for _ in range(3000):
        row = np.sqrt(lawson) * weight
        solution = np.linalg.lstsq(powers * row[:, None], root * row, rcond=None)[0]
        error = np.abs((powers @ solution - root) * weight)
        if error.max() < best[0]:
            best = (error.max(), solution)
        lawson *= (error / error.mean() + 1e-2) ** 0.7
        lawson /= lawson.mean()
    return best[1] / LIMIT ** np.arange(DEGREE + 1)


def evaluate(q: np.ndarray, limit: np.float32, x: np.ndarray) -> np.ndarray:
    """In float32, as the kernel does it; a fused multiply-add is exact in float64 but for a last bit that does not matter here."""
    minus_a = np.maximum(-limit, -np.abs(x))
    value = np.full_like(x, q[0])
    for c in q[1:]:
        value = (value.astype(np.float64) * minus_a + c).astype(np.float32)
    for _ in range(int(math.log2(POWER))):
        value = value * value
    return (minus_a.astype(np.float64) * value + np.maximum(0, x)).astype(np.float32)


if __name__ == "__main__":
    lowest_first = fit()
    limit = np.float32(min(r.real for r in np.roots(lowest_first[::-1]) if abs(r.imag) < 1e-9 and r.real > LIMIT))
    q = (lowest_first * (-1.0) ** np.arange(DEGREE + 1))[::-1].astype(np.float32)
    x = np.linspace(-9, 9, 1800001).astype(np.float32)
    exact = x.astype(np.float64) * phi(x.astype(np.float64))
    error = np.abs(evaluate(q, limit, x) - exact) / np.maximum(1, np.abs(x))
    print("q:", ", ".join(f"{c:.9e}F" for c in q))
    print(f"zero of q: {limit:.9g}")
    print(f"largest error relative to max(1, |x|): {error.max():.2e}")
