"""The paper's comparison of large kernels with self-attention, V1 to V5."""
from __future__ import annotations

from typing import Any

from measure import Result, Run, noise
from page import AGREES, DIFFERS, Claim, Section, Table, change, compared, less, ms, plot

# Token mixers of the four stages, kernels of ConvFFN and patch embedding.
NAMES = {
    "v1": ("RepMixer ×4", "3 × 3"),
    "v2": ("RepMixer ×3, attention", "3 × 3"),
    "v3": ("RepMixer ×2, attention ×2", "3 × 3"),
    "v4": ("RepMixer ×4", "7 × 7"),
    "v5": ("RepMixer ×3, attention", "7 × 7"),
}

MINIMAL = 10  # percent of latency


def section(run: Run) -> Section:
    sizes = sorted({run.effort.size, max(run.effort.sizes)})
    at: dict[int, dict[str, Result]] = {
        s: {name.split("/")[1]: r for name, r in run.benchmarks(f"kernels_{s}", f"^kernels/.*/size:{s}$").items()} for s in sizes
    }
    size = run.effort.size
    here, published = at[size], run.published["large_kernels"]
    out = Section("Large kernels")
    out.text = [
        "S12 with and without large kernels in ConvFFN and patch embedding, and with self-attention in its last stages instead: the "
        "paper's V1 to V5. V4 is S12, V5 is SA12. Which of them is how accurate needs networks trained on ImageNet.",
    ]
    out.blocks = [
        plot(lambda axes: draw(axes, here), f"Milliseconds and parameters, {size} x {size}."),
        Table(["", "mixers", "kernels", "parameters, millions", *(f"milliseconds, {s}" for s in sizes)],
              [[v.upper(), *NAMES[v], f"{here[v]['parameters'] / 1e6:.1f}", *(ms(at[s][v].ms) if v in at[s] else "–" for s in sizes)]
               for v in NAMES]),
    ]
    for a, b in (("v3", "v5"), ("v2", "v4")):
        figures = published[f"{a}_over_{b}"]
        pair = f"{a.upper()} beside {b.upper()}"
        more, larger = -less(here[a].ms, here[b].ms), -less(here[a]["parameters"], here[b]["parameters"])
        out.claims += [
            Claim(f"Attention instead of large kernels takes longer: {pair}", change(figures["latency"]), change(more),
                  compared(more, figures["latency"], noise(here[a], here[b]))),
            Claim(f"Attention instead of large kernels needs more parameters: {pair}", change(figures["parameters"]), change(larger),
                  compared(larger, figures["parameters"], 0), counted=True),
        ]
    cost = -less(here["v4"].ms, here["v1"].ms)
    out.claims.append(Claim(f"Large kernels have minimal effect on latency, here at most {MINIMAL}%: V4 beside V1", "minimal", change(cost),
                            AGREES if cost <= MINIMAL else DIFFERS))
    return out


def draw(axes: Any, here: dict[str, Result]) -> None:
    for v, (mixers, kernels) in NAMES.items():
        x, y = here[v]["parameters"] / 1e6, here[v].ms
        axes.plot(x, y, "o", label=f"{v.upper()}: {mixers}, {kernels}")
        axes.annotate(v.upper(), (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("parameters, millions")
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8)
