#!/usr/bin/env python3
"""Write what the C++ tests and the demo need from the trained model.

    make_test_data.py --model models/shapes/fastvit_shapes.safetensors --test-data tests/data/shapes_heldout.safetensors
                      --pictures examples/pictures --head models/shapes/segmentation.safetensors --masks tests/data/segmentation

--test-data: the first 300 held-out pictures and PyTorch's answers to them, one safetensors file. The pictures' values are
    rounded to multiples of 16 (and 255), because noise at full depth would make the file twice as large; the answers are to
    the rounded pictures.
    png_bytes     uint8 [total]         the PNG files one after another
    png_offsets   int64 [301]           picture i is png_bytes[png_offsets[i] : png_offsets[i + 1]]
    labels        int64 [300]           what was drawn
    logits_torch  float32 [300, 16]     the train-time network in evaluation form, float32, one thread
--masks: of the first 32 of those pictures, the masks as drawn, `truth.png`, and as PyTorch finds them, `pytorch.png`: grey pictures
    in which the masks stand one below the other, with the classes as values.
--pictures: one PNG of each class, 224 x 224, from the split `demo`, which neither training nor the held-out figure uses.
    They are checked here as the library will see them: resized to 96 x 96 with Pillow's bicubic filter.
"""
from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dataset import LABELS, draw, draw_many, draw_many_masks
from train_segmentation import intersection_over_union, load_head, predict_masks, pyramid_of
from train import SIZE, FastViT, accuracy, load_model, predict, reduced, safetensors_io

COUNT = 300
MASKS = 32
DEMO_SIZE = 224


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def rounded(pictures: np.ndarray) -> np.ndarray:
    return np.minimum((pictures.astype(np.int32) + 8) // 16 * 16, 255).astype(np.uint8)


def write_test_data(net: FastViT, path: Path) -> None:
    pictures, labels = draw_many("test", 0, COUNT)
    pictures = rounded(pictures)
    files = [png(picture) for picture in pictures]
    logits = predict(net, pictures)
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors_io.save(path, {
        "png_offsets": np.cumsum([0] + [len(file) for file in files], dtype=np.int64),
        "labels": labels,
        "logits_torch": logits.numpy(),
        "png_bytes": np.frombuffer(b"".join(files), np.uint8),
    }, {"labels": "\n".join(LABELS), "accuracy": f"{accuracy(logits, labels):.4f}"})
    print(f"{path}: {path.stat().st_size} bytes, {accuracy(logits, labels):.4f} right")


def write_masks(net: FastViT, head: Path, directory: Path) -> None:
    pictures, truth = draw_many_masks("test", 0, MASKS)
    masks = predict_masks(load_head(head), pyramid_of(net, rounded(pictures)))
    directory.mkdir(parents=True, exist_ok=True)
    for name, strip in (("truth", truth), ("pytorch", masks)):
        (directory / f"{name}.png").write_bytes(png(strip.reshape(-1, SIZE)))
    print(f"{directory}: mIoU {intersection_over_union(masks, truth).mean():.4f}")


def write_pictures(net: FastViT, directory: Path, first: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + len(LABELS)):
        picture, label = draw("demo", index, DEMO_SIZE)
        Image.fromarray(picture).save(directory / f"{LABELS[label]}.png", optimize=True)
        probabilities = predict(net, reduced(picture[None], SIZE))[0].softmax(0)
        answer = int(probabilities.argmax())
        verdict = "right" if answer == label else "WRONG"
        print(f"{LABELS[label]}.png: {verdict}, {LABELS[answer]} {float(probabilities[answer]):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--test-data", type=Path)
    parser.add_argument("--head", type=Path, help="of the segmentation, for --masks")
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--demo-first", type=int, default=0, help="which pictures of the split demo: 16 from here on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    net = load_model(args.model)
    if args.test_data:
        write_test_data(net, args.test_data)
    if args.masks:
        write_masks(net, args.head, args.masks)
    if args.pictures:
        write_pictures(net, args.pictures, args.demo_first)


if __name__ == "__main__":
    main()
