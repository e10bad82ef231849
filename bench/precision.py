#!/usr/bin/env python3
"""Show what bfloat16 and int8 lose in each variant: see precision.sh, which prepares what this needs.

The loss is 1 - the cosine of a result with float32's. In the picture a variant is a row, each stage a tick and the embedding a dot.
"""
from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("peers")))
from plot import STYLE, line, text  # noqa: E402

VARIANTS = "t8,t12,s12,sa12,sa24,sa36,ma36,mci0,mci1,mci2,mci3,mci4"
TYPES = {"bfloat16": "theirs", "int8": "ours"}  # and the class of each in STYLE
LEAST, MOST = -8, -2  # powers of ten
WIDTH, LABEL, MARGIN, TOP, ROW, BOTTOM = 780, 60, 16, 84, 30, 44


def verify(variant: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The cosines of each result, for each type."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = f"{folder}/{variant}.safetensors"
        subprocess.run([options.make, variant, "256", checkpoint, f"{folder}/image"], check=True)
        found = {}
        for name in TYPES:
            command = [options.program, "verify", "--precision", name, "--json", "--model", checkpoint]
            found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["cosines"]
        return found


def loss(cosine: float) -> float:
    return max(1 - cosine, 0.0)


def draw(results: dict[str, dict[str, dict[str, float]]]) -> str:
    height = TOP + ROW * len(results) + BOTTOM
    zero, scale = MARGIN + LABEL, (WIDTH - 2 * MARGIN - LABEL) / (MOST - LEAST)

    def place(cosine: float) -> float:
        return zero + scale * (min(max(math.log10(max(loss(cosine), 1e-12)), LEAST), MOST) - LEAST)

    def dot(x: float, y: float, kind: str) -> str:
        return f'  <circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{kind}"/>'

    def tick(x: float, y: float, kind: str) -> str:
        return f'  <rect x="{x - 1:.1f}" y="{y - 5:.1f}" width="2" height="10" class="{kind}"/>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        "  <title>What bfloat16 and int8 lose in each variant</title>",
        f"  <style>{STYLE}  </style>",
        text(MARGIN, 24, "1 - cosine with float32: nearer to the left is nearer to float32", "title"),
    ]
    x = float(MARGIN)
    for name, kind in TYPES.items():
        out += [dot(x + 6, 44, kind), text(x + 18, 48, f"{name}, embedding"), tick(x + 166, 44, kind), text(x + 174, 48, "its stages")]
        x += 280
    for power in range(LEAST, MOST + 1):
        x = zero + scale * (power - LEAST)
        out += [line(x, TOP - 8, x, height - BOTTOM, "grid"), text(x, TOP - 14, f"1e{power}", "small middle")]
    for i, (variant, cosines) in enumerate(results.items()):
        y = TOP + ROW * (i + 0.5)
        out.append(text(zero - 10, y + 4, variant.upper(), "end"))
        for (name, kind), row in zip(TYPES.items(), (y - 6, y + 6)):
            stages = [c for result, c in cosines[name].items() if result.startswith("stage")]
            out += [tick(place(c), row, kind) for c in stages]
            out.append(dot(place(cosines[name]["embedding"]), row, kind))
    out.append(text(MARGIN, height - 12, "Published networks with seeded weights, a random input of 256 x 256: sh bench/precision.sh", "small"))
    return "\n".join([*out, "</svg>", ""])


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| variant | type | " + "worst stage | embedding | logits |", "| --- | --- | ---: | ---: | ---: |"]
    for variant, cosines in results.items():
        for name in TYPES:
            c = cosines[name]
            worst = min(value for result, value in c.items() if result.startswith("stage"))
            lines.append(f"| {variant.upper()} | {name} | {loss(worst):.0e} | {loss(c['embedding']):.0e} | {loss(c['logits']):.0e} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What bfloat16 and int8 lose in each variant.")
    parser.add_argument("--variants", type=lambda names: names.lower().split(","), default=VARIANTS.split(","))
    parser.add_argument("--svg", type=Path, default=Path(__file__).with_name("precision.svg"))
    parser.add_argument("--program", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--make", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    results = {}
    for variant in options.variants:
        print(f"{variant} ...", file=sys.stderr)
        results[variant] = verify(variant, options)
    options.svg.write_text(draw(results))
    print(table(results))
    print(f"{options.svg} written", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as problem:
        sys.exit(f"precision.py: {problem}")
