"""Corrupted pictures and pictures of another kind: FastViT beside two plain networks of its cost, trained by the same recipe."""
from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np

from measure import Run
from page import AGREES, DIFFERS, OPEN, Claim, Section, Table, plot
from sections.accuracy import has_torch

NETWORKS = ("rep_mixer", "attention", "residual", "mobile")
SEED = 1
MOSAIC = "on a mosaic"


def _errors(job: tuple[Run, str]) -> dict[str, dict[str, float]]:
    """Of each network: by severity, or by kind for `other`."""
    run, name = job
    import torch

    from corruptions import SEVERITIES, corrupted
    from other_pictures import KINDS, on_mosaic
    from train import accuracy, predict, reduced
    from training import BUDGETS, load, masks_of, pictures_of

    torch.set_num_threads(1)
    budget, cache = BUDGETS[run.mode], run.data / "pictures"
    pictures, labels = pictures_of(budget, "test", cache)
    if name == "other":
        tried = {"none": pictures, **{kind: change(pictures) for kind, change in KINDS.items()},
                 MOSAIC: reduced(on_mosaic(*masks_of(budget, cache)), budget.side)}
    else:
        tried = {str(s): corrupted(pictures, name, s) for s in SEVERITIES}
    nets = {n: load(run, n, SEED) for n in NETWORKS}
    return {n: {key: 1 - accuracy(predict(net, p), labels) for key, p in tried.items()} for n, net in nets.items()}


def measured(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """By corruption."""
    from corruptions import CORRUPTIONS
    from training import PROCESSES

    names = ["other", *CORRUPTIONS]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        errors = {}
        for name, found in zip(names, pool.imap(_errors, [(run, name) for name in names])):
            run.say(f"  {name}")
            errors[name] = found
    return errors


def section(run: Run) -> Section:
    out = Section("Robustness")
    text, paper = "FastViT is more robust to corruptions than convolutional networks of its cost", "yes (ImageNet-C)"
    if not has_torch():
        out.claims = [Claim(text, paper, "", OPEN, "needs PyTorch, SciPy and Pillow")]
        return out
    from corruptions import GROUPS, SEVERITIES
    from networks import NETWORKS as ALL
    from other_pictures import KINDS
    from training import BUDGETS, train_all

    trained = train_all(run, list(NETWORKS), seeds=1)
    errors = run.kept("robustness", lambda: measured(run))
    budget = BUDGETS[run.mode]

    def mean(net: str, corruptions: list[str], severities: tuple[int, ...] = SEVERITIES) -> float:
        return float(np.mean([errors[c][net][str(s)] for c in corruptions for s in severities]))

    label = {net: ALL[net][1] for net in NETWORKS}
    every = [c.__name__ for group in GROUPS.values() for c in group]
    out.text = [
        f"The 15 corruptions of ImageNet-C at 5 severities, by their published definitions, on {budget.held_out:,} held-out drawn pictures "
        f"of {budget.side} x {budget.side}. All networks were trained by one recipe on clean pictures, which have a little blur and noise "
        "of their own, with one seed; the plain networks are as wide as makes their multiply-adds nearest to FastViT's. Errors in percent.",
    ]
    by_group = [[group, *(f"{100 * mean(n, [c.__name__ for c in members]):.1f}" for n in NETWORKS)] for group, members in GROUPS.items()]
    out.blocks = [
        plot(lambda axes: draw(axes, label, mean, every, errors), "Mean error of the 15 corruptions by severity; 0: clean."),
        Table(["", *label.values()],
              [["clean", *(f"{100 * errors['other'][n]['none']:.1f}" for n in NETWORKS)], *by_group,
               ["mean of all", *(f"{100 * mean(n, every):.1f}" for n in NETWORKS)],
               ["MMAC", *(f"{trained[n][0]['multiply_adds'] / 1e6:.1f}" for n in NETWORKS)],
               ["parameters", *(f"{trained[n][0]['parameters']:,}" for n in NETWORKS)]], "Error by kind of corruption, %"),
        Table(["corruption", *(f"{label[n]}, severity 1 to 5" for n in NETWORKS)],
              [[c.replace("_", " "), *(" ".join(f"{100 * errors[c][n][str(s)]:.0f}" for s in SEVERITIES) for n in NETWORKS)]
               for c in every], "Error by corruption and severity, %"),
        Table(["", *label.values()],
              [[kind, *(f"{100 * errors['other'][n][kind]:.1f}" for n in NETWORKS)] for kind in [*KINDS, MOSAIC]],
              "Out of distribution: error on pictures of a kind that training had none of, %"),
    ]
    best = min(mean(n, every) for n in ("residual", "mobile"))
    ours = mean("rep_mixer", every)
    enough = run.mode == "full"
    out.claims.append(Claim(text, paper, f"mean error {100 * ours:.1f}%, the better of the two others {100 * best:.1f}%",
                            (AGREES if ours < best else DIFFERS) if enough else OPEN,
                            "" if enough else "trained for too short a time: the full run tells"))
    return out


def draw(axes: Any, label: dict[str, str], mean: Any, every: list[str], errors: Any) -> None:
    for net, name in label.items():
        axes.plot(range(6), [100 * errors["other"][net]["none"], *(100 * mean(net, every, (s,)) for s in range(1, 6))], "o-", label=name)
    axes.set_xlabel("severity")
    axes.set_ylabel("error, %")
    axes.legend(fontsize=8)
