"""Corrupted pictures and pictures of another kind: FastViT beside two plain networks of its cost, trained by the same recipe."""
from __future__ import annotations

from typing import Any

import numpy as np

from measure import Run
from page import OPEN, Claim, Section, Table, apart, plot
from sections.accuracy import has_torch, percent

PLAIN = ("residual", "mobile")
NETWORKS = ("rep_mixer", "attention", *PLAIN)
CLAIMS = {  # and what they were tried on
    "FastViT is more robust to corruptions than convolutional networks of its cost": "yes (ImageNet-C)",
    "FastViT is more robust to out-of-distribution samples than convolutional networks of its cost": "yes (ImageNet-A, -R, -Sketch)",
}


def section(run: Run) -> Section:
    out = Section("Robustness")
    if not has_torch():
        out.claims = [Claim(text, paper, "", OPEN, "needs PyTorch, SciPy and Pillow") for text, paper in CLAIMS.items()]
        return out
    from corruptions import DEPARTURES, GROUPS, SEVERITIES
    from errors import MOSAIC, OTHER, measured
    from networks import NETWORKS as ALL
    from networks import cost_of
    from other_pictures import KINDS
    from training import BUDGETS, train_all

    train_all(run, list(NETWORKS))
    errors = measured(run, NETWORKS)
    budget = BUDGETS[run.mode]
    label = {net: ALL[net][1] for net in NETWORKS}
    cost = {net: cost_of(ALL[net][0]()) for net in NETWORKS}
    kinds = [*KINDS, MOSAIC]
    every = [c.__name__ for group in GROUPS.values() for c in group]

    def seeds(net: str, names: list[str], keys: list[str]) -> list[float]:
        """The mean error of each seed."""
        return [float(e) for e in np.mean([errors[name][net][key] for name in names for key in keys], axis=0)]

    def corrupted(net: str, names: list[str] = every, severities: tuple[int, ...] = SEVERITIES) -> list[float]:
        return seeds(net, names, [str(s) for s in severities])

    clean = {net: seeds(net, [OTHER], ["none"]) for net in NETWORKS}
    strange = {net: seeds(net, [OTHER], kinds) for net in NETWORKS}

    def row(name: str, value: Any) -> list[str]:
        return [name, *(value(net) for net in NETWORKS)]

    out.text = [
        f"The 15 corruptions of ImageNet-C at 5 severities, by their published definitions, on {budget.held_out:,} held-out drawn pictures "
        f"of {budget.side} x {budget.side}. Lengths are scaled to that size. Not as published: {'; '.join(DEPARTURES)}.",
        "All networks were trained by one recipe on clean pictures, which have a little blur and noise of their own, with "
        f"{budget.seeds} seed{'s' if budget.seeds > 1 else ''} each: the bundled model's, which was made for FastViT. The plain networks' "
        "widths are chosen so that they cost about as much as FastViT. Errors are in percent, ± half of what the seeds differ by. "
        "FastViT, with RepMixer alone, agrees with the paper if each of its seeds is better than each seed of the better plain network.",
    ]
    out.blocks = [
        plot(lambda axes: draw(axes, label, clean, corrupted), "Mean error of the 15 corruptions by severity; 0: clean."),
        Table(["", *label.values()],
              [row("clean", lambda n: percent(clean[n])),
               *(row(group, lambda n: percent(corrupted(n, [c.__name__ for c in members]))) for group, members in GROUPS.items()),
               row("mean of all", lambda n: percent(corrupted(n))),
               row("more than clean", lambda n: percent([c - e for c, e in zip(corrupted(n), clean[n])])),
               row("MMAC, folded", lambda n: f"{cost[n].multiply_adds / 1e6:.1f}"),
               row("parameters, folded", lambda n: f"{cost[n].parameters:,}")], "Error by kind of corruption, %"),
        Table(["corruption", *(f"{label[n]}, severity 1 to 5" for n in NETWORKS)],
              [row(c.replace("_", " "), lambda n: " ".join(f"{100 * np.mean(corrupted(n, [c], (s,))):.0f}" for s in SEVERITIES))
               for c in every], "Error by corruption and severity, %"),
        Table(["", *label.values()],
              [*(row(kind, lambda n: percent(seeds(n, [OTHER], [kind]))) for kind in kinds), row("mean", lambda n: percent(strange[n]))],
              "Out of distribution: error on pictures of a kind that training had none of, %"),
    ]
    for (text, paper), found in zip(CLAIMS.items(), ({n: corrupted(n) for n in NETWORKS}, strange)):
        ours, best = "rep_mixer", min(PLAIN, key=lambda n: np.mean(found[n]))
        out.claims.append(Claim(
            text, paper, f"mean error {percent(found[ours])}% (clean: {percent(clean[ours])}%), "
            f"the better of the plain ones {percent(found[best])}% (clean: {percent(clean[best])}%)",
            apart(found[best], found[ours])))
    return out


def draw(axes: Any, label: dict[str, str], clean: dict[str, list[float]], corrupted: Any) -> None:
    for net, name in label.items():
        means = [clean[net], *(corrupted(net, severities=(s,)) for s in range(1, 6))]
        axes.plot(range(6), [100 * np.mean(m) for m in means], "o-", label=name)
    axes.set_xlabel("severity")
    axes.set_ylabel("error, %")
    axes.legend(fontsize=8)
