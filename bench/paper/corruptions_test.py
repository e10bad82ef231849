#!/usr/bin/env python3
"""The corruptions: pictures stay pictures, the same every time, and severity is what it says. 77: not here. test.sh runs it."""
from __future__ import annotations

import math
import sys
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools" / "shapes"))

try:
    import numpy as np
    from scipy import ndimage

    from corruptions import CORRUPTIONS, GROUPS, SEVERITIES, _moving, _plasma, corrupted
    from dataset import draw_many_masks
    from other_pictures import KINDS, on_mosaic
except ImportError as missing:
    print(f"not tested: {missing}")
    sys.exit(77)

PICTURES, MASKS = (drawn[:, ::2, ::2] for drawn in draw_many_masks("demo", 0, 6))  # small, and so quick


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


class Corruptions(unittest.TestCase):
    def test_there_are_fifteen_of_four_groups(self) -> None:
        self.assertEqual({group: len(members) for group, members in GROUPS.items()},
                         {"noise": 3, "blur": 4, "weather": 4, "digital": 4})
        self.assertEqual(len(CORRUPTIONS), 15)

    def test_each_changes_pictures_the_same_way_every_time(self) -> None:
        for name in CORRUPTIONS:
            for severity in SEVERITIES:
                with self.subTest(name, severity=severity):
                    found = corrupted(PICTURES, name, severity)
                    self.assertEqual((found.shape, found.dtype), (PICTURES.shape, np.uint8))
                    self.assertGreater(distance(found, PICTURES), 1)
                    np.testing.assert_array_equal(found, corrupted(PICTURES, name, severity))

    def test_a_picture_does_not_depend_on_the_others(self) -> None:
        for name in CORRUPTIONS:
            np.testing.assert_array_equal(corrupted(PICTURES, name, 3)[:2], corrupted(PICTURES[:2], name, 3), name)

    def test_the_highest_severity_changes_most(self) -> None:
        for name in CORRUPTIONS:
            if name == "elastic_transform":  # first far and smooth, then near and rough
                continue
            with self.subTest(name):
                self.assertGreater(distance(corrupted(PICTURES, name, 5), PICTURES), distance(corrupted(PICTURES, name, 1), PICTURES))

    def test_noise_is_as_strong_as_published(self) -> None:
        grey = np.full((1, 64, 64, 3), 128, np.uint8)
        for severity, sigma in zip(SEVERITIES, (0.08, 0.12, 0.18)):
            self.assertAlmostEqual(float((corrupted(grey, "gaussian_noise", severity) / 255).std()), sigma, delta=0.01)
        for severity, share in zip(SEVERITIES, (0.03, 0.06, 0.09, 0.17, 0.27)):
            hit = (corrupted(grey, "impulse_noise", severity) != 128).mean()
            self.assertAlmostEqual(float(hit), share, delta=0.02)

    def test_motion_is_as_long_as_published(self) -> None:
        x = np.zeros((129, 129))
        x[:, 64] = 1
        for radius, sigma, mean in ((10, 3, 2.1), (15, 8, 6.1), (15, 12, 9.0), (20, 15, 11.4)):
            for unit in (1, 48 / 224):
                moved = _moving(x, radius, sigma, 0.0, unit)[0]
                self.assertAlmostEqual(float(moved.sum()), 1)
                self.assertAlmostEqual(float(moved @ np.arange(129)) - 64, mean * unit, delta=0.1 * unit)
                self.assertEqual(np.flatnonzero(moved > 1e-12).tolist(), list(range(64, 64 + math.ceil(2 * radius * unit) + 1)))

    def test_clouds_are_as_smooth_as_published(self) -> None:
        """Displacements fall by the square of the decay with each octave."""
        x = np.stack([_plasma(64, 1.4, np.random.default_rng(i)) for i in range(20)])
        fine, coarse = (np.abs(np.diff(x[:, ::step, ::step], axis=1)).mean() for step in (1, 2))
        self.assertAlmostEqual(float(coarse / fine), 1.4**2, delta=0.3)

    def test_contrast_keeps_the_mean(self) -> None:
        for severity, factor in zip(SEVERITIES, (0.4, 0.3, 0.2, 0.1, 0.05)):
            found = corrupted(PICTURES, "contrast", severity).astype(float)
            np.testing.assert_allclose(found.mean((1, 2)), PICTURES.mean((1, 2)), atol=0.6)
            np.testing.assert_allclose(found.std((1, 2)), factor * PICTURES.std((1, 2)), atol=0.6)

    def test_only_the_published_severities(self) -> None:
        for severity in (0, 6):
            with self.assertRaises(ValueError):
                corrupted(PICTURES, "fog", severity)


class OtherPictures(unittest.TestCase):
    def test_pictures_stay_pictures(self) -> None:
        for kind, change in KINDS.items():
            with self.subTest(kind):
                found = change(PICTURES)
                self.assertEqual((found.shape, found.dtype), (PICTURES.shape, np.uint8))
                self.assertGreater(distance(found, PICTURES), 1)

    def test_another_background_leaves_the_shape(self) -> None:
        found = on_mosaic(PICTURES, MASKS)
        inside = np.stack([ndimage.binary_erosion(mask > 0, iterations=2) for mask in MASKS])
        self.assertLess(distance(found[inside], PICTURES[inside]), 1)
        self.assertGreater(distance(found[MASKS == 0], PICTURES[MASKS == 0]), 30)


if __name__ == "__main__":
    unittest.main()
