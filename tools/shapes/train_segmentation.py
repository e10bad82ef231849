#!/usr/bin/env python3
"""Train a segmentation head on the feature pyramid of the bundled "shapes" model, whose own weights stay as they are.

    train_segmentation.py [--out models/shapes] [--seed 1] [--cache build/shapes]

The head is semantic FPN (Kirillov et al., "Panoptic Feature Pyramid Networks", 2019, section 3), cut small. Its pictures are those
of the split `train` that come after the ones the model was trained on: of pictures that the model knows, the features are better
than those of new ones. The pyramid of each is computed once, and only the head runs in each epoch.

AdamW, warm-up and cosine decay; cross-entropy of each of the picture's pixels. Everything follows from the seed; one thread.

Written to --out: segmentation.safetensors, segmentation_log.txt.

    train_segmentation.py --evaluate DIR

prints the mIoU of masks that another program made, PNG files of class numbers named as `dataset.py --out` names the pictures.
"""
from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dataset import DATASET_SEED, MASK_CLASSES, SIZE, draw_many_masks, draw_with_mask
from train import CONFIG, MEAN, STD, FastViT, Log, drawn_once, learning_rate, load_model, safetensors_io, to_input

HELD_OUT = 500
FIRST_PICTURE = 16000  # train.py used those before


def resized(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class SegmentationHead(nn.Module):
    """From the pyramid to a score for each class at each pixel.

    lateral     1 x 1: every stage to the same number of channels; to each map is added the coarser one above it
    smooth      3 x 3 and ReLU; the results, at the resolution of the finest stage, are added up
    classifier  1 x 1: their sum to scores
    """

    def __init__(self, channels: tuple[int, ...], width: int, classes: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        levels = list(zip(pyramid, self.lateral, self.smooth))
        above, total = None, 0
        for stage, lateral, smooth in reversed(levels):
            x = lateral(stage)
            if above is not None:
                x = x + resized(above, x.shape[2:])
            above = x
            total = total + resized(F.relu(smooth(x)), pyramid[0].shape[2:])
        return resized(self.classifier(total), size)


def load_head(path: Path) -> SegmentationHead:
    tensors, _ = safetensors_io.load(path)
    head = SegmentationHead(CONFIG.channels, len(tensors["lateral.0.bias"]), len(MASK_CLASSES))
    head.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return head


@torch.no_grad()
def pyramid_of(net: FastViT, pictures: np.ndarray) -> list[Tensor]:
    """The output of each stage, finest first."""
    parts = [net.features(to_input(pictures[i : i + 50])) for i in range(0, len(pictures), 50)]
    return [torch.cat([part[f"stage{i}"] for part in parts]) for i in range(len(CONFIG.blocks))]


@torch.no_grad()
def predict_masks(head: SegmentationHead, pyramid: list[Tensor]) -> np.ndarray:
    """The class with the best score at each pixel, uint8 [n, 96, 96]."""
    parts = zip(*[stage.split(50) for stage in pyramid])
    return torch.cat([head(list(part), (SIZE, SIZE)).argmax(1) for part in parts]).numpy().astype(np.uint8)


def intersection_over_union(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of each class, over all pixels of all pictures. Their mean is the mIoU."""
    classes = len(MASK_CLASSES)
    counts = np.bincount((truth.astype(np.int64) * classes + masks).ravel(), minlength=classes**2).reshape(classes, classes)
    both = counts.diagonal()
    return both / (counts.sum(0) + counts.sum(1) - both)


def train(args: argparse.Namespace, log: Log) -> SegmentationHead:
    net = load_model(args.model)
    pictures, masks = drawn_once(draw_many_masks, "train", FIRST_PICTURE, args.pictures, args.cache)
    test_pictures, test_masks = drawn_once(draw_many_masks, "test", 0, HELD_OUT, args.cache)
    started = time.time()
    pyramid, test_pyramid = pyramid_of(net, pictures), pyramid_of(net, test_pictures)
    log(event="pyramid", pictures=len(pictures), floats_per_picture=sum(stage[0].numel() for stage in pyramid),
        seconds=round(time.time() - started, 1))

    head = SegmentationHead(CONFIG.channels, args.width, len(MASK_CLASSES))
    optimizer = torch.optim.AdamW(head.parameters(), lr=args.lr, weight_decay=0.01)
    target, steps = torch.from_numpy(masks), args.pictures // args.batch
    for epoch in range(args.epochs):
        epoch_started, loss_sum = time.time(), 0.0
        order = torch.randperm(args.pictures)
        for step in range(steps):
            chosen = order[step * args.batch : (step + 1) * args.batch]
            scores = head([stage[chosen] for stage in pyramid], (SIZE, SIZE))
            loss = F.cross_entropy(scores, target[chosen].long())
            for group in optimizer.param_groups:
                group["lr"] = learning_rate((epoch + step / steps) / args.epochs, args.lr)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
        mean_iou = float(intersection_over_union(predict_masks(head, test_pyramid), test_masks).mean())
        log(event="epoch", epoch=epoch + 1, loss=round(loss_sum / steps, 4), held_out_mean_iou=round(mean_iou, 4),
            seconds=round(time.time() - epoch_started, 1))
    iou = intersection_over_union(predict_masks(head, test_pyramid), test_masks)
    log(event="done", held_out_mean_iou=round(float(iou.mean()), 4), held_out_pictures=HELD_OUT,
        iou={name: round(float(value), 4) for name, value in zip(MASK_CLASSES, iou)}, seconds=round(time.time() - started, 1))
    return head


def evaluate(directory: Path) -> None:
    files = sorted(directory.glob("*.png"))
    masks = np.stack([np.asarray(Image.open(file)) for file in files])
    truth = np.stack([draw_with_mask("test", int(file.name.split("_")[0]))[2] for file in files])
    print(f"mIoU of {len(files)} pictures: {intersection_over_union(masks, truth).mean():.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/shapes/fastvit_shapes.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("models/shapes"))
    parser.add_argument("--evaluate", type=Path, help="a directory of masks; nothing is trained")
    parser.add_argument("--cache", type=Path, default=Path("build/shapes"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=12000)
    parser.add_argument("--width", type=int, default=48, help="channels of the head")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    if args.evaluate:
        evaluate(args.evaluate)
        return
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "segmentation_log.txt").unlink(missing_ok=True)
    log = Log(args.out / "segmentation_log.txt")
    recipe = {name: value for name, value in vars(args).items() if name not in ("model", "out", "evaluate", "cache")}
    log(event="start", **recipe, first_picture=FIRST_PICTURE, dataset_seed=DATASET_SEED, python=platform.python_version(),
        torch=torch.__version__, numpy=np.__version__, pillow=PIL.__version__, machine=platform.machine())
    head = train(args, log)
    metadata = {
        "model": "segmentation head of fastvit_shapes", "seed": str(args.seed), "classes": json.dumps(MASK_CLASSES),
        "input": "stage0 to stage3 of fastvit_shapes.safetensors", "mean": json.dumps(MEAN), "std": json.dumps(STD),
        "how": "from the coarsest stage to the finest: x = lateral(stage) + the x before, resized; total += relu(smooth(x)), "
               "resized to the finest stage; scores = classifier(total), resized to the picture. Resizing is bilinear, without "
               "aligned corners. The class of a pixel is the one with the best score",
    }
    safetensors_io.save(args.out / "segmentation.safetensors",
                        {name: tensor.numpy() for name, tensor in head.state_dict().items()}, metadata)


if __name__ == "__main__":
    main()
