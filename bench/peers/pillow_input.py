"""What preprocessing::imagenet() does, by Pillow and NumPy: the steps of timm's and torchvision's transforms."""
from __future__ import annotations

import math

import numpy as np
from PIL import Image

CROP_FRACTION = 0.90
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STDDEV = np.array([0.229, 0.224, 0.225], np.float32)
# (pixel / 255 - mean) / stddev as one multiplication and one addition of the whole image: the fastest that NumPy can do.
SCALE = (1 / (255 * STDDEV)).reshape(3, 1, 1)
SHIFT = (-MEAN / STDDEV).reshape(3, 1, 1)


def write_input(picture: Image.Image, image: np.ndarray) -> None:
    """Resizes, crops and normalises into image, [3, size, size]."""
    size = image.shape[-1]
    shorter = math.floor(size / CROP_FRACTION)
    scaled = [side * shorter // min(picture.size) for side in picture.size]
    left, top = (round((side - size) / 2) for side in scaled)
    crop = picture.resize(scaled, Image.BICUBIC).crop((left, top, left + size, top + size))
    np.multiply(np.asarray(crop).transpose(2, 0, 1), SCALE, out=image)
    image += SHIFT
