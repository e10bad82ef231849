"""The errors of trained networks on corrupted pictures and on pictures of another kind, each kept by itself."""
from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Any

import scipy
import torch

from measure import HERE, Run, kept
from training import BUDGETS, PROCESSES, load, made_from, masks_of, pictures_folder, pictures_of  # which also makes tools importable

from corruptions import CORRUPTIONS, SEVERITIES, corrupted
from fastvit_torch import FastViT, fold
from other_pictures import KINDS, on_mosaic
from train import accuracy, predict, reduced

MOSAIC = "on a mosaic"
OTHER = "other"  # beside the corruptions: clean pictures and those of another kind

# The error of each seed, by network and by severity or kind.
Errors = dict[str, dict[str, list[float]]]


def _errors(run: Run, networks: Sequence[str], name: str) -> Errors:
    torch.set_num_threads(1)
    budget, cache = BUDGETS[run.mode], pictures_folder(run)
    pictures, labels = pictures_of(budget, "test", cache)
    if name == OTHER:
        tried = {"none": pictures, **{kind: change(pictures) for kind, change in KINDS.items()},
                 MOSAIC: reduced(on_mosaic(*masks_of(budget, cache)), budget.side)}
    else:
        tried = {str(s): corrupted(pictures, name, s) for s in SEVERITIES}

    def quick(net: torch.nn.Module) -> torch.nn.Module:
        return fold(net, complete=True) if isinstance(net, FastViT) else net

    nets = {n: [quick(load(run, n, seed + 1)) for seed in range(budget.seeds)] for n in networks}
    return {n: {key: [1 - accuracy(predict(net, p), labels) for net in seeds] for key, p in tried.items()} for n, seeds in nets.items()}


def _errors_once(job: tuple[Run, Sequence[str], str]) -> dict[str, Any]:
    run, networks, name = job
    budget = BUDGETS[run.mode]
    nets = [made_from(n, seed + 1, budget) for n in networks for seed in range(budget.seeds)]
    scripts = [HERE / "errors.py", HERE / "corruptions.py", HERE / "other_pictures.py"]
    return kept(run.data / f"errors_{name}.json", [nets, scripts, scipy.__version__], lambda: _errors(run, networks, name))


def measured(run: Run, networks: Sequence[str]) -> dict[str, Errors]:
    """By corruption, of networks that have been trained."""
    masks_of(BUDGETS[run.mode], pictures_folder(run))  # before the processes ask for them
    names, errors = [OTHER, *CORRUPTIONS], {}
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for i, (name, found) in enumerate(zip(names, pool.imap(_errors_once, [(run, networks, name) for name in names]))):
            run.say(f"  errors {i + 1} of {len(names)}: {name}")
            run.dates.add(found["date"])
            errors[name] = found["value"]
    return errors
