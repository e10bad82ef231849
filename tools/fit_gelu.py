#!/usr/bin/env python3
"""Fits the rational function of kernels/generic/math.inl: Phi(x) - 1/2 = x P(x^2) / Q(x^2) on [-limit, limit].

Iteratively reweighted least squares (Lawson) of the linearised problem; the weight makes the error of x * Phi(x), relative to
max(1, |x|), equal over the interval. Prints the coefficients, highest power first and Q's first one, which is 1, left out, and the
error of the evaluation in float32. Needs numpy.
"""
import math

import numpy as np

LIMIT, P_DEGREE, Q_DEGREE = 5.2, 4, 5


def phi(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def fit() -> tuple[np.ndarray, np.ndarray]:
    nodes = np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
    u = (nodes + 1) / 2  # x^2 / LIMIT^2
    x = LIMIT * np.sqrt(u)
    target = (phi(x) - 0.5) / x
    weight = np.maximum(x, 0.05) ** 2 / np.maximum(1, x)
    powers_p = np.vander(u, P_DEGREE + 1, increasing=True)
    powers_q = np.vander(u, Q_DEGREE + 1, increasing=True)
    lawson, q_values, best = np.ones_like(u), np.ones_like(u), (np.inf, None, None)
    for _ in range(300):
        row = np.sqrt(lawson) * weight / np.abs(q_values)
        system = np.hstack([powers_p, -target[:, None] * powers_q[:, 1:]]) * row[:, None]
        solution = np.linalg.lstsq(system, target * row, rcond=None)[0]
        p, q = solution[: P_DEGREE + 1], np.r_[1, solution[P_DEGREE + 1 :]]
        q_values = powers_q @ q
        error = np.abs((powers_p @ p / q_values - target) * weight)
        if error.max() < best[0]:
            best = (error.max(), p, q)
        lawson *= (error / error.mean() + 1e-2) ** 0.7
        lawson /= lawson.mean()
    p = best[1] / LIMIT ** (2.0 * np.arange(P_DEGREE + 1))
    q = best[2] / LIMIT ** (2.0 * np.arange(Q_DEGREE + 1))
    return (p / q[-1])[::-1].astype(np.float32), (q / q[-1])[::-1].astype(np.float32)


def evaluate(p: np.ndarray, q: np.ndarray, x: np.ndarray) -> np.ndarray:
    """In float32, as the kernel does it; a fused multiply-add is exact in float64 but for a last bit that does not matter here."""

    def horner(coefficients: np.ndarray, t: np.ndarray) -> np.ndarray:
        value = np.full_like(t, coefficients[0])
        for c in coefficients[1:]:
            value = (value.astype(np.float64) * t + c).astype(np.float32)
        return value

    held = np.clip(x, -np.float32(LIMIT), np.float32(LIMIT))
    t = held * held
    return x * (horner(p, t) * held / horner(q, t) + np.float32(0.5))


if __name__ == "__main__":
    p, q = fit()
    x = np.linspace(-9, 9, 900001).astype(np.float32)
    exact = x.astype(np.float64) * phi(x.astype(np.float64))
    error = np.abs(evaluate(p, q, x) - exact) / np.maximum(1, np.abs(x))
    print("P:", ", ".join(f"{c:.9e}F" for c in p))
    print("Q:", ", ".join(f"{c:.9e}F" for c in q[1:]))
    print(f"largest error relative to max(1, |x|): {error.max():.2e}")
