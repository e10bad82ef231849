"""Structural reparameterisation (paper, sections 3.2 and 3.3): the networks as they were trained, and folded."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from measure import Result, Run, noise
from page import AGREES, DIFFERS, PARTLY, UNDECIDED, Claim, Section, Table, change, less, ms, plot

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
        f"and head; the BatchNorms and layer scales of ConvFFN and attention. {size} x {size}. The forms of a variant "
        "take turns. Folding saves time if it does so, beyond the noise, for all variants; partly, if for some.",
        "Memory traffic is counted: what the operators of the graph read and write, each by itself, weights once. This library keeps "
        "much of it in the caches in every form. "
        + ("Cache misses are the processor's count of those of its last-level cache." if counted else
           "Cache misses are not on this page: this system does not let programs count them."),
    ]
    header = ["", *FORMS.values()]

    def table(caption: str, text: Callable[[Result], str]) -> Table:
        return Table(header, [[v.upper(), *(text(at[v][f]) for f in FORMS)] for v in variants], caption)

    out.blocks = [
        plot(lambda axes: draw(axes, at), "How much longer than the folded network each form takes."),
        table("Milliseconds", lambda r: ms(r.ms)),
        table("Counted memory traffic, MB", lambda r: f"{r.traffic_mb:.0f}"),
        table("Parameters, millions", lambda r: f"{r['parameters'] / 1e6:.2f}"),
    ]
    if counted:
        out.blocks.append(table("Last-level cache misses, thousands", lambda r: f"{r['cache_misses'] / 1e3:.0f}"))

    def gains(form: str) -> str:
        each = sorted(-less(at[v]["folded"].ms, at[v][form].ms) for v in variants)
        return f"{change(each[0])} to {change(each[-1])}"

    def verdict(form: str) -> str:
        """Whether folding saves time: more than the noise in all variants, or in some and in none the reverse."""
        won = [less(at[v]["folded"].ms, at[v][form].ms) / max(noise(at[v]["folded"], at[v][form]), 1e-7) for v in variants]
        if min(won) < -1:
            return DIFFERS
        return AGREES if min(won) > 1 else PARTLY if max(won) > 1 else UNDECIDED

    saved = [less(forms["folded"].traffic_mb, forms["skips"].traffic_mb) for forms in at.values()]
    out.claims = [
        Claim("Reparameterising skip connections lowers the memory access cost", "less traffic",
              f"at least {min(saved):.0f}% less traffic, counted", AGREES if min(saved) > 0 else DIFFERS, counted=True),
        Claim("Reparameterising skip connections lowers the latency", "less", f"folded {gains('skips')}", verdict("skips")),
        Claim("Train-time branches are expensive unless they are folded", "yes", f"folded {gains('branches')}", verdict("branches")),
    ]
    return out


def draw(axes: Any, at: dict[str, dict[str, Result]]) -> None:
    shown = [form for form in FORMS if form != "folded"]
    width = 0.8 / len(shown)
    for i, form in enumerate(shown):
        more = [100 * (forms[form].ms / forms["folded"].ms - 1) for forms in at.values()]
        axes.bar([k + (i - (len(shown) - 1) / 2) * width for k in range(len(at))], more, width, label=FORMS[form])
    axes.set_xticks(range(len(at)), [v.upper() for v in at])
    axes.set_ylabel("% more time than folded")
    axes.legend(fontsize=8)
