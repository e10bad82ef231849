#!/usr/bin/env python3
"""Repeat what FastViT's paper says, and make a page of it. run.sh prepares what this needs."""
from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from measure import EFFORTS, Run, cpu_name  # noqa: E402
from page import OPEN, UNDECIDED, Plot, render  # noqa: E402
from sections import ORDER  # noqa: E402


def revision() -> str:
    try:
        git = subprocess.run(["git", "-C", str(HERE), "describe", "--always", "--dirty"], capture_output=True, text=True)
    except FileNotFoundError:  # nothing else needs it
        return "unknown"
    return git.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="bench_paper")
    parser.add_argument("--peers", type=Path, help="where prepare.sh of bench/peers has put the programs that run others")
    parser.add_argument("--out", type=Path, required=True, help="a directory for the page and what it is made of")
    parser.add_argument("--sections", default=",".join(ORDER), help="which, separated by commas")
    group = parser.add_mutually_exclusive_group()
    for mode in EFFORTS:
        if mode != "full":
            group.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, default="full")
    options = parser.parse_args()
    names = options.sections.split(",")
    if unknown := set(names) - set(ORDER):
        parser.error(f"no section {', '.join(sorted(unknown))}: there are {', '.join(ORDER)}")
    run = Run(options.mode, options.program, options.peers, options.out / "data")
    sections = []
    for i, name in enumerate(names):
        run.say(f"[{i + 1}/{len(names)}] {name}")
        sections.append(importlib.import_module(f"sections.{name}").section(run))
    if run.mode != "full":
        for claim in (c for s in sections for c in s.claims if c.verdict != OPEN and not c.counted):
            claim.verdict, claim.why = UNDECIDED, "too little was measured: the full run tells"
    about = {
        "machine": cpu_name(),
        # Known once a benchmark has run.
        "speed": f", {float(run.context['peak_gflops']):.0f} GFLOP/s a core at most, {run.isa}" if run.context else "",
        "date": " to ".join(sorted({min(run.dates), max(run.dates)})) if run.dates else "nothing",
        "revision": revision(),
        "mode": run.mode,
        "repetitions": run.effort.repetitions,
    }
    for name, made in zip(names, sections):
        for i, block in enumerate(b for b in made.blocks if isinstance(b, Plot)):
            (options.out / f"{name}_{i + 1}.svg").write_text(block.svg)
    page = options.out / "index.html"
    page.write_text(render(sections, about))
    run.say(f"{page}")


if __name__ == "__main__":
    main()
