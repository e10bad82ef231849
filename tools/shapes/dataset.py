#!/usr/bin/env python3
"""The "shapes" data set: pictures of 16 simple things, drawn from a seed.

A picture is a pure function of (split, index): any of them can be drawn alone, in any order, and anybody who runs this file
with the same numpy and Pillow draws the same bytes. The class of a picture is `index % 16`, so every run of 16 indices holds
each class once.

How a picture is made. Lengths are fractions of the picture's side, "U(a, b)" is uniform:

  1. background  two random colours A and B mixed by one of six patterns: flat, linear gradient, sinusoidal stripes,
                 checkerboard, clouds (value noise of three octaves), spots (soft discs);
  2. clutter     0 to 5 small strokes and dots (0.02 to 0.07 in size) of random colours, anywhere;
  3. the shape   one filled shape of radius U(0.27, 0.43), turned by any angle, squeezed by U(0.85, 1.18) along a random axis,
                 its centre up to what keeps it in the picture or 0.02 beyond; filled flat, with a gradient or with stripes of
                 two near colours that both stand at least 0.33 (RMS over RGB in 0..1) from A and from B; for half of the
                 pictures with a shadow, displaced by U(0.01, 0.035), that halves the background;
  4. occlusion   in two of five pictures a bar or a disc of another colour covers 3% to 14% of the shape;
  5. the camera  gamma U(0.75, 1.35), Gaussian blur of sigma U(0, 0.009), Gaussian noise of sigma U(0, 0.045) per pixel and
                 channel, contrast U(0.75, 1.1) about mid grey.

The shapes' outlines are drawn at four times the size and averaged down. All random numbers of a picture are drawn in one
order from one PCG64 stream keyed by (data set seed, split, index); only the noise depends on the size, and it is drawn last:
the same index at another size is the same scene.

The mask says of each pixel what it shows: 0 the background, 1 + class the shape, where it covers half of the pixel and nothing
occludes it. Shadow, clutter and occluder are background.

Splits: `train` (any number), `test` (the first 2,000 are the held-out pictures), `demo` (pictures for people to look at).

    dataset.py --split test --count 12 --out DIR          PNG files named INDEX_LABEL.png
    dataset.py --split test --count 64 --sheet sheet.png  one contact sheet
"""
from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

DATASET_SEED = 20230324
SPLITS = {"train": 0, "test": 1, "demo": 2}
SUPERSAMPLING = 4
SIZE = 96

Polygon = np.ndarray  # [n, 2], x to the right, y down, in a shape's own units: it fits the disc of radius 1
Outline = list[tuple[bool, Polygon]]  # drawn in order; True fills, False cuts out


# --- the shapes -----------------------------------------------------------------------------------------------------------

def _disc(x: float, y: float, rx: float, ry: float | None = None, n: int = 72) -> Polygon:
    t = np.arange(n) * (2 * math.pi / n)
    return np.stack([x + rx * np.cos(t), y + (rx if ry is None else ry) * np.sin(t)], axis=1)


def _regular(n: int, inner: float = 1.0) -> Polygon:
    """A regular polygon of n corners, the first on top; with inner < 1 a star of n points."""
    count = n if inner == 1.0 else 2 * n
    t = np.arange(count) * (2 * math.pi / count) - math.pi / 2
    r = np.where(np.arange(count) % 2 == 0, 1.0, inner)
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1)


def _points(*xy: float) -> Polygon:
    return np.array(xy, dtype=np.float64).reshape(-1, 2)


def _box(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    return _points(x0, y0, x1, y0, x1, y1, x0, y1)


def _heart() -> Outline:
    t = np.arange(96) * (2 * math.pi / 96)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return [(True, np.stack([x, y - 2.5], axis=1) / 16.5)]


def _spiral() -> Outline:
    """An Archimedean band of two and a half turns, as wide as the gap between its turns."""
    t = np.linspace(0.0, 5.0 * math.pi, 120)
    middle = 0.06 + 0.80 * t / t[-1]
    direction = np.stack([np.cos(t), np.sin(t)], axis=1)
    outer, inner = direction * (middle + 0.085)[:, None], direction * (middle - 0.085)[:, None]
    tip = direction[-1] * middle[-1]
    return [(True, np.concatenate([outer, inner[::-1]])), (True, _disc(tip[0], tip[1], 0.085)), (True, _disc(0.06, 0, 0.1))]


def _flower() -> Outline:
    t = np.arange(6) * (math.pi / 3)
    petals: Outline = [(True, _disc(0.62 * math.cos(a), 0.62 * math.sin(a), 0.36)) for a in t]
    return petals + [(True, _disc(0, 0, 0.5)), (False, _disc(0, 0, 0.24))]


SHAPES: dict[str, Callable[[], Outline]] = {
    "arrow": lambda: [(True, _points(-1, -0.2, 0.15, -0.2, 0.15, -0.62, 1, 0, 0.15, 0.62, 0.15, 0.2, -1, 0.2))],
    "bolt": lambda: [(True, _points(0.05, -1, 0.62, -1, 0.24, -0.28, 0.66, -0.28, -0.46, 1, -0.12, 0.12, -0.58, 0.12))],
    "circle": lambda: [(True, _disc(0, 0, 0.88))],
    "crescent": lambda: [(True, _disc(0, 0, 0.95)), (False, _disc(0.46, 0, 0.76))],
    "cross": lambda: [(True, _box(-0.29, -0.95, 0.29, 0.95)), (True, _box(-0.95, -0.29, 0.95, 0.29))],
    "fish": lambda: [(True, _disc(0.22, 0, 0.76, 0.46)), (True, _points(-0.35, 0, -1, -0.58, -0.84, 0, -1, 0.58)),
                     (False, _disc(0.62, -0.12, 0.1))],
    "flower": _flower,
    "heart": _heart,
    "hourglass": lambda: [(True, _points(-0.62, -0.9, 0.62, -0.9, 0.08, 0, 0.62, 0.9, -0.62, 0.9, -0.08, 0))],
    "house": lambda: [(True, _points(-0.62, -0.1, 0.62, -0.1, 0.62, 0.85, -0.62, 0.85)), (True, _box(0.3, -0.85, 0.55, -0.2)),
                      (True, _points(-0.95, -0.08, 0, -0.95, 0.95, -0.08)), (False, _box(-0.18, 0.3, 0.18, 0.86))],
    "key": lambda: [(True, _disc(-0.58, 0, 0.42)), (False, _disc(-0.58, 0, 0.2)), (True, _box(-0.2, -0.11, 1, 0.11)),
                    (True, _box(0.78, 0.05, 1, 0.46)), (True, _box(0.42, 0.05, 0.62, 0.38))],
    "ring": lambda: [(True, _disc(0, 0, 0.92)), (False, _disc(0, 0, 0.56))],
    "spiral": _spiral,
    "square": lambda: [(True, _box(-0.74, -0.74, 0.74, 0.74))],
    "star": lambda: [(True, _regular(5, 0.42))],
    "triangle": lambda: [(True, _regular(3))],
}
LABELS = list(SHAPES)
MASK_CLASSES = ["background", *LABELS]


def _draw_mask(polygons: Outline, size: int) -> np.ndarray:
    """Coverage [size, size] in 0..1 of polygons whose coordinates are fractions of the side."""
    big = size * SUPERSAMPLING
    mask = Image.new("L", (big, big), 0)
    draw = ImageDraw.Draw(mask)
    for fill, polygon in polygons:
        draw.polygon([(float(x), float(y)) for x, y in polygon * big], fill=255 if fill else 0)
    return np.asarray(mask.reduce(SUPERSAMPLING), dtype=np.float32) / 255.0


# --- patterns and colours -------------------------------------------------------------------------------------------------

def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    return axis[None, :], axis[:, None]


def _along(rng: np.random.Generator, size: int) -> np.ndarray:
    """The coordinate along a random direction, 0 at the centre of the picture, [size, size]."""
    angle = rng.uniform(0, 2 * math.pi)
    x, y = _grid(size)
    return (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    total = np.zeros((size, size), np.float32)
    for cells, weight in ((3, 0.6), (6, 0.3), (13, 0.2)):
        coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        total += weight * np.asarray(coarse.resize((size, size), Image.BICUBIC))
    return np.clip((total - 0.55) * 2.2 + 0.5, 0, 1)


def _spots(rng: np.random.Generator, size: int) -> np.ndarray:
    total = np.zeros((size, size), np.float32)
    x, y = _grid(size)
    for cx, cy, r in rng.uniform((0, 0, 0.04), (1, 1, 0.14), (int(rng.integers(6, 16)), 3)):
        total = np.maximum(total, np.clip((r - np.hypot(x - cx, y - cy)) * 40 + 0.5, 0, 1))
    return total


def _pattern(rng: np.random.Generator, size: int) -> np.ndarray:
    """A map in 0..1 that mixes the background's two colours."""
    kind = int(rng.integers(6))
    if kind == 0:
        return np.zeros((size, size), np.float32)
    if kind == 1:
        return np.clip(_along(rng, size) + 0.5, 0, 1)
    if kind == 2:
        return 0.5 + 0.5 * np.sin(_along(rng, size) * rng.uniform(12, 60) + rng.uniform(0, 6.3))
    if kind == 3:
        cells = rng.uniform(10, 32)
        angle, (x, y) = rng.uniform(0, 2 * math.pi), _grid(size)
        u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        return np.clip(3 * np.sin(u * cells) * np.sin(v * cells) + 0.5, 0, 1)
    return _clouds(rng, size) if kind == 4 else _spots(rng, size)


def _colour_apart(rng: np.random.Generator, others: list[np.ndarray], distance: float) -> np.ndarray:
    """A random colour at least `distance` (RMS) from each of the others; the farthest of 60 tries where none is."""
    tries = rng.random((60, 3))
    nearest = np.min([np.sqrt(np.mean((tries - other) ** 2, axis=1)) for other in others], axis=0)
    good = np.flatnonzero(nearest >= distance)
    return tries[good[0] if len(good) else int(np.argmax(nearest))]


def _mix(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return a + (b - a) * t[..., None]


# --- a picture ------------------------------------------------------------------------------------------------------------

def _place(rng: np.random.Generator, outline: Outline) -> Outline:
    """Squeeze, turn, scale and move a shape: from its own units to fractions of the side."""
    radius = rng.uniform(0.27, 0.43)
    turn, axis, squeeze = rng.uniform(0, 2 * math.pi), rng.uniform(0, math.pi), rng.uniform(0.85, 1.18)

    def rotation(angle: float) -> np.ndarray:
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    stretch = rotation(axis) @ np.diag([squeeze, 1 / squeeze]) @ rotation(-axis)
    matrix = radius * stretch @ rotation(turn)
    slack = 0.5 - radius + 0.02
    centre = 0.5 + rng.uniform(-slack, slack, 2)
    return [(fill, polygon @ matrix.T + centre) for fill, polygon in outline]


def _stroke(rng: np.random.Generator, centre: np.ndarray, length: float, width: float) -> Polygon:
    """A bar of a given length and width, at a random angle."""
    angle = rng.uniform(0, math.pi)
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([centre + along * (i * length / 2) + across * (j * width / 2) for i, j in corners])


def _occluder(rng: np.random.Generator, shape: np.ndarray, size: int) -> np.ndarray | None:
    """The mask of a bar or disc that covers 3% to 14% of the shape, or None if eight tries give none."""
    ys, xs = np.nonzero(shape > 0.5)
    for _ in range(8):
        pick = int(rng.integers(len(xs)))
        centre = np.array([xs[pick] + 0.5, ys[pick] + 0.5]) / size
        if rng.random() < 0.5:
            polygon = _stroke(rng, centre, rng.uniform(0.4, 1.6), rng.uniform(0.03, 0.1))
        else:
            polygon = _disc(centre[0], centre[1], rng.uniform(0.05, 0.14), n=40)
        mask = _draw_mask([(True, polygon)], size)
        if 0.03 <= float((mask * shape).sum() / shape.sum()) <= 0.14:
            return mask
    return None


def draw_with_mask(split: str, index: int, size: int = SIZE) -> tuple[np.ndarray, int, np.ndarray]:
    """Picture `index` of a split: (uint8 RGB [size, size, 3], class, uint8 mask [size, size])."""
    label = index % len(LABELS)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([DATASET_SEED, SPLITS[split], index])))

    back = [rng.random(3), rng.random(3)]
    picture = _mix(back[0], back[1], _pattern(rng, size))
    for _ in range(int(rng.integers(6))):
        centre, colour = rng.random(2), rng.random(3)
        length, width = rng.uniform(0.02, 0.07), rng.uniform(0.01, 0.03)
        picture = _mix(picture, colour, _draw_mask([(True, _stroke(rng, centre, length, width))], size))

    placed = _place(rng, SHAPES[LABELS[label]]())
    shape = _draw_mask(placed, size)
    if rng.random() < 0.5:
        angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(0.01, 0.035)
        offset = far * np.array([math.cos(angle), math.sin(angle)])
        shadow = _draw_mask([(fill, polygon + offset) for fill, polygon in placed], size)
        picture = picture * (1 - 0.5 * shadow[..., None])
    paint = _colour_apart(rng, back, 0.33)
    second = np.clip(paint + rng.uniform(-0.2, 0.2, 3), 0, 1)
    fill = int(rng.integers(3))
    if fill == 0:
        blend = np.zeros((size, size), np.float32)
    elif fill == 1:
        blend = np.clip(_along(rng, size) * 1.5 + 0.5, 0, 1)
    else:
        blend = 0.5 + 0.5 * np.sin(_along(rng, size) * rng.uniform(20, 70))
    if min(np.sqrt(np.mean((second - b) ** 2)) for b in back) < 0.33:
        second = paint
    picture = _mix(picture, _mix(paint, second, blend), shape)
    visible = shape

    if rng.random() < 0.4:
        cover = _occluder(rng, shape, size)
        if cover is not None:
            picture = _mix(picture, _colour_apart(rng, [paint], 0.2), cover)
            visible = shape * (1 - cover)

    picture = np.clip(picture, 0, 1) ** rng.uniform(0.75, 1.35)
    sigma, noise, contrast = rng.uniform(0, 0.009) * size, rng.uniform(0, 0.045), rng.uniform(0.75, 1.1)
    image = Image.fromarray((picture * 255 + 0.5).astype(np.uint8)).filter(ImageFilter.GaussianBlur(sigma))
    values = (np.asarray(image, dtype=np.float32) / 255 - 0.5) * contrast + 0.5
    values += noise * rng.standard_normal((size, size, 3), dtype=np.float32)
    mask = np.where(visible >= 0.5, 1 + label, 0).astype(np.uint8)
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8), label, mask


def draw(split: str, index: int, size: int = SIZE) -> tuple[np.ndarray, int]:
    """Picture `index` of a split: (uint8 RGB [size, size, 3], class)."""
    return draw_with_mask(split, index, size)[:2]


def draw_many(split: str, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures first .. first + count - 1: (uint8 [count, 96, 96, 3], int64 [count])."""
    pictures = np.empty((count, SIZE, SIZE, 3), np.uint8)
    labels = np.empty(count, np.int64)
    for i in range(count):
        pictures[i], labels[i] = draw(split, first + i)
    return pictures, labels


def draw_many_masks(split: str, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures first .. first + count - 1 with their masks: (uint8 [count, 96, 96, 3], uint8 [count, 96, 96])."""
    drawn = [draw_with_mask(split, first + i) for i in range(count)]
    return np.stack([picture for picture, _, _ in drawn]), np.stack([mask for _, _, mask in drawn])


def contact_sheet(split: str, first: int, count: int, size: int) -> Image.Image:
    """The pictures side by side, 16 (one of each class) a row."""
    columns = min(count, len(LABELS))
    sheet = Image.new("RGB", (columns * (size + 2), math.ceil(count / columns) * (size + 2)), "white")
    for i in range(count):
        tile = Image.fromarray(draw(split, first + i, size)[0])
        sheet.paste(tile, (i % columns * (size + 2), i // columns * (size + 2)))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--out", type=Path, help="directory for one PNG per picture")
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet")
    args = parser.parse_args()
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        for index in range(args.first, args.first + args.count):
            picture, label = draw(args.split, index, args.size)
            Image.fromarray(picture).save(args.out / f"{index:05d}_{LABELS[label]}.png")
    if args.sheet:
        contact_sheet(args.split, args.first, args.count, args.size).save(args.sheet)


if __name__ == "__main__":
    main()
