#!/usr/bin/env python3
"""Fits the polynomials of kernels/elementwise: math.inl and gelu_segments.inl.

GELU: Phi(-a) = q(a)^8 for a in [0, LIMIT], Phi the normal distribution's function. The weight makes the error of a * Phi(-a) equal over
the interval; a is then held where q, beyond the interval, is smallest. The rough one has degree 3, and for a < 0.3 the weight makes the
error of Phi equal. By segments: -a Phi(-a) by a cubic for each of 32 segments of [0, SEGMENTS_END], which are narrower near 0, where
the function bends most; at 0 the first is exact, and so is its slope. exp: 2^f for |f| <= 1/2, the relative error equal over the interval.

All by iteratively reweighted least squares (Lawson). Prints the coefficients, the highest power first, GELU's in powers of -a, and
the largest error of an evaluation in float32. Needs numpy.
"""
import math

import numpy as np

POWER = 8


def phi(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2))


def lawson(basis: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The coefficients that make the largest |basis c - target| * weight least."""
    emphasis, best = np.ones_like(target), (np.inf, None)
    for _ in range(3000):
        row = np.sqrt(emphasis) * weight
        solution = np.linalg.lstsq(basis * row[:, None], target * row, rcond=None)[0]
        error = np.abs((basis @ solution - target) * weight)
        if error.max() < best[0]:
            best = (error.max(), solution)
        emphasis *= (error / error.mean() + 1e-2) ** 0.7
        emphasis /= emphasis.mean()
    return best[1]


def fit_gelu(end: float, degree: int, least: float) -> np.ndarray:
    """Coefficients in powers of a, the lowest first, over [0, end]; below `least` the error is that of Phi, times `least`."""
    a = end * (1 - np.cos(np.pi * (np.arange(8000) + 0.5) / 8000)) / 2
    root = phi(-a) ** (1 / POWER)
    weight = np.maximum(a, least) * POWER * phi(-a) / root  # d(a q^8) = a 8 q^7 dq
    return lawson(np.vander(a / end, degree + 1, increasing=True), root, weight) / end ** np.arange(degree + 1)


SEGMENTS, SEGMENTS_END = 32, 5.5  # beyond, a Phi(-a) is less than 1.1e-7


def print_segments() -> None:
    # a is in segment round(start * a - bend * a^2): they grow fivefold.
    start = np.float32((SEGMENTS - 0.52) / SEGMENTS_END * 2 / 1.2)
    bend = np.float32(start * 0.8 / (2 * SEGMENTS_END))
    a = np.linspace(0, SEGMENTS_END, 400001)
    segment = np.rint(float(start) * a - float(bend) * a * a).astype(int)
    cubics = np.zeros((SEGMENTS, 4), np.float32)  # in powers of -a, the lowest first
    for i in range(SEGMENTS):
        x = a[segment == i][::12]
        if i == 0:
            x = x[1:]
            fitted = [0, 0.5, *lawson(np.vander(-x, 2, increasing=True), (phi(-x) - 0.5) / -x, x)]
        else:
            middle = x.mean()
            local = lawson(np.vander(middle - x, 4, increasing=True), -x * phi(-x), np.ones_like(x))
            fitted = np.polynomial.Polynomial(local)(np.polynomial.Polynomial([middle, 1])).coef
        cubics[i] = fitted
    x = np.linspace(-9, 9, 1800001).astype(np.float32)
    minus_a = np.maximum(np.float32(-SEGMENTS_END), -np.abs(x))
    turn = (minus_a.astype(np.float64) * -bend - start).astype(np.float32)
    shifted = (minus_a.astype(np.float64) * turn + 1.5 * 2**23).astype(np.float32)
    c = cubics[shifted.view(np.int32) & 31]
    value = c[:, 3]
    for k in (2, 1):
        value = (value.astype(np.float64) * minus_a + c[:, k]).astype(np.float32)
    value = (value.astype(np.float64) * minus_a + (np.maximum(x, 0) + c[:, 0])).astype(np.float32)
    error = np.abs(value - x.astype(np.float64) * phi(x.astype(np.float64)))
    print(f"segments: start {start:.9e}F, bend {bend:.9e}F")
    for k in range(3, -1, -1):
        print(f"power {k}:", ", ".join(f"{v:.9e}F" for v in cubics[:, k]))
    print(f"largest error relative to max(1, |x|): {(error / np.maximum(1, np.abs(x))).max():.2e}")
    print(f"relative to |x|: {(error / np.maximum(1e-3, np.abs(x))).max():.2e}")


def print_exp2() -> None:
    limit = 0.5005  # rounding to an integer goes a little beyond a half
    f = np.cos(np.pi * (np.arange(4000) + 0.5) / 4000) * limit
    p = lawson(np.vander(f, 7, increasing=True), 2**f, 2**-f)[::-1].astype(np.float32)
    x = np.linspace(-limit, limit, 200001).astype(np.float32)
    value = np.full_like(x, p[0])
    for c in p[1:]:
        value = (value.astype(np.float64) * x + c).astype(np.float32)
    print("exp2:", ", ".join(f"{c:.9e}F" for c in p))
    print(f"largest relative error: {np.abs(value / 2 ** x.astype(np.float64) - 1).max():.2e}")


def evaluate(q: np.ndarray, limit: np.float32, x: np.ndarray) -> np.ndarray:
    """In float32, as the kernel does it; a fused multiply-add is exact in float64 but for a last bit that does not matter here."""
    minus_a = np.maximum(-limit, -np.abs(x))
    value = np.full_like(x, q[0])
    for c in q[1:]:
        value = (value.astype(np.float64) * minus_a + c).astype(np.float32)
    for _ in range(int(math.log2(POWER))):
        value = value * value
    return (minus_a.astype(np.float64) * value + np.maximum(0, x)).astype(np.float32)


def print_gelu(name: str, end: float, degree: int, least: float) -> None:
    lowest_first = fit_gelu(end, degree, least)
    beyond = np.linspace(end, 8, 28001)
    limit = np.float32(beyond[np.argmin(np.abs(np.polyval(lowest_first[::-1], beyond)))])
    q = (lowest_first * (-1.0) ** np.arange(degree + 1))[::-1].astype(np.float32)
    x = np.linspace(-9, 9, 1800001).astype(np.float32)
    exact = x.astype(np.float64) * phi(x.astype(np.float64))
    error = np.abs(evaluate(q, limit, x) - exact)
    print(f"{name}:", ", ".join(f"{c:.9e}F" for c in q))
    print(f"limit: {limit:.9g}, where a q(a)^8 is {limit * np.polyval(q, -limit) ** POWER:.1e}")
    print(f"largest error relative to max(1, |x|): {(error / np.maximum(1, np.abs(x))).max():.2e}")
    print(f"relative to |x|: {(error / np.maximum(1e-3, np.abs(x))).max():.2e}")


if __name__ == "__main__":
    print_gelu("GELU", 5.2, 7, 1e-3)
    print_gelu("rough GELU", 4.2, 3, 0.3)
    print_segments()
    print_exp2()
