"""Structural reparameterisation (paper, sections 3.2 and 3.3): the networks as they were trained, and folded."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from measure import Result, Run
from page import AGREES, DIFFERS, PARTLY, Claim, Section, Table, change, less, ms, plot

FORMS = {
    "train": "as trained",
    "skips": "skip connections left",
    "branches": "branches left",
    "norms": "norms and scales left",
    "folded": "folded",
}


def section(run: Run) -> Section:
    size, variants = run.effort.size, run.effort.variants
    at: dict[str, dict[str, Result]] = {}
    for variant in variants:
        results = run.benchmarks(f"folding_{variant}", f"^folding/{variant}/.*/size:{size}$")
        at[variant] = {name.split("/")[2]: r for name, r in results.items()}
    counted = all("cache_misses" in r.counters for forms in at.values() for r in forms.values())
    out = Section("Train-time against folded")
    out.text = [
        f"Each variant as it was trained, folded, and with one kind of branch left beside what is folded otherwise: the skip connections "
        "of RepMixer and of the positional encoding; the branches of the MobileOne blocks and large kernels in stem, patch embedding "
        f"and head; the BatchNorms and layer scales of ConvFFN and attention. {size} x {size}.",
        "Memory traffic is counted: what the operators of the graph read and write, each by itself, weights once. This library keeps "
        "much of it in the caches in every form. "
        + ("Cache misses are the processor's count of those of its last-level cache." if counted else
           "Cache misses are not on this page: this machine does not count them (a virtual machine without performance counters)."),
    ]
    header = ["", *FORMS.values()]

    def table(caption: str, text: Callable[[Result], str]) -> Table:
        return Table(header, [[v.upper(), *(text(at[v][f]) for f in FORMS)] for v in variants], caption)

    out.blocks = [
        plot(lambda axes: draw(axes, at), "How much longer than the folded network each form takes."),
        table("Milliseconds", lambda r: ms(r.ms)),
        table("Counted memory traffic, MB", lambda r: f"{r['activation_mb'] + r['weight_mb']:.0f}"),
        table("Parameters, millions", lambda r: f"{r['parameters'] / 1e6:.2f}"),
    ]
    if counted:
        out.blocks.append(table("Last-level cache misses, thousands", lambda r: f"{r['cache_misses'] / 1e3:.0f}"))

    def gains(form: str) -> str:
        each = sorted(-less(at[v]["folded"].ms, at[v][form].ms) for v in variants)
        return f"{change(each[0])} to {change(each[-1])}"

    def verdict(form: str) -> str:
        won = [less(at[v]["folded"].ms, at[v][form].ms) > 100 * max(at[v]["folded"].spread, at[v][form].spread) for v in variants]
        return AGREES if all(won) else PARTLY if any(won) else DIFFERS

    out.claims = [
        Claim("Reparameterising skip connections lowers the memory access cost", "less traffic",
              f"{min(less(traffic(f['folded']), traffic(f['skips'])) for f in at.values()):.0f}% less traffic or more, counted",
              AGREES if all(traffic(f["folded"]) < traffic(f["skips"]) for f in at.values()) else DIFFERS),
        Claim("and so the latency", "less", gains("skips"), verdict("skips")),
        Claim("Train-time branches cost nothing once they are folded", "no overhead", gains("branches") + ", folded beside not",
              verdict("branches")),
        Claim("All folding together", "–", gains("train"), verdict("train")),
    ]
    return out


def traffic(r: Result) -> float:
    return r["activation_mb"] + r["weight_mb"]


def draw(axes: Any, at: dict[str, dict[str, Result]]) -> None:
    shown = [form for form in FORMS if form != "folded"]
    width = 0.8 / len(shown)
    for i, form in enumerate(shown):
        more = [100 * (forms[form].ms / forms["folded"].ms - 1) for forms in at.values()]
        axes.bar([k + (i - (len(shown) - 1) / 2) * width for k in range(len(at))], more, width, label=FORMS[form])
    axes.set_xticks(range(len(at)), [v.upper() for v in at])
    axes.set_ylabel("% more time than folded")
    axes.legend(fontsize=8)
