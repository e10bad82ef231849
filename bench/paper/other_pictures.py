"""Pictures of a kind that the drawn data set has none of: shapes of other sizes, other colours, other backgrounds."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.BICUBIC))


def smaller(pictures: np.ndarray) -> np.ndarray:
    """Three fifths of the size; beyond the border its pixels go on."""
    side = pictures.shape[1]
    small = round(0.6 * side)
    before = (side - small) // 2
    pad = ((before, side - small - before),) * 2 + ((0, 0),)
    return np.stack([np.pad(_resized(p, small), pad, mode="edge") for p in pictures])


def larger(pictures: np.ndarray) -> np.ndarray:
    """The middle five sixths: shapes reach beyond the picture."""
    side = pictures.shape[1]
    first = round(side / 12)
    return np.stack([_resized(np.ascontiguousarray(p[first : side - first, first : side - first]), side) for p in pictures])


def grey(pictures: np.ndarray) -> np.ndarray:
    """Luminance alone."""
    luminance = np.rint(pictures @ (0.299, 0.587, 0.114)).astype(np.uint8)
    return np.repeat(luminance[..., None], 3, axis=-1)


def outlines(pictures: np.ndarray) -> np.ndarray:
    """Differences of neighbours on black: neither colours nor surfaces."""
    x = pictures.astype(np.float64)
    edges = np.abs(np.diff(x, axis=1, append=x[:, -1:])) + np.abs(np.diff(x, axis=2, append=x[:, :, -1:]))
    return np.clip(edges, 0, 255).astype(np.uint8)


def on_mosaic(pictures: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The shapes on cells of random colours, each nearest to its random centre; their edges are softened."""
    side = pictures.shape[1]
    pixels = np.stack(np.mgrid[:side, :side], axis=-1)
    out = np.empty_like(pictures)
    for i, (picture, mask) in enumerate(zip(pictures, masks)):
        rng = np.random.default_rng([1, i])
        centres, colours = rng.uniform(0, side, (40, 2)), rng.uniform(0, 255, (40, 3))
        cells = colours[((pixels[:, :, None] - centres) ** 2).sum(-1).argmin(-1)]
        share = ndimage.gaussian_filter((mask > 0).astype(float), side / 140)[..., None]
        out[i] = np.rint(share * picture + (1 - share) * cells)
    return out


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "smaller shapes": smaller, "larger shapes": larger, "grey": grey, "outlines on black": outlines,
}
