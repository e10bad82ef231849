"""The paper's figure 2 and section 3.2.1: RepMixer beside other token mixers, from low to high resolutions."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from measure import Result, Run, noise
from page import Claim, Section, Table, change, compared, less, ms, plot

NAMES = {
    "rep_mixer": "RepMixer",
    "rep_mixer_skip": "RepMixer, its skip left",
    "pooling": "pooling",
    "pooling_skip": "pooling, its skip left",
    "conv_mixer": "ConvMixer",
    "attention_1": "attention in stage 4",
    "attention_2": "attention in stages 3 and 4",
    "attention_4": "attention in all stages",
}
ENOUGH = 1.3  # times as fast as pooling at the largest resolution; less is explained


def explanation(ours: Result, pooling: Result, skip: Result, size: int) -> str:
    """Why RepMixer gains what it gains."""
    times, without = pooling.ms / ours.ms, pooling.ms - pooling["token_mixer_ms"]
    begin = (f"At {size} x {size} RepMixer's network is {times:.2f} times as fast as pooling's, and {skip.ms / ours.ms:.2f} times as "
             f"pooling's with its skip connection left.")
    if times >= ENOUGH:
        return begin
    return begin + (
        f" Why not more on this processor: pooling itself takes {ms(pooling['token_mixer_ms'])} of {ms(pooling.ms)} ms, so that with a "
        f"mixer that took no time at all the network would be {pooling.ms / without:.2f} times as fast; ConvFFN takes "
        f"{100 * pooling['mlp_ms'] / pooling.ms:.0f}% of the time. And what the paper removes from RepMixer this library removes from "
        "pooling too: folded, its norm, layer scale, difference and skip connection are a depthwise 3 x 3, as RepMixer is. The mixers "
        f"alone take {ms(ours['token_mixer_ms'])} ms (RepMixer), {ms(pooling['token_mixer_ms'])} "
        f"(pooling) and {ms(skip['token_mixer_ms'])} (pooling with its skip connection)."
    )


def section(run: Run) -> Section:
    effort = run.effort
    at = {  # by size and mixer
        size: {name.split("/")[1]: r for name, r in run.benchmarks(f"mixers_{size}", f"^mixers/.*/size:{size}$").items()}
        for size in effort.sizes
    }
    largest = max(effort.sizes)
    paper = run.published["token_mixers"]["less_latency"]
    out = Section("Token mixers")
    out.text = [
        "One network, S12 (1.8 GMAC at 256 x 256), with another token mixer in its stages; all else is the same, and folded, but for "
        "the positional encoding that stages with attention begin with. “Its skip left”: norm, layer scale and skip connection of the "
        "mixer are run as they are. ConvMixer is x + BN(GELU(depthwise 3 x 3)), of which nothing folds. Attention in stage 4 is SA12.",
        f"Networks of more than {effort.most_gmac:g} GMAC, such as attention in all stages at 1024 x 1024, are left out, and marked with "
        "a dash. At each resolution the repetitions of all networks take turns in random order.",
        explanation(at[largest]["rep_mixer"], at[largest]["pooling"], at[largest]["pooling_skip"], largest),
    ]

    def cell(size: int, mixer: str, text: Callable[[Result], str]) -> str:
        return text(at[size][mixer]) if mixer in at[size] else "–"

    header = ["", *(f"{size}" for size in effort.sizes)]
    out.blocks = [
        plot(lambda axes: draw_networks(axes, at, paper), "The network's time by resolution, relative to RepMixer's."),
        plot(lambda axes: draw_mixers(axes, at), "The token mixers alone."),
        Table(header, [[name, *(cell(s, m, lambda r: ms(r.ms)) for s in effort.sizes)] for m, name in NAMES.items()],
              "The network, milliseconds"),
        Table(header, [[name, *(cell(s, m, lambda r: ms(r["token_mixer_ms"])) for s in effort.sizes)] for m, name in NAMES.items()],
              "Its token mixers alone, milliseconds"),
        Table(header, [[name, *(cell(s, m, lambda r: f"{r.traffic_mb:.0f}") for s in effort.sizes)]
                       for m, name in NAMES.items()],
              "Counted memory traffic, MB: what the graph's operators read and write, each by itself"),
    ]
    for size in (size for size in effort.sizes if str(size) in paper):
        ours, figure = at[size]["rep_mixer"], paper[str(size)]
        for baseline, how in (("pooling", "both folded"), ("pooling_skip", "pooling as it is, with its skip connection")):
            theirs = at[size][baseline]
            gain = less(ours.ms, theirs.ms)
            out.claims.append(Claim(
                f"RepMixer's network has less latency than pooling's, {size} x {size} ({how})",
                change(-figure), change(-gain), compared(gain, figure, noise(ours, theirs)),
                f"ConvFFN takes {100 * ours['mlp_ms'] / ours.ms:.0f}% of RepMixer's network's time" if gain < figure / 2 else "",
            ))
    ours = at[largest]["rep_mixer"]
    for mixer in ("attention_1", "attention_2"):
        if theirs := at[largest].get(mixer):
            out.claims.append(Claim(
                f"Self-attention is inefficient at high resolutions: {NAMES[mixer]}, {largest} x {largest}", "slower",
                f"{theirs.ms / ours.ms:.2f} times RepMixer's time",
                compared(-less(theirs.ms, ours.ms), 0, noise(ours, theirs))))
    return out


def draw(axes: Any, at: dict[int, dict[str, Result]], value: Callable[[dict[str, Result], str], float]) -> None:
    for mixer, name in NAMES.items():
        sizes = [size for size in at if mixer in at[size]]
        axes.plot(sizes, [value(at[size], mixer) for size in sizes], "o-", ms=4, label=name)
    axes.set_xscale("log")
    axes.set_xticks(list(at), [str(size) for size in at])
    axes.minorticks_off()
    axes.set_xlabel("side of the image, pixels")


def draw_networks(axes: Any, at: dict[int, dict[str, Result]], paper: dict[str, float]) -> None:
    draw(axes, at, lambda results, mixer: results[mixer].ms / results["rep_mixer"].ms)
    axes.plot([int(size) for size in paper], [1 / (1 - percent / 100) for percent in paper.values()], "kx",
              label="pooling, paper (phone)")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("times RepMixer's time")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def draw_mixers(axes: Any, at: dict[int, dict[str, Result]]) -> None:
    draw(axes, at, lambda results, mixer: results[mixer]["token_mixer_ms"])
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
