#!/usr/bin/env python3
"""Draw the demo's answers on one sheet: the pictures as they are, each with its first answer and its share.

    contact_sheet.py --answers answers.json --out examples/answers.png

--answers: what `fastvit classify --json examples/pictures/*.png` printed. Needs python3-pil and fonts-dejavu-core.
"""
from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

COLUMNS = 8
TILE = 224      # a picture's side
GAP = 20        # between tiles, and around them
CAPTION = 64    # under a picture: the answer, and a bar as long as its share
INK, FAINT, RIGHT, WRONG = "#1f2328", "#d8dee4", "#2a7de1", "#d1242f"


def draw_tile(sheet: Image.Image, x: int, y: int, picture: dict, font: ImageFont.FreeTypeFont) -> None:
    path, answer = Path(picture["file"]), picture["answers"][0]
    colour = RIGHT if answer["label"] == path.stem else WRONG
    sheet.paste(Image.open(path).convert("RGB").resize((TILE, TILE), Image.BICUBIC), (x, y))
    draw = ImageDraw.Draw(sheet)
    share = f"{100 * answer['probability']:.1f} %"
    draw.text((x, y + TILE + 30), answer["label"], fill=INK, font=font, anchor="ls")
    draw.text((x + TILE, y + TILE + 30), share, fill=INK, font=font, anchor="rs")
    bar = y + TILE + 40
    draw.rectangle((x, bar, x + TILE - 1, bar + 9), fill=FAINT)
    draw.rectangle((x, bar, x + round((TILE - 1) * answer["probability"]), bar + 9), fill=colour)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    pictures = json.loads(args.answers.read_text())
    font = ImageFont.truetype("DejaVuSans.ttf", 24)
    rows = math.ceil(len(pictures) / COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, rows * (TILE + CAPTION + GAP) + GAP), "white")
    for i, picture in enumerate(pictures):
        draw_tile(sheet, GAP + i % COLUMNS * (TILE + GAP), GAP + i // COLUMNS * (TILE + CAPTION + GAP), picture, font)
    # The noise in the pictures makes 256 colours the difference between 1.3 MB and a third of it.
    sheet.quantize(256, dither=Image.Dither.NONE).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
