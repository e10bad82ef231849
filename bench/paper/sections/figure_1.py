"""The paper's figure 1: accuracy against latency, of FastViT and of others on the same core."""
from __future__ import annotations

import importlib.metadata
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import HERE, Run, fingerprint, machine, spread
from page import AGREES, DIFFERS, OPEN, PARTLY, UNDECIDED, Claim, Section, Table, compared, ms, plot

from compare import OUTPUTS, WARM_UP, Peer

EXPORT = HERE / "export_torchvision.py"
RUNNER = HERE.parent / "peers" / "peer_onnxruntime.py"
FAMILIES = {"fastvit": "FastViT, float32", "fastvit_int8": "FastViT, int8", "efficientnet": "EfficientNet", "convnext": "ConvNeXt",
            "resnet50": "ResNet-50", "mobilenet": "MobileNetV3", "regnet": "RegNetY"}

ORDER = "The order of the variants by latency, T8 to MA36"
RUNS = 3  # of each network in a round
TRADE_OFF = "FastViT has the best trade-off of accuracy and latency"


def family(name: str) -> str:
    return name.split("/")[0] if "/" in name else next(f for f in FAMILIES if name.startswith(f))


def made(target: Path, made_from: list[object], command: Callable[[Path], list[object]]) -> Path:
    """A file that command(file) makes, unless an earlier run has made it from the same."""
    target = target.with_name(f"{fingerprint(made_from)[:12]}_{target.name}")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        subprocess.run([str(word) for word in command(part)], check=True, stdout=subprocess.DEVNULL)
        part.rename(target)
    return target


def openers(run: Run) -> dict[str, Callable[[], Peer]]:
    """How each network is opened, in a process that then waits. The files that it needs are made here."""
    programs, data, size = run.peers / "programs" / "bin", run.data, run.effort.size
    result: dict[str, Callable[[], Peer]] = {}
    for variant in run.effort.variants:
        maker = programs / "make_checkpoint"
        checkpoint = made(data / f"{variant}_{size}.safetensors", [maker],
                          lambda file: [maker, variant, size, file, image_of(file)])
        for precision, kind in (("float32", "fastvit"), ("int8", "fastvit_int8")):
            command = [programs / "peer_fastvit", checkpoint, image_of(checkpoint), size, 1, precision, OUTPUTS[0]]
            result[f"{kind}/{variant}"] = lambda command=command: Peer([str(word) for word in command], threads=1)
    for name, about in others_of(run).items():
        run.say(f"  {name}")
        graph = made(data / f"{name}_{about['size']}.onnx", exported_from(),
                     lambda file: [sys.executable, EXPORT, name, about["size"], file, image_of(file)])
        command = [sys.executable, RUNNER, run.peers, graph, image_of(graph), 1]
        result[name] = lambda command=command: Peer([str(word) for word in command], threads=1)
    return result


def image_of(file: Path) -> Path:
    """The image beside a network's file, finished or not."""
    return file.with_suffix(".image")


def exported_from() -> list[object]:
    return [EXPORT, *(importlib.metadata.version(package) for package in ("torch", "torchvision"))]


class Peers:
    """All networks, each in a process that waits for its turn. Started when the first is asked."""

    def __init__(self, run: Run) -> None:
        self.run, self.peers = run, {}

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.peers.values():
            peer.close()

    def round(self, i: int) -> dict[str, Any]:
        """Milliseconds of RUNS runs of each network, in random order, and the runtime of the others."""
        first = not self.peers
        if first:
            for name, start in openers(self.run).items():
                self.peers[name] = start()
        self.run.say(f"  round {i + 1} of {self.run.effort.repetitions}")
        order = random.sample(list(self.peers), len(self.peers))
        times = {name: self.peers[name].ask(f"run {WARM_UP if first else 1} {RUNS}") for name in order}
        return {"ms": times, "runtime": next(peer.start["name"] for name, peer in self.peers.items() if "/" not in name)}


def measured(run: Run) -> tuple[dict[str, list[float]], str]:
    """Milliseconds of all runs of all networks, and the runtime of the others. Each round is kept by itself."""
    programs, peers = run.peers / "programs" / "bin", HERE.parent / "peers"
    made_from = [{name: about["size"] for name, about in others_of(run).items()}, run.effort, exported_from(), machine(),
                 programs / "peer_fastvit", programs / "make_checkpoint", RUNS,
                 *(peers / file for file in ("compare.py", "onnxruntime_c.py", "peer_onnxruntime.py", "package-lock.json"))]
    with Peers(run) as peers:
        rounds = [run.kept(f"figure_1_{i + 1}", made_from, lambda i=i: peers.round(i)) for i in range(run.effort.repetitions)]
    return {name: [ms for r in rounds for ms in r["ms"][name]] for name in rounds[0]["ms"]}, rounds[0]["runtime"]


def others_of(run: Run) -> dict[str, dict[str, Any]]:
    return run.published["others"]["networks"]


def section(run: Run) -> Section:
    out = Section("Accuracy against latency")
    published, others, claimed = run.published["fastvit"], others_of(run), run.published["times_as_fast"]["networks"]
    if not run.effort.peers or not run.peers:
        out.text = ["Not measured in this run: it needs ONNX Runtime."]
        out.claims = [*(Claim(f"MA36 is faster than {others[n]['label']}", f"{t} times", "", OPEN) for n, t in claimed.items()),
                      Claim(ORDER, "as named", "", OPEN), Claim(TRADE_OFF, "on the phone and on a GPU", "", OPEN)]
        return out
    runs, runtime = measured(run)
    times = {name: min(all_runs) for name, all_runs in runs.items()}
    points = {}  # name: (label, milliseconds, top-1, size)
    for name, value in times.items():
        kind, _, variant = name.partition("/")
        if variant:
            points[name] = (f"{variant.upper()}" + (" int8" if kind.endswith("int8") else ""), value, published[variant]["top1"],
                            run.effort.size)
        else:
            points[name] = (others[name]["label"], value, others[name]["top1"], others[name]["size"])
    out.text = [
        f"One image on one core. FastViT runs in this library, the others in {runtime}, exported from torchvision with random weights, and "
        "with BatchNorms that fit them, so that no denormal numbers slow them. Milliseconds are the smallest of all runs, by the clock; "
        "the networks take turns in random order.",
        f"Accuracies are published ones: FastViT's without distillation ({run.published['fastvit']['source']}), the others' of "
        f"{run.published['others']['source']}, which are better than those that the paper compares with where torchvision has trained "
        "longer. int8 is put at the accuracy of float32: what it loses was not measured here. Unlike the paper, which timed one runtime "
        "on a phone, this compares two runtimes on a processor.",
        "The order of the variants is undecided where two neighbours differ by less than the noise. The trade-off agrees if for every "
        "other network there is a FastViT that is at least as accurate and faster, and partly if there is one for more than half.",
    ]
    out.blocks = [
        plot(lambda axes: draw(axes, points), "Published top-1 on ImageNet against milliseconds measured here.", 6),
        Table(["", "image", "top-1, published", "milliseconds", f"on a phone ({published['source']})"],
              [[label, str(size), f"{top1:.1f}", ms(value),
                f"{published[name.split('/')[1]]['phone_ms']}" if name.startswith("fastvit/") else ""]
               for name, (label, value, top1, size) in sorted(points.items(), key=lambda p: p[1][1])]),
    ]
    ours = times["fastvit/ma36"]
    for name, paper in claimed.items():
        here = times[name] / ours
        out.claims.append(Claim(
            f"MA36 (83.9) is faster than {others[name]['label']} ({others[name]['top1']:.1f})", f"{paper} times",
            f"{here:.2f} times, with int8 {times[name] / times['fastvit_int8/ma36']:.2f}",
            compared(here - 1, paper - 1, max(spread(runs[n]) for n in (name, "fastvit/ma36")))))
    order = [f"fastvit/{v}" for v in run.effort.variants]
    steps = [compared(times[b] / times[a] - 1, 0, max(spread(runs[a]), spread(runs[b]))) for a, b in zip(order, order[1:])]
    verdict = next((v for v in (DIFFERS, UNDECIDED) if v in steps), AGREES)
    out.claims.append(Claim(ORDER, "as named",
                            ", ".join(v.split("/")[1].upper() for v in sorted(order, key=times.__getitem__)), verdict))

    def unbeaten(kind: str) -> list[str]:
        """The others that no FastViT is faster than and at least as accurate as."""
        return sorted(points[name][0] for name in others if not any(
            times[f"{kind}/{v}"] < times[name] for v in run.effort.variants if published[v]["top1"] >= points[name][2]))

    ahead, in_int8 = unbeaten("fastvit"), unbeaten("fastvit_int8")
    out.claims.append(Claim(
        TRADE_OFF, "on the phone and on a GPU",
        f"a FastViT is at least as accurate as, and faster than, {len(others) - len(ahead)} of {len(others)} others, with int8 "
        f"{len(others) - len(in_int8)}",
        AGREES if not ahead else PARTLY if 2 * len(ahead) < len(others) else DIFFERS,
        f"not {', '.join(ahead)}" if ahead else ""))
    return out


def draw(axes: Any, points: dict[str, tuple[str, float, float, int]]) -> None:
    for kind, title in FAMILIES.items():
        members = sorted((p for name, p in points.items() if family(name) == kind), key=lambda p: p[1])
        if not members:
            continue
        ours = kind.startswith("fastvit")
        axes.plot([p[1] for p in members], [p[2] for p in members], "o-" if ours else "s--", lw=2 if ours else 1, ms=5 if ours else 4,
                  label=title)
        for label, value, top1, _ in members:
            axes.annotate(label.removesuffix(" int8").removeprefix(title).lstrip("-"), (value, top1), xytext=(-5, 5) if ours else (4, -9),
                          textcoords="offset points", fontsize=7, ha="right" if ours else "left")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("milliseconds on one core (logarithmic)")
    axes.set_ylabel("top-1 on ImageNet, % (published)")
    axes.legend(fontsize=8)
