#!/usr/bin/env python3
"""Time fastvit and ONNX Runtime side by side, on the same weights and the same image. run.sh prepares what this needs.

Each runtime loads the network in a process of its own, which then waits; their outputs must agree; then they run in turn, a round
each, the first of a round alternating, so that whatever else the machine does falls on both. With one thread both run on the same
core, as others may be slower: a virtual machine's share theirs with strangers. Every round starts with a warm-up. The
machine's peak of float32 multiply-adds is measured in every round too. Figures are medians over all runs of all rounds, ratios
medians over the rounds.

With --precision, also int8 and bfloat16: beside ONNX Runtime's int8, its dense layers quantized with the ranges of the image that is
timed, and, as it computes no bfloat16, beside its float32. Then the cosine of each one's logits with our float32 logits is given.

With --pictures, also from a decoded picture to the answer: ours in one call, theirs by Pillow and NumPy in ONNX Runtime's process. With
--embed, also the pictures a second of `fastvit embed`, from files to a file, beside a Python program of Pillow and ONNX Runtime that
does the same.

ONNX Runtime is called from Python by its C API, as onnxruntime_c.py says; it writes its outputs to memory that is given to it.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VARIANTS = ["t8", "t12", "s12", "sa12", "sa24", "sa36", "ma36"]
OUTPUTS = ["logits", "embedding", "final_conv", "stages"]
AGREEMENT = 1e-4  # of an output's largest element
ROUND_MS = 500.0  # about; a round has at least MIN_RUNS runs
MIN_RUNS, MAX_RUNS = 4, 50
WARM_UP = 2  # runs at the start of each round: the other runtime had the caches
LONG_MS = 1000.0  # a run that takes longer is a round, after one other
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """What is run, and the files that prepare() makes for it."""

    variant: str
    size: int
    outputs: str
    data: Path

    @property
    def checkpoint(self) -> Path:
        return self.data / f"{self.variant}.safetensors"

    @property
    def image(self) -> Path:
        return self.data / f"{self.size}.image"

    def graph(self, kind: str = "") -> Path:
        return self.data / f"{self.variant}_{self.size}_{self.outputs}{kind}.onnx"

    @property
    def label(self) -> str:
        return self.variant.upper() + ("" if self.outputs == OUTPUTS[0] else f", {self.outputs}")


class Peer:
    """A runtime in a process of its own; see peer_fastvit.cpp for what it is told and answers."""

    def __init__(self, command: list[str], threads: int) -> None:
        core = max(os.sched_getaffinity(0))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if threads == 1 else None,
        )
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


def outputs_of(peer: Peer, data: Path) -> list[np.ndarray]:
    path = data / "outputs.bin"
    counts = peer.ask(f"output {path}")
    return np.split(np.fromfile(path, dtype="<f4").astype(np.float64), np.cumsum(counts)[:-1])


def cosine(outputs: list[np.ndarray], reference: list[np.ndarray]) -> float:
    a, b = map(np.concatenate, (outputs, reference))
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def agreement(ours: list[np.ndarray], theirs: list[np.ndarray], what: str) -> float:
    """The largest difference of an output, relative to its largest element."""
    difference = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours, theirs, strict=True))
    if not difference <= AGREEMENT:
        raise RuntimeError(f"{what}: the outputs differ by {difference:.1e} of the largest, more than {AGREEMENT:.0e}")
    return difference


def run_in_turn(ours: Peer, theirs: Peer, rounds: int) -> tuple[list[Any], list[Any], list[float]]:
    """What each answers to `run` in each round, and the machine's peak in each."""
    # After `picture`, theirs are two numbers for each run.
    slowest = max(float(np.sum(peer.ask("run 1 1"))) for peer in (ours, theirs))
    warm_up, least = (WARM_UP, MIN_RUNS) if slowest < LONG_MS else (1, 1)
    command = f"run {warm_up} {max(least, min(MAX_RUNS, math.ceil(ROUND_MS / slowest)))}"
    answers: dict[Peer, list[Any]] = {ours: [], theirs: []}
    peaks = []
    for i in range(rounds):
        peaks.append(ours.ask("peak 0.1")["peak_gflops"])
        for peer in (ours, theirs) if i % 2 == 0 else (theirs, ours):
            time.sleep(0.25)  # the other's idle threads spin for a while before they sleep
            answers[peer].append(peer.ask(command))
    return answers[ours], answers[theirs], peaks


def times_as_fast(ours: list[list[float]], theirs: list[list[float]]) -> float:
    return statistics.median(statistics.median(b) / statistics.median(a) for a, b in zip(ours, theirs))


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


def open_ours(case: Case, threads: int, precision: str, options: argparse.Namespace) -> Peer:
    program = str(options.programs / "peer_fastvit")
    return Peer([program, str(case.checkpoint), str(case.image), str(case.size), str(threads), precision, case.outputs], threads)


def open_theirs(case: Case, threads: int, kind: str, options: argparse.Namespace) -> Peer:
    script = str(HERE / "peer_onnxruntime.py")
    return Peer([sys.executable, script, str(options.modules), str(case.graph(kind)), str(case.image), str(threads)], threads)


def compare(case: Case, threads: int, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    ours = open_ours(case, threads, precision, options)
    theirs = open_theirs(case, threads, "_int8" if precision == "int8" else "", options)
    try:
        exact = ours if precision == "float32" else open_ours(case, threads, "float32", options)
        reference = outputs_of(exact, options.data)
        if exact is not ours:
            exact.close()
        outputs = [outputs_of(peer, options.data) for peer in (ours, theirs)]
        difference = agreement(*outputs, case.label) if precision == "float32" else None
        our_rounds, their_rounds, peaks = run_in_turn(ours, theirs, options.rounds)
        gmac, peak = ours.start["gmac"], statistics.median(peaks)
        return {
            "variant": case.variant,
            "label": case.label,
            "threads": threads,
            "precision": precision,
            "cosines": [cosine(one, reference) for one in outputs],
            "size": case.size,
            "outputs": case.outputs,
            "gmac": gmac,
            "runs": sum(map(len, our_rounds)),
            "agreement": difference,
            "peak_gflops": peak,
            "peak_isa": ours.start["peak_isa"],
            "isa": ours.start["isa"],
            "load_average": os.getloadavg()[0],
            "fastvit": summary(ours, our_rounds, gmac, peak),
            "onnxruntime": summary(theirs, their_rounds, gmac, peak),
            "speedup": times_as_fast(our_rounds, their_rounds),
        }
    finally:
        ours.close()
        theirs.close()


def draw(seed: int, width: int, height: int) -> np.ndarray:
    """A picture that takes as long to decode and to read as a photograph: soft shapes and some grain."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (height // 32, width // 32, 3), np.uint8))
    soft = np.asarray(small.resize((width, height), Image.BICUBIC), np.float32)
    return np.clip(soft + random.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


def compare_pictures(case: Case, threads: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """From decoded pictures to the outputs."""
    ours, theirs = open_ours(case, threads, "float32", options), open_theirs(case, threads, "", options)
    results = []
    try:
        for width, height in options.pictures:
            path = options.data / f"{width}x{height}.rgb"
            draw(0, width, height).tofile(path)
            pillow = [peer.ask(f"picture {width} {height} {path}") for peer in (ours, theirs)][1]["name"]
            difference = agreement(*(outputs_of(peer, options.data) for peer in (ours, theirs)), f"{case.label} of {path}")
            our_rounds, their_rounds, _ = run_in_turn(ours, theirs, options.rounds)
            parts = np.array([one for rounds in their_rounds for one in rounds])
            their_rounds = [[sum(parts) for parts in one] for one in their_rounds]
            results.append({
                "label": case.label,
                "size": case.size,
                "threads": threads,
                "picture": f"{width} x {height}",
                "agreement": difference,
                "ours_ms": statistics.median(ms for one in our_rounds for ms in one),
                "theirs_ms": statistics.median(ms for one in their_rounds for ms in one),
                "theirs_preprocessing_ms": float(np.median(parts[:, 0])),
                "theirs_network_ms": float(np.median(parts[:, 1])),
                "speedup": times_as_fast(our_rounds, their_rounds),
                "names": [ours.start["name"], f"{pillow} and {theirs.start['name']}"],
            })
    finally:
        ours.close()
        theirs.close()
    return results


def compare_embedding(case: Case, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Programs as users run them, from starting to ending: JPEGs of 640 x 480 to an array of embeddings."""
    folder = options.data / f"pictures_{options.embed}"
    if not folder.exists():
        unfinished = folder.with_suffix(".partial")
        unfinished.mkdir(exist_ok=True)
        for i in range(options.embed):
            Image.fromarray(draw(i, 640, 480)).save(unfinished / f"{i:05}.jpg", quality=90)
        unfinished.rename(folder)
    arrays = [options.data / f"{name}.npy" for name in ("ours", "theirs")]
    program = [str(options.programs / "fastvit"), "embed", "--model", str(case.checkpoint), "--preset", "imagenet"]
    commands = [
        [*program, "--threads", str(threads), str(folder), "--output", str(arrays[0])],
        [
            sys.executable, str(HERE / "embed_onnxruntime.py"), str(options.modules), str(case.graph()), str(folder), str(arrays[1]),
            str(threads),
        ],
    ]  # fmt: skip
    seconds: tuple[list[float], list[float]] = ([], [])
    for i in range(max(1, options.rounds // 3)):  # each is many pictures
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            arrays[which].unlink(missing_ok=True)  # fastvit would resume
            begin = time.perf_counter()
            subprocess.run(commands[which], check=True, stderr=subprocess.DEVNULL)
            seconds[which].append(time.perf_counter() - begin)
    return {
        "label": case.variant.upper(),
        "size": case.size,
        "threads": threads,
        "pictures": options.embed,
        "agreement": agreement(*([np.load(array).astype(np.float64)] for array in arrays), f"embeddings of {folder}"),
        "per_second_and_core": [options.embed / statistics.median(one) / threads for one in seconds],
        "speedup": statistics.median(b / a for a, b in zip(*seconds)),
    }


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def header(*names: str) -> list[str]:
    return [row(*names), "| --- " + "| ---: " * (len(names) - 1) + "|"]


def float32_tables(results: list[dict[str, Any]], machine: dict[str, Any]) -> list[str]:
    ours, theirs = (results[0][name]["name"] for name in ("fastvit", "onnxruntime"))
    lines = [
        f"{ours} and {theirs}, float32, one image, on {machine['cpu']} ({machine['cores']} cores, {results[0]['isa']}). Load average "
        f"{machine['load_average']:.1f} at the start, {results[-1]['load_average']:.1f} at the end.",
        "",
        *header(
            "variant", "size", "threads", f"{ours}, ms", f"{theirs}, ms", "times as fast", "share of the peak", "theirs",
            "peak, GFLOP/s", "outputs differ",
        ),
    ]  # fmt: skip
    for r in results:
        a, b = r["fastvit"], r["onnxruntime"]
        lines.append(row(
            r["label"], r["size"], r["threads"], f"{a['ms']:.1f}", f"{b['ms']:.1f}", f"{r['speedup']:.2f}",
            f"{a['peak_fraction']:.2f}", f"{b['peak_fraction']:.2f}", f"{r['peak_gflops']:.0f}", f"{r['agreement']:.0e}",
        ))  # fmt: skip
    lines += [
        "",
        "Loading from a file in the page cache, and the largest resident set after running, mapped files included; in brackets what "
        "the process had before it loaded the network.",
        "",
        *header(
            "variant", "size", "threads", f"{ours}: load, ms", theirs, f"{ours}: memory, MiB", theirs
        ),
    ]  # fmt: skip
    for r in results:
        a, b = r["fastvit"], r["onnxruntime"]
        lines.append(row(
            r["label"], r["size"], r["threads"], f"{a['load_ms']:.0f}", f"{b['load_ms']:.0f}",
            *(f"{x['memory_peak_mib']:.0f} ({x['memory_before_mib']:.0f})" for x in (a, b)),
        ))  # fmt: skip
    return lines


def lower_precision_table(results: list[dict[str, Any]]) -> list[str]:
    ours, theirs = (results[0][name]["name"] for name in ("fastvit", "onnxruntime"))
    lines = [
        f"Below float32: {ours} beside {theirs} in int8, and its float32 where ours is bfloat16. Cosines of the outputs with those of "
        "float32.",
        "",
        *header("variant", "size", "threads", "precision", f"{ours}, ms", f"{theirs}, ms", "times as fast", "our cosine", "theirs"),
    ]
    for r in results:
        lines.append(row(
            r["label"], r["size"], r["threads"], r["precision"], f"{r['fastvit']['ms']:.1f}", f"{r['onnxruntime']['ms']:.1f}",
            f"{r['speedup']:.2f}", *(f"{one:.5f}" for one in r["cosines"]),
        ))  # fmt: skip
    return lines


def picture_table(results: list[dict[str, Any]]) -> list[str]:
    ours, theirs = results[0]["names"]
    lines = [
        f"From a decoded picture to the answer, float32: {ours} in one call, {theirs} in one process.",
        "",
        *header(
            "variant", "size", "threads", "picture", f"{ours}, ms", f"{theirs}, ms", "of it preprocessing", "network",
            "times as fast", "outputs differ",
        ),
    ]  # fmt: skip
    for r in results:
        milliseconds = (f"{r[key]:.1f}" for key in ("ours_ms", "theirs_ms", "theirs_preprocessing_ms", "theirs_network_ms"))
        lines.append(row(
            r["label"], r["size"], r["threads"], r["picture"], *milliseconds, f"{r['speedup']:.2f}", f"{r['agreement']:.0e}",
        ))  # fmt: skip
    return lines


def embedding_table(results: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"Embeddings of {results[0]['pictures']} JPEGs of 640 x 480, pictures a second and core: `fastvit embed`, and Pillow and ONNX "
        "Runtime in a Python program, each from its start to its end.",
        "",
        *header("variant", "size", "threads", "fastvit", "Pillow and ONNX Runtime", "times as fast", "outputs differ"),
    ]
    for r in results:
        lines.append(row(
            r["label"], r["size"], r["threads"], *(f"{one:.1f}" for one in r["per_second_and_core"]), f"{r['speedup']:.2f}",
            f"{r['agreement']:.0e}",
        ))  # fmt: skip
    return lines


def tables(report: dict[str, Any]) -> str:
    float32 = [r for r in report["results"] if r["precision"] == "float32"]
    lower = [r for r in report["results"] if r["precision"] != "float32"]
    parts = [
        float32_tables(float32, report["machine"]) if float32 else [],
        lower_precision_table(lower) if lower else [],
        picture_table(report["pictures"]) if report["pictures"] else [],
        embedding_table(report["embeddings"]) if report["embeddings"] else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def prepare(case: Case, options: argparse.Namespace) -> None:
    """The checkpoint, the image and the graphs of a case, made anew: they take a second."""
    checkpoint = str(case.checkpoint)
    subprocess.run([str(options.programs / "make_checkpoint"), case.variant, str(case.size), checkpoint, str(case.image)], check=True)

    def export(kind: str, *arguments: str) -> None:
        command = [sys.executable, str(HERE / "export_onnx.py"), checkpoint, str(case.size), str(case.graph(kind))]
        subprocess.run([*command, "--outputs", case.outputs, *arguments], check=True)

    export("")
    if "int8" in options.precision:
        export("_observed", "--observe")
        ranges = options.data / "ranges.json"
        observer = open_theirs(case, 1, "_observed", options)
        observer.ask(f"numbers {ranges}")
        observer.close()
        export("_int8", "--ranges", str(ranges))


def parse_case(text: str, options: argparse.Namespace) -> Case:
    """VARIANT[@SIZE][:OUTPUTS]"""
    rest, _, outputs = text.partition(":")
    variant, _, size = rest.partition("@")
    if outputs not in ["", *OUTPUTS]:
        raise RuntimeError(f"{text}: the outputs are one of {', '.join(OUTPUTS)}")
    return Case(variant, int(size or options.size), outputs or OUTPUTS[0], options.data)


def parse_sides(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.sh", description="Time fastvit and ONNX Runtime side by side.")
    list_of = lambda parse: lambda text: [parse(one) for one in text.lower().split(",")]  # noqa: E731
    parser.add_argument(
        "--variants",
        type=list_of(str),
        default=VARIANTS,
        help="VARIANT[@SIZE][:OUTPUTS], ...: such as t8,mci0, sa12@512:stages for the feature pyramid of an image of 512 x 512, or "
        "mci3@1024:final_conv for FastVLM's encoder (default: T8 to MA36)",
    )
    parser.add_argument("--threads", type=list_of(int), default=[1, 2], help="such as 1,2")
    parser.add_argument("--precision", type=list_of(str), default=["float32"], help="such as float32,bfloat16,int8")
    parser.add_argument("--size", type=int, default=256, help="height and width of images where --variants does not say")
    parser.add_argument(
        "--pictures", type=list_of(parse_sides), default=[], help="also time decoded pictures of these sizes: 1920x1080,640x480"
    )
    parser.add_argument("--embed", type=int, default=0, metavar="N", help="also time the embedding of N pictures in files, such as 500")
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
        "pictures": [],
        "embeddings": [],
    }

    def done(line: str) -> None:
        print(line, file=sys.stderr)
        # After each, so that an interrupted run leaves what it has.
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")

    for case in [parse_case(text, options) for text in options.variants]:
        prepare(case, options)
        for threads in options.threads:
            start = f"{case.label} of {case.size} x {case.size} on {threads}"
            for precision in options.precision:
                report["results"].append(r := compare(case, threads, precision, options))
                done(f"{start}, {precision}: {r['fastvit']['ms']:.1f} ms, ONNX Runtime {r['onnxruntime']['ms']:.1f} ms")
            for r in compare_pictures(case, threads, options) if options.pictures else []:
                report["pictures"].append(r)
                done(f"{start}, from {r['picture']}: {r['ours_ms']:.1f} ms, ONNX Runtime {r['theirs_ms']:.1f} ms")
        if options.embed:
            embedding = replace(case, outputs="embedding")
            prepare(embedding, options)
            for threads in options.threads:
                report["embeddings"].append(r := compare_embedding(embedding, threads, options))
                done(f"{case.label}, {options.embed} embeddings on {threads}: {r['speedup']:.2f} times as fast")
    print(tables(report))


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, subprocess.CalledProcessError) as problem:
        sys.exit(f"compare.py: {problem}")
