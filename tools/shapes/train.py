#!/usr/bin/env python3
"""Train the bundled "shapes" model: a small FastViT with attention in its last stage, in its train-time form.

    train.py --out models/shapes [--seed 1] [--cache build/shapes]

Everything follows from the seed: the pictures (tools/shapes/dataset.py), the initial weights, the order and the turns of the
pictures. Two processes of one thread each share every batch (DistributedDataParallel over gloo). Threads would do the same,
but PyTorch's wait for one another at every operation, which is many times slower as soon as something else needs a core. The
order of float additions is fixed, so the same versions on the same kind of machine give the same bits.

The recipe: AdamW, warm-up and cosine decay, label smoothing, gradient clipping; the first epochs on pictures reduced to
64 x 64, which cost less than half, the others at 96 x 96. A whole batch is turned and mirrored in one of the eight ways and its
colour channels are permuted: the class of a picture survives both.

Written to --out: fastvit_shapes.safetensors, labels.txt, training_log.txt.
"""
from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from PIL import Image
from torch import distributed

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import safetensors_io
from dataset import DATASET_SEED, LABELS, SIZE, draw_many
from fastvit_torch import Config, FastViT, fold

CONFIG = Config(blocks=(1, 1, 2, 1), channels=(24, 48, 96, 192), ratio=3, attention=(False, False, False, True),
                classes=len(LABELS))
LAYER_SCALE_INIT = 0.5  # 1e-5, right for hundreds of epochs on ImageNet, would hardly start to grow in so few
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HELD_OUT = 2000
SMALL_SIZE = 64


def drawn_once(draw_part: Callable[[str, int, int], tuple[np.ndarray, ...]], split: str, first: int, count: int,
               cache: Path) -> list[np.ndarray]:
    """What draw_part(split, first, count) gives, drawn by two processes and kept in the cache directory."""
    file = cache / f"{draw_part.__name__}_{split}_{DATASET_SEED}_{first}_{count}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = 1000
        with multiprocessing.Pool(2) as pool:
            parts = pool.starmap(draw_part, [(split, first + i, min(part, count - i)) for i in range(0, count, part)])
        unfinished = file.with_suffix(".part.npz")
        np.savez(unfinished, *[np.concatenate(arrays) for arrays in zip(*parts)])
        unfinished.rename(file)
    with np.load(file) as arrays:
        return [arrays[name] for name in arrays.files]


def cached_pictures(split: str, count: int, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures of a split, and their labels."""
    pictures, labels = drawn_once(draw_many, split, 0, count, cache)
    return pictures, labels


def load_model(path: Path) -> FastViT:
    """A trained model, in evaluation form."""
    tensors, _ = safetensors_io.load(path)
    net = FastViT(CONFIG)
    net.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return net.eval()


def reduced(pictures: np.ndarray, size: int) -> np.ndarray:
    """The pictures at another size, resized as the library does: Pillow's bicubic with antialiasing."""
    return np.stack([np.asarray(Image.fromarray(p).resize((size, size), Image.BICUBIC)) for p in pictures])


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [n, h, w, 3] to the network's float [n, 3, h, w]: value / 255, minus mean, divided by std."""
    x = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float() / 255
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@torch.no_grad()
def predict(net: FastViT, pictures: np.ndarray) -> torch.Tensor:
    """Logits in evaluation form."""
    net.eval()
    return torch.cat([net(to_input(pictures[i : i + 100])) for i in range(0, len(pictures), 100)])


def accuracy(logits: torch.Tensor, labels: np.ndarray) -> float:
    return float((logits.argmax(1).numpy() == labels).mean())


def augment(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the eight turns and mirrorings of the square, and one order of the colour channels, for the whole batch."""
    batch = np.rot90(batch, int(rng.integers(4)), axes=(1, 2))
    if rng.random() < 0.5:
        batch = batch[:, :, ::-1]
    return batch[..., rng.permutation(3)]


def learning_rate(progress: float, peak: float) -> float:
    """Warm-up over the first twentieth, then a cosine to zero; progress in 0..1."""
    warm_up = 0.05
    if progress < warm_up:
        return peak * (progress / warm_up + 0.01)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def optimizer_for(net: FastViT, peak: float) -> torch.optim.AdamW:
    """Weight decay for the matrices and kernels only, not for biases, normalisations and layer scales."""
    decayed = [p for name, p in net.named_parameters() if p.dim() >= 2 and "layer_scale" not in name]
    others = [p for name, p in net.named_parameters() if p.dim() < 2 or "layer_scale" in name]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=peak)


class Log:
    """Lines of JSON, on the screen and in a file."""

    def __init__(self, path: Path):
        self.file = open(path, "a")

    def __call__(self, **entry: object) -> None:
        line = json.dumps(entry)
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()


def train(rank: int, args: argparse.Namespace, rendezvous: str) -> None:
    """One process of the training: a share of every batch. Process 0 also evaluates, logs and writes the result."""
    distributed.init_process_group("gloo", init_method="file://" + rendezvous, rank=rank, world_size=args.processes)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    log = Log(args.out / "training_log.txt") if rank == 0 else None

    pictures, labels = cached_pictures("train", args.pictures, args.cache)
    test_pictures, test_labels = cached_pictures("test", HELD_OUT, args.cache)
    small, small_test = reduced(pictures, SMALL_SIZE), reduced(test_pictures, SMALL_SIZE)

    net = FastViT(CONFIG, LAYER_SCALE_INIT)
    shared = torch.nn.parallel.DistributedDataParallel(net)
    optimizer = optimizer_for(net, args.lr)
    steps = args.pictures // args.batch
    checkpoint, first_epoch = args.out / "checkpoint.pt", 0
    if args.resume:
        state = torch.load(checkpoint)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        first_epoch = state["epoch"]
    started = time.time()
    for epoch in range(first_epoch, args.epochs):
        rng = np.random.default_rng([args.seed, epoch])  # the same in all processes: they agree on order and turns
        source, test = (small, small_test) if epoch < args.small_epochs else (pictures, test_pictures)
        shared.train()
        order, right, seen, loss_sum, epoch_started = rng.permutation(args.pictures), 0, 0, 0.0, time.time()
        for step in range(steps):
            chosen = order[step * args.batch : (step + 1) * args.batch][rank :: args.processes]
            target = torch.from_numpy(labels[chosen])
            logits = shared(to_input(augment(source[chosen], rng)))
            loss = F.cross_entropy(logits, target, label_smoothing=0.05)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate((epoch + step / steps) / args.epochs, args.lr)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimizer.step()
            right += int((logits.argmax(1) == target).sum())
            seen += len(chosen)
            loss_sum += loss.item()
        if log:
            log(event="epoch", epoch=epoch + 1, size=source.shape[1], loss=round(loss_sum / steps, 4),
                train_accuracy=round(right / seen, 4),
                held_out_accuracy=round(accuracy(predict(net, test), test_labels), 4),
                seconds=round(time.time() - epoch_started, 1))
            torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}, checkpoint)
    if log:
        finish(net, test_pictures, test_labels, round(time.time() - started, 1), args, log)
        checkpoint.unlink()


def finish(net: FastViT, pictures: np.ndarray, labels: np.ndarray, seconds: float, args: argparse.Namespace, log: Log) -> None:
    """Log the final figures and write the model."""
    logits = predict(net, pictures)
    folded = predict(fold(net, complete=True), pictures)
    confused = sorted(((int(n), LABELS[a], LABELS[b]) for (a, b), n in zip(*_pairs(labels, logits.argmax(1).numpy()))),
                      reverse=True)
    log(event="done", held_out_accuracy=accuracy(logits, labels), held_out_pictures=len(labels),
        held_out_accuracy_folded=accuracy(folded, labels),
        folding_max_difference=float((folded - logits).abs().max() / logits.abs().max()),
        seconds=seconds, confused=[f"{n} {a} taken for {b}" for n, a, b in confused[:8]])
    metadata = {
        "model": "fastvit_shapes", "form": "train-time", "seed": str(args.seed),
        "blocks": json.dumps(CONFIG.blocks), "channels": json.dumps(CONFIG.channels), "ratio": str(CONFIG.ratio),
        "attention": json.dumps(CONFIG.attention), "classes": str(CONFIG.classes), "labels": json.dumps(LABELS),
        "input_size": json.dumps([3, SIZE, SIZE]), "interpolation": "bicubic", "crop_pct": "1.0",
        "mean": json.dumps(MEAN), "std": json.dumps(STD),
    }
    tensors = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    safetensors_io.save(args.out / "fastvit_shapes.safetensors", tensors, metadata)
    (args.out / "labels.txt").write_text("".join(label + "\n" for label in LABELS))


def _pairs(labels: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The (label, answer) pairs that are wrong, and how often each occurs."""
    wrong = labels != answers
    return np.unique(np.stack([labels[wrong], answers[wrong]], axis=1), axis=0, return_counts=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("build/shapes"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=16000)
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--small-epochs", type=int, default=7, help=f"epochs at {SMALL_SIZE} x {SMALL_SIZE} before the others")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on after the last finished epoch of an interrupted run")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.resume:
        (args.out / "training_log.txt").unlink(missing_ok=True)
    recipe = {name: value for name, value in vars(args).items() if name not in ("out", "cache")}
    Log(args.out / "training_log.txt")(
        event="start", **recipe, dataset_seed=DATASET_SEED, architecture=CONFIG.__dict__, layer_scale_init=LAYER_SCALE_INIT,
        python=platform.python_version(), torch=torch.__version__, numpy=np.__version__, pillow=PIL.__version__,
        machine=platform.machine())
    for split, count in (("train", args.pictures), ("test", HELD_OUT)):
        cached_pictures(split, count, args.cache)
    with tempfile.TemporaryDirectory() as directory:
        torch.multiprocessing.spawn(train, (args, directory + "/rendezvous"), args.processes)


if __name__ == "__main__":
    main()
