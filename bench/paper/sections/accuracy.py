"""What the design choices are worth in accuracy: small networks trained on the project's drawn pictures."""
from __future__ import annotations

import importlib.util
import statistics
from typing import Any

from measure import Run
from page import OPEN, Claim, Section, Table, apart, plot

# A choice, what it is compared with, and what the paper says of it.
CLAIMS = (
    ("rep_mixer", "pooling", "RepMixer is more accurate than pooling"),
    ("attention", "rep_mixer", "Self-attention in the last stage improves accuracy"),
    ("rep_mixer", "no_branches", "Train-time branches improve accuracy"),
    ("rep_mixer", "small_windows", "Large kernels improve accuracy"),
)


def papers_figure(run: Run, choice: str) -> str:
    """Top-1 on ImageNet where two published variants differ in the choice."""
    source, sa12, s12 = (run.published["fastvit"][key] for key in ("source", "sa12", "s12"))
    return f"{sa12['top1']} and {s12['top1']}% (SA12 and S12, ImageNet, {source})" if choice == "attention" else "yes (ImageNet)"


def has_torch() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "scipy", "PIL"))


def percent(values: list[float]) -> str:
    """Mean, and the spread of the seeds."""
    spread = f" ± {100 * (max(values) - min(values)) / 2:.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def section(run: Run) -> Section:
    out = Section("Accuracy of the same choices")
    if not has_torch():
        why = "needs PyTorch, SciPy and Pillow"
        out.claims = [Claim(text, papers_figure(run, choice), "", OPEN, why) for choice, _, text in CLAIMS]
        return out
    from networks import BASE, CHOICES
    from training import BUDGETS, train_all

    budget = BUDGETS[run.mode]
    maps = [-(-budget.side // (4 << stage)) for stage in range(len(BASE.blocks))]
    results = train_all(run, list(CHOICES))
    accuracies = {name: [r["accuracy"] for r in rs] for name, rs in results.items()}
    out.text = [
        f"A small FastViT with RepMixer in all stages, and others with one choice changed, trained on {budget.pictures:,} drawn pictures "
        f"of {budget.side} x {budget.side} for {budget.epochs} epochs, all by one recipe, {budget.seeds} "
        f"seed{'s' if budget.seeds > 1 else ''} each, and tried on {budget.held_out:,} held-out pictures; in percent, ± half of what the "
        "seeds differ by. A choice agrees with the paper if each of its seeds is better than each of the other's, does not agree if each "
        "is worse, and is undecided otherwise.",
        "This is a toy: 16 shapes and minutes of training. A trend that it shows need not be ImageNet's, nor the reverse. Its maps are "
        f"{', '.join(f'{m} x {m}' for m in maps[:-1])} and {maps[-1]} x {maps[-1]}, where ImageNet's are 64 to 8: a window of 7 x 7 covers "
        f"all of the last two from any pixel, and attention in the last stage has {maps[-1] ** 2} tokens.",
    ]
    out.blocks = [
        plot(lambda axes: draw(axes, results), "Training loss by epoch, the mean of the seeds."),
        Table(["network", "accuracy, %", "parameters in training", "training loss at the end"],
              [[CHOICES[name][1], percent(accuracies[name]), f"{sum(p.numel() for p in CHOICES[name][0]().parameters()):,}",
                f"{statistics.mean(r['log'][-1]['loss'] for r in rs):.3f}"] for name, rs in results.items()]),
    ]
    for choice, other, text in CLAIMS:
        a, b = accuracies[choice], accuracies[other]
        out.claims.append(Claim(text, papers_figure(run, choice), f"{percent(a)} and {percent(b)}%", apart(a, b)))
    return out


def draw(axes: Any, results: dict[str, list[dict[str, Any]]]) -> None:
    from networks import CHOICES

    for name, runs in results.items():
        epochs = [entry["epoch"] for entry in runs[0]["log"]]
        axes.plot(epochs, [statistics.mean(r["log"][e - 1]["loss"] for r in runs) for e in epochs], "o-", label=CHOICES[name][1])
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(fontsize=8)
