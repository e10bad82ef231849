"""What a section asks for: benchmarks, measured once and kept, and the figures of others."""
from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    repetitions: int
    min_time: float  # seconds of each repetition
    most_gmac: float  # networks that need more are left out
    sizes: tuple[int, ...]  # of the trends
    size: int  # of all else
    variants: tuple[str, ...]
    peers: bool = True  # other runtimes


VARIANTS = ("t8", "t12", "s12", "sa12", "sa24", "sa36", "ma36")
EFFORTS = {
    "full": Effort(9, 0.3, 500, (224, 256, 384, 512, 768, 1024), 256, VARIANTS),
    "quick": Effort(3, 0.05, 100, (256, 384, 1024), 256, VARIANTS),
    "tiny": Effort(1, 0.0, 1, (64,), 64, ("t8",), peers=False),  # the test: that all runs, not how fast
}


@dataclass
class Result:
    """A benchmark's repetitions."""

    ms: float  # the smallest of the repetitions' processor times: what disturbs one only lengthens it
    spread: float  # how far above it the median is, relative to it
    counters: dict[str, float]  # medians

    def __getitem__(self, counter: str) -> float:
        return self.counters[counter]


COUNTERS = ("gmac", "parameters", "activation_mb", "weight_mb", "token_mixer_ms", "mlp_ms", "cache_misses")


def results_of(report: dict[str, Any]) -> dict[str, Result]:
    """The results in a report of Google Benchmark, by name; what was left out is not there."""
    repetitions: dict[str, list[dict[str, Any]]] = {}
    for run in report["benchmarks"]:
        if run["run_type"] == "iteration" and not run.get("error_occurred"):
            repetitions.setdefault(run["run_name"], []).append(run)
    results = {}
    for name, runs in repetitions.items():
        times = [run["cpu_time"] for run in runs]
        smallest = min(times)
        counters = {c: statistics.median(run[c] for run in runs) for c in COUNTERS if c in runs[0]}
        results[name] = Result(smallest, statistics.median(times) / smallest - 1, counters)
    return results


class Run:
    """One run of the page. What it measures is kept in `data`, so that a run that was stopped goes on where it was."""

    def __init__(self, mode: str, program: Path, peers: Path | None, data: Path) -> None:
        self.mode, self.effort, self.program = mode, EFFORTS[mode], program
        self.peers = peers  # what bench/peers/prepare.sh has made
        self.data = data / mode
        self.data.mkdir(parents=True, exist_ok=True)
        self.published = tomllib.loads((HERE / "published.toml").read_text())
        self.context: dict[str, Any] = {}  # of Google Benchmark
        self.isa = ""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def kept(self, name: str, measure: Any) -> Any:
        """The JSON value that measure() gives, from the first time that it was asked for."""
        path = self.data / f"{name}.json"
        if not path.exists():
            self.say(f"  measuring {name}")
            part = path.with_suffix(".part")
            part.write_text(json.dumps(measure()))
            part.rename(path)
        return json.loads(path.read_text())

    def benchmarks(self, group: str, pattern: str) -> dict[str, Result]:
        """The benchmarks whose names match: their repetitions take turns, in random order, in one process."""

        def measure() -> Any:
            output = self.data / f"{group}.google.json"
            subprocess.run(
                [
                    self.program, f"--benchmark_filter={pattern}", f"--benchmark_out={output}",
                    "--benchmark_enable_random_interleaving=true", f"--benchmark_repetitions={self.effort.repetitions}",
                    f"--benchmark_min_time={self.effort.min_time}", f"--most_gmac={self.effort.most_gmac}",
                ],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            report = json.loads(output.read_text())
            output.unlink()
            return report

        report = self.kept(group, measure)
        self.context, self.isa = report["context"], report["benchmarks"][0]["label"]
        return results_of(report)
