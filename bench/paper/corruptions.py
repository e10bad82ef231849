"""The 15 corruptions of ImageNet-C, at 5 severities (Hendrycks and Dietterich, arXiv 1903.12261).

Constants are the published ones. They are for pictures of 224 x 224: here lengths are multiplied with side / 224, and snow, whose
flakes would be smaller than a pixel, falls in 224 x 224 and is then reduced. DEPARTURES says what else is not the original's.
"""
from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

SEVERITIES = (1, 2, 3, 4, 5)
DEPARTURES = (
    "the elastic transform has CIFAR-10-C's constants, as most of ImageNet-C's smooth over less than a pixel of a small picture",
    "frost's ice is drawn, not photographed",
    "glass blur moves all pixels at once and equally far to all sides, not one after another",
)
Picture = np.ndarray  # float [side, side, 3] in 0..1
Random = np.random.Generator


def _disc(radius: float, blur: float) -> np.ndarray:
    """A filter: a disc with its edge softened."""
    reach = max(1, math.ceil(radius))
    axis = np.arange(-reach, reach + 1)
    disc = np.clip(radius + 0.5 - np.hypot(axis[:, None], axis[None, :]), 0, 1)
    disc = ndimage.gaussian_filter(disc, blur, mode="constant")
    return disc / disc.sum()


def _filtered(x: Picture, kernel: np.ndarray) -> Picture:
    return np.stack([ndimage.convolve(x[..., c], kernel, mode="mirror") for c in range(3)], axis=-1)


def _blurred(x: Picture, sigma: float) -> Picture:
    return ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="mirror")


def _moving(x: np.ndarray, radius: int, sigma: float, angle: float, unit: float = 1) -> np.ndarray:
    """Blur along a direction, on one side only, by 2 radius + 1 steps, as ImageMagick's. A step is `unit` pixels, and it is 1 there."""
    steps = np.arange(0, 2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    reach, (height, width) = math.ceil(unit * steps[-1]) + 1, x.shape[:2]
    padded = np.pad(x, ((reach, reach),) * 2 + ((0, 0),) * (x.ndim - 2), mode="reflect")
    out = np.zeros_like(x)
    for weight, step in zip(weights / weights.sum(), steps):
        y, dx = reach - math.sin(angle) * step * unit, reach - math.cos(angle) * step * unit
        top, left = math.floor(y), math.floor(dx)
        down, right = y - top, dx - left
        for row, rows in ((top, 1 - down), (top + 1, down)):
            for column, columns in ((left, 1 - right), (left + 1, right)):
                out += weight * rows * columns * padded[row : row + height, column : column + width]
    return out


def _enlarged(x: np.ndarray, factor: float) -> np.ndarray:
    """The centre, enlarged to the picture's side."""
    side = x.shape[0]
    part = max(1, math.ceil(side / factor))
    first = (side - part) // 2
    cut = x[first : first + part, first : first + part]
    grown = ndimage.zoom(cut, (factor, factor) + (1,) * (x.ndim - 2), order=1)
    first = (grown.shape[0] - side) // 2
    return grown[first : first + side, first : first + side]


def _plasma(side: int, decay: float, rng: Random) -> np.ndarray:
    """Clouds by midpoint displacement (diamond-square), in 0..1. A point is displaced by up to the square of `wibble`."""
    whole = 1 << max(1, math.ceil(math.log2(side)))
    field = np.zeros((whole, whole))
    step, wibble = whole, 100.0
    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        total = corners + np.roll(corners, -1, 0)
        total = total + np.roll(total, -1, 1)
        field[half::step, half::step] = total / 4 + wibble**2 * rng.uniform(-1, 1, total.shape)
        centres = field[half::step, half::step]
        for rows, columns, other in ((half, 0, 1), (0, half, 0)):
            ends = corners + np.roll(corners, -1, 1 - other)
            sides = centres + np.roll(centres, 1, other)
            field[rows::step, columns::step] = (ends + sides) / 4 + wibble**2 * rng.uniform(-1, 1, ends.shape)
        step, wibble = half, wibble / decay
    field -= field.min()
    return (field / field.max())[:side, :side]


def gaussian_noise(x: Picture, s: int, rng: Random) -> Picture:
    return x + rng.normal(size=x.shape, scale=(0.08, 0.12, 0.18, 0.26, 0.38)[s])


def shot_noise(x: Picture, s: int, rng: Random) -> Picture:
    photons = (60, 25, 12, 5, 3)[s]
    return rng.poisson(x * photons) / photons


def impulse_noise(x: Picture, s: int, rng: Random) -> Picture:
    hit = rng.random(x.shape) < (0.03, 0.06, 0.09, 0.17, 0.27)[s]
    return np.where(hit, rng.random(x.shape) < 0.5, x)


def defocus_blur(x: Picture, s: int, rng: Random) -> Picture:
    radius, edge = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[s]
    unit = len(x) / 224
    return _filtered(x, _disc(radius * unit, edge * unit))


def glass_blur(x: Picture, s: int, rng: Random) -> Picture:
    sigma, reach, times = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[s]
    unit = len(x) / 224
    x = _blurred(x, sigma * unit)
    side, far = len(x), reach * unit + 0.5  # rounded: for a whole reach all whole distances up to it, equally often
    places = np.mgrid[:side, :side]
    for _ in range(times):  # each pixel takes a near one's place
        y1, x1 = np.clip(places + np.rint(rng.uniform(-far, far, places.shape)).astype(int), 0, side - 1)
        x = x[y1, x1]
    return _blurred(x, sigma * unit)


def motion_blur(x: Picture, s: int, rng: Random) -> Picture:
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[s]
    return _moving(x, radius, sigma, math.radians(rng.uniform(-45, 45)), len(x) / 224)


def zoom_blur(x: Picture, s: int, rng: Random) -> Picture:
    end, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[s]
    factors = np.arange(1, end, step)
    return (x + sum(_enlarged(x, f) for f in factors)) / (len(factors) + 1)


def snow(x: Picture, s: int, rng: Random) -> Picture:
    mean, spread, zoom, least, radius, sigma, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55))[s]
    flakes = _enlarged(rng.normal(mean, spread, (224, 224)), zoom)
    flakes = np.where(flakes < least, 0, np.clip(flakes, 0, 1))
    flakes = _moving(flakes, radius, sigma, math.radians(rng.uniform(-135, -45)))
    flakes = np.asarray(Image.fromarray(flakes.astype(np.float32)).resize(x.shape[:2], Image.BOX))[..., None]
    grey = (x @ (0.299, 0.587, 0.114))[..., None]
    x = share * x + (1 - share) * np.maximum(x, grey * 1.5 + 0.5)
    return x + flakes + np.rot90(flakes, 2)


def frost(x: Picture, s: int, rng: Random) -> Picture:
    of_picture, of_ice = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[s]
    # Crystals: ridges of clouds, bluish white.
    ridges = 1 - np.abs(2 * _plasma(len(x), 1.26, rng) - 1)
    ice = np.clip(1.5 * ridges**3, 0, 1)[..., None] * (0.85, 0.93, 1.0)
    return of_picture * x + of_ice * ice


def fog(x: Picture, s: int, rng: Random) -> Picture:
    amount, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[s]
    brightest = x.max()
    return (x + amount * _plasma(len(x), decay, rng)[..., None]) * brightest / (brightest + amount)


def brightness(x: Picture, s: int, rng: Random) -> Picture:
    """Adds to HSV's value: hue and saturation stay."""
    value = x.max(-1, keepdims=True)
    raised = np.clip(value + (0.1, 0.2, 0.3, 0.4, 0.5)[s], 0, 1)
    return np.where(value > 0, x * raised / np.maximum(value, 1e-6), raised)


def contrast(x: Picture, s: int, rng: Random) -> Picture:
    mean = x.mean((0, 1), keepdims=True)
    return (x - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[s] + mean


def elastic_transform(x: Picture, s: int, rng: Random) -> Picture:
    alpha, sigma, affine = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))[s]
    side = len(x)
    # Three corners of the middle move: an affine map.
    third, centre = side // 3, side / 2
    corners = np.array([[centre + third, centre + third], [centre + third, centre - third], [centre - third, centre - third]])
    moved = corners + rng.uniform(-affine * side, affine * side, corners.shape)
    matrix = np.linalg.solve(np.c_[moved, np.ones(3)], corners).T  # from where a pixel of the result comes
    y, x0 = np.mgrid[:side, :side].astype(float)
    places = np.tensordot(matrix[:, :2], np.stack([y, x0]), 1) + matrix[:, 2, None, None]
    for axis in range(2):
        noise = ndimage.gaussian_filter(rng.uniform(-1, 1, (side, side)), sigma * side, mode="reflect", truncate=3)
        places[axis] += alpha * side * noise
    return np.stack([ndimage.map_coordinates(x[..., c], places, order=1, mode="reflect") for c in range(3)], axis=-1)


def _image(x: Picture) -> Image.Image:
    return Image.fromarray(np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8))


def pixelate(x: Picture, s: int, rng: Random) -> Picture:
    side = len(x)
    small = max(1, int(side * (0.6, 0.5, 0.4, 0.3, 0.25)[s]))
    return np.asarray(_image(x).resize((small, small), Image.BOX).resize((side, side), Image.BOX)) / 255


def jpeg_compression(x: Picture, s: int, rng: Random) -> Picture:
    file = io.BytesIO()
    _image(x).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[s])
    return np.asarray(Image.open(file)) / 255


GROUPS: dict[str, tuple[Callable[[Picture, int, Random], Picture], ...]] = {
    "noise": (gaussian_noise, shot_noise, impulse_noise),
    "blur": (defocus_blur, glass_blur, motion_blur, zoom_blur),
    "weather": (snow, frost, fog, brightness),
    "digital": (contrast, elastic_transform, pixelate, jpeg_compression),
}
CORRUPTIONS = {c.__name__: c for group in GROUPS.values() for c in group}


def corrupted(pictures: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """uint8 [n, side, side, 3], each picture corrupted with random numbers of its own."""
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity}: expected one of {SEVERITIES}")
    corruption, number = CORRUPTIONS[name], list(CORRUPTIONS).index(name)
    out = np.empty_like(pictures)
    for i, picture in enumerate(pictures):
        x = corruption(picture / 255.0, severity - 1, np.random.default_rng([seed, number, severity, i]))
        out[i] = np.rint(255 * np.clip(x, 0, 1))
    return out
