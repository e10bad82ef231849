#!/usr/bin/env python3
"""Draw on one sheet what `segment` made of pictures: each above its mask and its overlay.

    for name in star key ...; do segment examples/pictures/$name.png DIR/$name.png DIR/${name}_overlay.png; done
    segmentation_sheet.py --masks DIR --out examples/segmentation.png star key ...
"""
from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

TILE = 112  # a picture's side
GAP = 8     # between tiles, and around them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("names", nargs="+")
    args = parser.parse_args()
    pictures = Path(__file__).resolve().parents[2] / "examples/pictures"
    sheet = Image.new("RGB", (len(args.names) * (TILE + GAP) + GAP, 3 * (TILE + GAP) + GAP), "white")
    for column, name in enumerate(args.names):
        rows = (pictures / f"{name}.png", args.masks / f"{name}.png", args.masks / f"{name}_overlay.png")
        for row, file in enumerate(rows):
            tile = Image.open(file).convert("RGB").resize((TILE, TILE), Image.BICUBIC)
            sheet.paste(tile, (GAP + column * (TILE + GAP), GAP + row * (TILE + GAP)))
    sheet.quantize(256, dither=Image.Dither.NONE).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
