#!/usr/bin/env python3
"""Draw what run.sh --json measured: milliseconds of each variant in both runtimes, as an SVG.

    plot.py JSON [SVG]        the default is latency.svg beside this script

One panel for each number of threads; of several sizes, outputs and precisions only the logits of the first size in float32. The tick on
each pair of bars is the time at which every multiply-add of the network runs at the measured peak: no float32 program is faster.
"""
from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from xml.sax.saxutils import escape

PANEL_WIDTH, LABEL_WIDTH, VALUE_WIDTH, GAP, MARGIN = 430, 52, 84, 24, 16
TOP, BAR, BETWEEN, BOTTOM = 76, 13, 14, 46
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-weight: 600; font-size: 15px } .small { font-size: 11px; fill: #59636e } .ours { fill: #0969da } .theirs { fill: #afb8c1 }
    .limit { stroke: #cf222e; stroke-width: 2 } .grid { stroke: #d1d9e0 } .end { text-anchor: end } .middle { text-anchor: middle }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc } .small { fill: #9198a1 } .ours { fill: #4493f8 } .theirs { fill: #656c76 }
      .limit { stroke: #f85149 } .grid { stroke: #3d444d }
    }
"""


def text(x: float, y: float, content: str, kind: str = "") -> str:
    return f'  <text x="{x:.1f}" y="{y:.1f}"' + (f' class="{kind}"' if kind else "") + f">{escape(content)}</text>"


def bar(x: float, y: float, width: float, kind: str) -> str:
    return f'  <rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{BAR - 1}" rx="2" class="{kind}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'  <line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def grid_step(longest: float) -> float:
    """1, 2 or 5 times a power of ten, for about five lines."""
    power = 10 ** math.floor(math.log10(longest / 5))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= longest / 5)


def panel(results: list[dict], left: float) -> list[str]:
    longest = max(max(r["fastvit"]["ms"], r["onnxruntime"]["ms"]) for r in results)
    zero = left + LABEL_WIDTH
    scale = (PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH) / longest
    height = len(results) * (2 * BAR + BETWEEN)
    threads = results[0]["threads"]
    out = [text(left, TOP - 12, f"{threads} thread{'s' if threads > 1 else ''}, milliseconds")]
    step = grid_step(longest)
    for i in range(int(longest / step) + 1):
        x = zero + i * step * scale
        out += [line(x, TOP, x, TOP + height, "grid"), text(x, TOP + height + 14, f"{i * step:g}", "small middle")]
    for i, r in enumerate(results):
        y = TOP + BETWEEN / 2 + i * (2 * BAR + BETWEEN)
        ours, theirs = r["fastvit"]["ms"], r["onnxruntime"]["ms"]
        limit = zero + 2 * r["gmac"] / r["peak_gflops"] * 1e3 * scale
        out += [
            text(zero - 8, y + BAR + 4, r["variant"].upper(), "end"),
            bar(zero, y, ours * scale, "ours"),
            bar(zero, y + BAR, theirs * scale, "theirs"),
            line(limit, y - 2, limit, y + 2 * BAR + 1, "limit"),
            text(zero + ours * scale + 6, y + BAR - 3, f"{ours:.1f}  ({r['speedup']:.2f} x)", "small"),
            text(zero + theirs * scale + 6, y + 2 * BAR - 3, f"{theirs:.1f}", "small"),
        ]
    return out


def draw(report: dict) -> str:
    by_threads: dict[int, list[dict]] = {}
    first = report["results"][0]
    for r in report["results"]:
        if (r["size"], r["outputs"], r["precision"]) == (first["size"], "logits", "float32"):
            by_threads.setdefault(r["threads"], []).append(r)
    rows = max(map(len, by_threads.values()))
    width = 2 * MARGIN + len(by_threads) * PANEL_WIDTH + (len(by_threads) - 1) * GAP
    height = TOP + rows * (2 * BAR + BETWEEN) + BOTTOM
    names = [first[peer]["name"] for peer in ("fastvit", "onnxruntime")]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"  <title>{escape(names[0])} and {escape(names[1])}: milliseconds per image</title>",
        f"  <style>{STYLE}  </style>",
        text(MARGIN, 24, f"One image of {first['size']} x {first['size']}, float32", "title"),
    ]
    x = float(MARGIN)
    for kind, name in zip(("ours", "theirs"), names):
        out += [bar(x, 34, BAR - 1, kind), text(x + 18, 45, name)]
        x += 38 + 7.5 * len(name)
    out += [line(x, 33, x, 47, "limit"), text(x + 8, 45, "the limit: all multiply-adds at the measured peak")]
    for i, threads in enumerate(sorted(by_threads)):
        out += panel(by_threads[threads], MARGIN + i * (PANEL_WIDTH + GAP))
    machine = report["machine"]
    out += [text(MARGIN, height - 10, f"{machine['cpu']}, {machine['cores']} cores, {first['isa']}. Medians, both in turn.", "small")]
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: plot.py JSON [SVG]")
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).with_name("latency.svg")
    target.write_text(draw(json.loads(Path(sys.argv[1]).read_text())))
