#!/usr/bin/env python3
"""How far a linear classifier on pixels gets on the "shapes" pictures: softmax regression, generously judged.

It shows that the data set needs more than a weighted sum of pixels. The best held-out accuracy of all epochs and of several
weight decays is reported, which favours the baseline.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

from dataset import LABELS
from train import HELD_OUT, cached_pictures, to_input


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("build/shapes"))
    parser.add_argument("--pictures", type=int, default=16000)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    pictures, labels = cached_pictures("train", args.pictures, args.cache)
    test_pictures, test_labels = cached_pictures("test", HELD_OUT, args.cache)
    target, test_target, test = torch.from_numpy(labels), torch.from_numpy(test_labels), to_input(test_pictures).flatten(1)
    best = 0.0
    for decay in (0.0, 0.1, 1.0):
        net = torch.nn.Linear(test.shape[1], len(LABELS))
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=decay)
        for epoch in range(args.epochs):
            for chosen in torch.randperm(len(pictures)).split(256):
                chosen = chosen.sort().values
                loss = F.cross_entropy(net(to_input(pictures[chosen.numpy()]).flatten(1)), target[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                right = float((net(test).argmax(1) == test_target).float().mean())
            print(f"weight decay {decay}, epoch {epoch + 1}: loss {loss.item():.3f}, held-out accuracy {right:.4f}", flush=True)
            best = max(best, right)
    print(f"best held-out accuracy of the linear classifier: {best:.4f}")


if __name__ == "__main__":
    main()
