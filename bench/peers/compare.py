#!/usr/bin/env python3
"""Time fastvit and ONNX Runtime side by side, on the same weights and the same image. run.sh prepares what this needs.

Each runtime loads the network in a process of its own, which then waits; the two logits must agree; then they run in turn, a round
each, the first of a round alternating, so that whatever else the machine does falls on both. Every round starts with a warm-up. The
machine's peak of float32 multiply-adds is measured in every round too. Figures are medians over all runs of all rounds, ratios
medians over the rounds.

With --precision, also int8 and bfloat16: beside ONNX Runtime's int8, its dense layers quantized with the ranges of the image that is
timed, and, as it computes no bfloat16, beside its float32. Then the cosine of each one's logits with our float32 logits is given.

ONNX Runtime is called from Node, whose binding adds 0.05 ms or less to a call (measured with a graph of one node).
"""
from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

VARIANTS = ["t8", "t12", "s12", "sa12", "sa24", "sa36", "ma36"]
AGREEMENT = 1e-4  # of the largest logit
ROUND_MS = 500.0  # about; a round has at least MIN_RUNS runs
MIN_RUNS, MAX_RUNS = 4, 50
WARM_UP = 2  # runs at the start of each round: the other runtime had the caches


class Peer:
    """A runtime in a process of its own; see peer_fastvit.cpp for what it is told and answers."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start = self.answer()

    def answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} ended with status {self.process.wait()}")
        return json.loads(line)

    def ask(self, command: str) -> Any:
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def logits_of(peer: Peer, data: Path) -> np.ndarray:
    path = data / "logits.bin"
    peer.ask(f"output {path}")
    return np.fromfile(path, dtype="<f4").astype(np.float64)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def check_agreement(ours: Peer, theirs: Peer, data: Path) -> float:
    """The largest difference of the two logits, relative to the largest logit."""
    logits = [logits_of(peer, data) for peer in (ours, theirs)]
    difference = float(np.abs(logits[0] - logits[1]).max() / np.abs(logits[1]).max())
    if not difference <= AGREEMENT:
        raise RuntimeError(f"the logits differ by {difference:.1e} of the largest, more than {AGREEMENT:.0e}: {data}")
    return difference


def summary(peer: Peer, rounds: list[list[float]], gmac: float, peak: float) -> dict[str, Any]:
    milliseconds = statistics.median(ms for one in rounds for ms in one)
    return {
        **{key: value for key, value in peer.start.items() if key not in ("gmac", "isa", "peak_isa")},
        **peer.ask("memory"),
        "ms": milliseconds,
        "best_ms": min(ms for one in rounds for ms in one),
        "round_ms": [statistics.median(one) for one in rounds],
        "peak_fraction": 2 * gmac / (milliseconds * 1e-3) / peak,
    }


def open_ours(variant: str, threads: int, precision: str, options: argparse.Namespace) -> Peer:
    stem = options.data / f"{variant}_{options.size}"
    program = str(options.programs / "peer_fastvit")
    return Peer([program, f"{stem}.safetensors", f"{stem}.image", str(options.size), str(threads), precision])


def open_theirs(variant: str, threads: int, suffix: str, options: argparse.Namespace) -> Peer:
    stem = options.data / f"{variant}_{options.size}"
    script = str(Path(__file__).with_name("peer_onnxruntime.js"))
    return Peer(["node", script, str(options.modules), f"{stem}{suffix}.onnx", f"{stem}.image", str(options.size), str(threads)])


def compare(variant: str, threads: int, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    ours = open_ours(variant, threads, precision, options)
    theirs = open_theirs(variant, threads, "_int8" if precision == "int8" else "", options)
    try:
        exact = ours if precision == "float32" else open_ours(variant, threads, "float32", options)
        reference = logits_of(exact, options.data)
        if exact is not ours:
            exact.close()
        agreement = check_agreement(ours, theirs, options.data) if precision == "float32" else None
        slowest = max(statistics.median(peer.ask(f"run {WARM_UP} 3")) for peer in (ours, theirs))
        runs = max(MIN_RUNS, min(MAX_RUNS, math.ceil(ROUND_MS / slowest)))
        rounds: dict[Peer, list[list[float]]] = {ours: [], theirs: []}
        peaks = []
        for i in range(options.rounds):
            peaks.append(ours.ask("peak 0.1")["peak_gflops"])
            for peer in (ours, theirs) if i % 2 == 0 else (theirs, ours):
                time.sleep(0.25)  # the other's idle threads spin for a while before they sleep
                rounds[peer].append(peer.ask(f"run {WARM_UP} {runs}"))
        gmac, peak = ours.start["gmac"], statistics.median(peaks)
        result = {
            "variant": variant,
            "threads": threads,
            "precision": precision,
            "cosines": [cosine(logits_of(peer, options.data), reference) for peer in (ours, theirs)],
            "size": options.size,
            "gmac": gmac,
            "runs": runs * options.rounds,
            "agreement": agreement,
            "peak_gflops": peak,
            "peak_isa": ours.start["peak_isa"],
            "isa": ours.start["isa"],
            "load_average": os.getloadavg()[0],
            "fastvit": summary(ours, rounds[ours], gmac, peak),
            "onnxruntime": summary(theirs, rounds[theirs], gmac, peak),
        }
        result["speedup"] = statistics.median(
            statistics.median(b) / statistics.median(a) for a, b in zip(rounds[ours], rounds[theirs])
        )
        return result
    finally:
        ours.close()
        theirs.close()


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def lower_precision_table(results: list[dict[str, Any]], ours: str, theirs: str) -> list[str]:
    lines = [
        f"Below float32: {ours} beside {theirs} in int8, and its float32 where ours is bfloat16. Cosines of the logits with those of "
        "float32.",
        "",
        f"| variant | threads | precision | {ours}, ms | {theirs}, ms | times as fast | our cosine | theirs |",
        "| --- | ---: | --- " + "| ---: " * 5 + "|",
    ]
    for r in results:
        a, b = r["fastvit"], r["onnxruntime"]
        lines.append(
            f"| {r['variant'].upper()} | {r['threads']} | {r['precision']} | {a['ms']:.1f} | {b['ms']:.1f} | {r['speedup']:.2f} |"
            f" {r['cosines'][0]:.5f} | {r['cosines'][1]:.5f} |"
        )
    return lines


def tables(report: dict[str, Any]) -> str:
    machine = report["machine"]
    lower = [r for r in report["results"] if r["precision"] != "float32"]
    results = [r for r in report["results"] if r["precision"] == "float32"]
    ours, theirs = (report["results"][0][name]["name"] for name in ("fastvit", "onnxruntime"))
    if not results:
        return "\n".join(lower_precision_table(lower, ours, theirs))
    lines = [
        f"{ours} and {theirs}, float32, one image of {results[0]['size']} x {results[0]['size']}, on {machine['cpu']} "
        f"({machine['cores']} cores, {results[0]['isa']}). Load average {machine['load_average']:.1f} at the start, "
        f"{results[-1]['load_average']:.1f} at the end.",
        "",
        f"| variant | threads | {ours}, ms | {theirs}, ms | times as fast | share of the peak | theirs | peak, GFLOP/s |"
        " logits differ |",
        "| --- " + "| ---: " * 8 + "|",
    ]
    for r in results:
        a, b = r["fastvit"], r["onnxruntime"]
        lines.append(
            f"| {r['variant'].upper()} | {r['threads']} | {a['ms']:.1f} | {b['ms']:.1f} | {r['speedup']:.2f} |"
            f" {a['peak_fraction']:.2f} | {b['peak_fraction']:.2f} | {r['peak_gflops']:.0f} | {r['agreement']:.0e} |"
        )
    lines += [
        "",
        "Loading from a file in the page cache, and the largest resident set after running, mapped files included; in brackets what "
        "the process had before it loaded the network.",
        "",
        f"| variant | threads | {ours}: load, ms | {theirs} | {ours}: memory, MiB | {theirs} |",
        "| --- " + "| ---: " * 5 + "|",
    ]
    for r in results:
        a, b = r["fastvit"], r["onnxruntime"]
        lines.append(
            f"| {r['variant'].upper()} | {r['threads']} | {a['load_ms']:.0f} | {b['load_ms']:.0f} |"
            f" {a['memory_peak_mib']:.0f} ({a['memory_before_mib']:.0f}) | {b['memory_peak_mib']:.0f} ({b['memory_before_mib']:.0f}) |"
        )
    if lower:
        lines += ["", *lower_precision_table(lower, ours, theirs)]
    return "\n".join(lines)


def prepare(variant: str, options: argparse.Namespace) -> None:
    """The checkpoint, the image and the graph of a variant, made anew: they take a second."""
    stem = options.data / f"{variant}_{options.size}"
    files = [f"{stem}.safetensors", f"{stem}.image"]
    subprocess.run([str(options.programs / "make_checkpoint"), variant, str(options.size), *files], check=True)
    exporter = Path(__file__).with_name("export_onnx.py")
    command = [sys.executable, str(exporter), files[0], str(options.size)]
    subprocess.run([*command, f"{stem}.onnx"], check=True)
    if "int8" in options.precision:
        subprocess.run([*command, f"{stem}_observed.onnx", "--observe"], check=True)
        observer = open_theirs(variant, 1, "_observed", options)
        observer.ask(f"numbers {stem}.ranges")
        observer.close()
        subprocess.run([*command, f"{stem}_int8.onnx", "--ranges", f"{stem}.ranges"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time fastvit and ONNX Runtime side by side.")
    names = lambda text: text.lower().split(",")  # noqa: E731
    numbers = lambda text: [int(n) for n in text.split(",")]  # noqa: E731
    parser.add_argument("--variants", type=names, default=VARIANTS, help="such as t8,ma36; mci0 to mci4 too (default: T8 to MA36)")
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="such as 1,2")
    parser.add_argument("--precision", type=names, default=["float32"], help="such as float32,bfloat16,int8")
    parser.add_argument("--size", type=int, default=256, help="height and width of the image")
    parser.add_argument("--rounds", type=int, default=9, help="of each runtime")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--programs", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--modules", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()

    options.data.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
        "rounds": options.rounds,
        "results": [],
    }
    for variant in options.variants:
        prepare(variant, options)
        for threads, precision in ((t, p) for t in options.threads for p in options.precision):
            result = compare(variant, threads, precision, options)
            report["results"].append(result)
            print(
                f"{variant} on {threads}, {precision}: {result['fastvit']['ms']:.1f} ms,"
                f" ONNX Runtime {result['onnxruntime']['ms']:.1f} ms",
                file=sys.stderr,
            )
            # After each, so that an interrupted run leaves what it has.
            if options.json:
                options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(tables(report))


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, subprocess.CalledProcessError) as problem:
        sys.exit(f"compare.py: {problem}")
