#!/usr/bin/env python3
"""Compare the speed of two builds of bench_latency, and fail if the second is slower. compare.sh builds them.

    compare.py BASE TREE        two programs

In each round every benchmark runs once in each program, in a process of its own, the first of the two alternating: whatever else the
machine does falls on both. A benchmark's result is the median, over the rounds, of the second program's time divided by the first's.
Times themselves would mean nothing on another machine, so only ratios are shown. The exit status is 1 if a ratio is over the bound,
and 2 if something could not be measured.

With --instructions, the instructions of forward passes are compared instead of their time: of two, the first of which also lays out
its memory. That needs no quiet machine, but says nothing of caches and of how many instructions run at once. Valgrind knows no
AVX-512: the kernels are those of AVX2.
"""
from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# As callgrind names it, in any version of the library's ABI. The other overloads call this one.
FORWARD = "fastvit::*::model::forward(fastvit::*::tensor_view<float const>, fastvit::*::workspace&, fastvit::*::output_kind) const"


def output_of(command: list[str]) -> str:
    """What a program prints. Its errors are shown only if it fails: callgrind and Google Benchmark have much to say."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}\n{done.stderr}")
    return done.stdout


def names_in(program: str, pattern: str | None) -> list[str]:
    chosen = [] if pattern is None else [f"--benchmark_filter={pattern}"]  # otherwise the program's own choice
    return output_of([program, *chosen, "--benchmark_list_tests"]).split()


def only(name: str) -> str:
    return f"--benchmark_filter=^{re.escape(name)}$"


def time_of(program: str, name: str, min_time: float) -> float:
    report = output_of([program, only(name), f"--benchmark_min_time={min_time}", "--benchmark_format=json"])
    (run,) = json.loads(report)["benchmarks"]
    if "real_time" not in run:
        raise RuntimeError(f"{program}: no time for {name}: {run.get('error_message', 'the report has none')}")
    return run["real_time"]


def instructions_of(program: str, name: str) -> float:
    """Of the forward passes alone, not of what makes the network or finds the machine's peak."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}", f"--toggle-collect={FORWARD}"]
        output_of([*callgrind, program, only(name), "--benchmark_min_time=0"])  # one pass to warm up, one that is timed
        found = re.search(r"^totals: (\d+)", counts.read_text(), re.MULTILINE)
    if not found or int(found[1]) == 0:
        raise RuntimeError(f"{program}: no instructions of a forward pass in {name}: has its function another name?")
    return float(found[1])


def show_progress(text: str) -> None:
    """On a terminal each line replaces the last one."""
    on_terminal = sys.stderr.isatty()
    if text or on_terminal:
        print(f"\r\033[K{text}" if on_terminal else text, end="" if on_terminal else "\n", file=sys.stderr, flush=True)


def short(name: str) -> str:
    return name.removeprefix("latency/").removesuffix("/real_time")


def ratios_of(options: argparse.Namespace, names: list[str]) -> dict[str, list[float]]:
    """Of each benchmark, one for each round."""
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for i in range(options.rounds):
        for j, name in enumerate(names):
            show_progress(f"round {i + 1} of {options.rounds}, {j + 1} of {len(names)}: {short(name)}")
            measured = {}
            for program in (options.base, options.tree) if i % 2 == 0 else (options.tree, options.base):
                if options.instructions:
                    measured[program] = instructions_of(program, name)
                else:
                    measured[program] = time_of(program, name, options.min_time)
            ratios[name].append(measured[options.tree] / measured[options.base])
    show_progress("")
    return ratios


def middle_half(values: list[float]) -> str:
    if len(values) == 1:
        return ""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.3f} to {high:.3f}"


def judge(ratios: dict[str, list[float]], bound: float) -> bool:
    """Prints the table; whether nothing is over the bound."""
    print("| benchmark | ratio | middle half of the rounds | |\n| --- | ---: | ---: | --- |")
    slower = 0
    for name, rounds in ratios.items():
        ratio = statistics.median(rounds)
        slower += ratio > bound
        print(f"| {short(name)} | {ratio:.3f} | {middle_half(rounds)} | {'slower' if ratio > bound else ''} |")
    overall = statistics.geometric_mean(statistics.median(rounds) for rounds in ratios.values())
    print(f"\n{slower} of {len(ratios)} over the bound of {bound:g}; geometric mean {overall:.3f}")
    return slower == 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="compare.sh",
        usage="compare.sh BASE [options]",
        description="Is the working tree slower than the revision BASE? Ratios are the tree's over the base's: below 1 is faster.",
    )
    parser.add_argument("base", help="the revision")
    parser.add_argument("tree", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--filter", help="benchmarks whose names match this regular expression (default: bench_latency's own choice)")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s; with --instructions one is enough")
    parser.add_argument("--min-time", type=float, default=0.3, help="seconds of a run (default: %(default)s)")
    parser.add_argument("--bound", type=float, default=1.02, help="the largest ratio that passes (default: %(default)s)")
    parser.add_argument(
        "--instructions", action="store_true", help="count the instructions of a forward pass on one thread, with Valgrind"
    )
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    if options.instructions:
        options.rounds = 1

    in_base = set(names_in(options.base, options.filter))
    in_tree = names_in(options.tree, options.filter)
    names = [name for name in in_tree if name in in_base]
    if options.instructions:
        names = [name for name in names if "/threads:1/" in name]  # threads that wait for each other run instructions too
    if not names:
        raise RuntimeError("the two have no benchmark in common" + (f" that matches {options.filter}" if options.filter else ""))
    return 0 if judge(ratios_of(options, names), options.bound) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as problem:
        print(f"compare.py: {problem}", file=sys.stderr)
        sys.exit(2)
