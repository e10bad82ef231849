"""Short trainings on the drawn pictures, all by one recipe, kept so that a run that was stopped goes on where it was."""
from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torch.nn.functional as F

from measure import Run, fingerprint, kept, machine
from networks import NETWORKS, SIDE, TOOLS  # which also makes tools/shapes importable

from dataset import draw_many_masks
from train import accuracy, augment, cached_pictures, drawn_once, learning_rate, optimizer_for, predict, reduced, to_input

BATCH, PEAK = 64, 3e-3  # the bundled model's recipe, but for its length
PROCESSES = 2


@dataclass(frozen=True)
class Budget:
    pictures: int
    epochs: int
    side: int
    seeds: int
    held_out: int


BUDGETS = {"full": Budget(6000, 6, SIDE, 3, 2000), "quick": Budget(2048, 4, SIDE, 1, 500), "tiny": Budget(64, 1, 32, 1, 32)}

SPLITS = ("train", "test")


def drawn(budget: Budget, split: str, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pictures as they are drawn, and labels."""
    return cached_pictures(split, budget.pictures if split == "train" else budget.held_out, cache)


def pictures_of(budget: Budget, split: str, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 pictures at the budget's size, and labels."""
    pictures, labels = drawn(budget, split, cache)
    return reduced(pictures, budget.side), labels


def masks_of(budget: Budget, cache: Path) -> list[np.ndarray]:
    """The held-out pictures as they are drawn, and their masks."""
    return drawn_once(draw_many_masks, "test", 0, budget.held_out, cache)


def weights_file(folder: Path, name: str, seed: int) -> Path:
    return folder / f"trained_{name}_{seed}.pt"


def pictures_folder(run: Run) -> Path:
    """Where the pictures are kept: another one for what draws them otherwise."""
    return run.data / f"pictures_{fingerprint(drawn_from())[:12]}"


def drawn_from() -> list[Any]:
    return [TOOLS / "shapes" / "dataset.py", np.__version__, PIL.__version__]


def made_from(name: str, seed: int, budget: Budget) -> list[Any]:
    """All that a training follows from."""
    tools = [TOOLS / file for file in ("fastvit_torch.py", "mixers_torch.py", "shapes/train.py")]
    here = Path(__file__).resolve()
    return [name, seed, budget, here, here.with_name("networks.py"), *tools, *drawn_from(), torch.__version__, machine()]


def trained(name: str, seed: int, budget: Budget, folder: Path, cache: Path) -> dict[str, Any]:
    """Trains one network in one thread; its weights stay in `folder`. Everything follows from the seed."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    pictures, labels = pictures_of(budget, "train", cache)
    net = NETWORKS[name][0]()
    optimizer = optimizer_for(net, PEAK)
    steps, log, started = budget.pictures // BATCH, [], time.time()
    for epoch in range(budget.epochs):
        rng = np.random.default_rng([seed, epoch])
        order, total = rng.permutation(budget.pictures), 0.0
        net.train()
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            logits, target = net(to_input(augment(pictures[chosen], rng))), torch.from_numpy(labels[chosen])
            loss = F.cross_entropy(logits, target, label_smoothing=0.05)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate((epoch + step / steps) / budget.epochs, PEAK)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimizer.step()
            total += loss.item()
        log.append({"epoch": epoch + 1, "loss": round(total / steps, 4)})
    held_out, answers = pictures_of(budget, "test", cache)
    right = accuracy(predict(net, held_out), answers)
    torch.save(net.state_dict(), weights_file(folder, name, seed))
    return {"name": name, "seed": seed, "accuracy": right, "log": log, "seconds": round(time.time() - started)}


def _trained_once(job: tuple[str, int, Budget, Path, Path]) -> dict[str, Any]:
    name, seed, budget, folder, cache = job
    path = folder / f"trained_{name}_{seed}.json"
    if not weights_file(folder, name, seed).exists():
        path.unlink(missing_ok=True)
    return kept(path, made_from(name, seed, budget), lambda: trained(*job))


def train_all(run: Run, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """What trained() says of each network, of as many seeds as the budget has."""
    budget, cache = BUDGETS[run.mode], pictures_folder(run)
    for split in SPLITS:  # before the processes ask for them
        drawn(budget, split, cache)
    jobs = [(name, seed, budget, run.data, cache) for seed in range(1, budget.seeds + 1) for name in names]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for i, found in enumerate(pool.imap(_trained_once, jobs)):
            result = found["value"]
            run.say(f"  training {i + 1} of {len(jobs)}: {result['name']}, seed {result['seed']}: {100 * result['accuracy']:.1f}%")
            run.dates.add(found["date"])
            results[result["name"]].append(result)
    return results


def load(run: Run, name: str, seed: int) -> torch.nn.Module:
    net = NETWORKS[name][0]()
    net.load_state_dict(torch.load(weights_file(run.data, name, seed)))
    return net.eval()
