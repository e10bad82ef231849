"""What a section asks for: benchmarks, measured once and kept, and the figures of others."""
from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

from compare import cpu_name  # noqa: E402


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
    counters: dict[str, float]  # of the same repetition

    def __getitem__(self, counter: str) -> float:
        return self.counters[counter]

    @property
    def traffic_mb(self) -> float:
        return self["activation_mb"] + self["weight_mb"]


COUNTERS = ("parameters", "activation_mb", "weight_mb", "token_mixer_ms", "mlp_ms", "cache_misses")


def spread(times: list[float]) -> float:
    return statistics.median(times) / min(times) - 1


def noise(a: Result, b: Result) -> float:
    """Of a comparison, in percent."""
    return 100 * max(a.spread, b.spread)


def results_of(report: dict[str, Any]) -> dict[str, Result]:
    """The results in a report of Google Benchmark, by name; what was left out is not there."""
    repetitions: dict[str, list[dict[str, Any]]] = {}
    for run in report["benchmarks"]:
        if run["run_type"] == "iteration" and not run.get("error_occurred"):
            repetitions.setdefault(run["run_name"], []).append(run)
    results = {}
    for name, runs in repetitions.items():
        fastest = min(runs, key=lambda run: run["cpu_time"])
        counters = {c: fastest[c] for c in COUNTERS if c in fastest}
        results[name] = Result(fastest["cpu_time"], spread([run["cpu_time"] for run in runs]), counters)
    return results


def machine() -> list[str]:
    """What times and last bits depend on beside programs."""
    return [cpu_name(), os.environ.get("FASTVIT_ISA", "")]


def fingerprint(made_from: Any) -> str:
    """The same for the same settings and the same contents of files."""

    def plain(part: Any) -> Any:
        if isinstance(part, Path):
            return hashlib.sha256(part.read_bytes()).hexdigest()
        return dataclasses.asdict(part)

    return hashlib.sha256(json.dumps(made_from, default=plain, sort_keys=True).encode()).hexdigest()


def kept(path: Path, made_from: Any, measure: Callable[[], Any]) -> dict[str, Any]:
    """What measure() gave, and when, from the first time that it was asked for with this `made_from`: JSON, files and dataclasses."""
    key = fingerprint(made_from)
    if path.exists():
        found = json.loads(path.read_text())
        if isinstance(found, dict) and found.get("made_from") == key:
            return found
    found = {"made_from": key, "value": measure(), "date": datetime.date.today().isoformat()}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.rename(path)
    return found


class Run:
    """One run of the page. What it measures is kept in `data`, so that a run that was stopped goes on where it was. What was measured
    with other settings, programs or scripts is measured again.
    """

    def __init__(self, mode: str, program: Path, peers: Path | None, data: Path) -> None:
        self.mode, self.effort, self.program = mode, EFFORTS[mode], program
        self.peers = peers  # what bench/peers/prepare.sh has made
        self.data = data / mode
        self.data.mkdir(parents=True, exist_ok=True)
        self.published = tomllib.loads((HERE / "published.toml").read_text())
        self.context: dict[str, Any] = {}  # of Google Benchmark
        self.isa = ""
        self.dates: set[str] = set()  # of what was asked for

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def kept(self, name: str, made_from: Any, measure: Callable[[], Any]) -> Any:
        def now() -> Any:
            self.say(f"  measuring {name}")
            return measure()

        found = kept(self.data / f"{name}.json", made_from, now)
        self.dates.add(found["date"])
        return found["value"]

    def benchmarks(self, group: str, pattern: str) -> dict[str, Result]:
        """The benchmarks whose names match: their repetitions take turns, in random order, in one process."""
        options = [
            f"--benchmark_filter={pattern}", "--benchmark_enable_random_interleaving=true",
            f"--benchmark_repetitions={self.effort.repetitions}", f"--benchmark_min_time={self.effort.min_time}",
            f"--most_gmac={self.effort.most_gmac}",
        ]

        def measure() -> Any:
            output = self.data / f"{group}.google.json"
            done = subprocess.run([self.program, *options, f"--benchmark_out={output}"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                sys.exit(f"{self.program} {' '.join(options)} failed:\n{done.stderr}")
            report = json.loads(output.read_text())
            output.unlink()
            return report

        report = self.kept(group, [self.program, options, machine()], measure)
        self.context = report["context"]
        self.isa = next((b["label"] for b in report["benchmarks"] if "label" in b), self.isa)
        return results_of(report)
