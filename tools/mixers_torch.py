#!/usr/bin/env python3
"""Make tests/data/mixers: what PyTorch computes in float64 for a small network with each token mixer.

    mixers_torch.py [--out tests/data/mixers]

The network around the mixers, RepMixer and attention are fastvit_torch.py's. No published network uses the other two, so they are
here: pooling, the paper's baseline (MetaFormer, arXiv 2111.11418), and ConvMixer (arXiv 2201.09792), from which RepMixer was made.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import safetensors_io
from fastvit_torch import Config, ConvFFN, FastViT, LayerScale, seeded_state, seeded_tensor

CHANNELS, BLOCKS, RATIO, CLASSES = (32, 64), (1, 2), 3, 10
SEED, SIZE = 1, 32


class PoolingBlock(nn.Module):
    """t = x + layer_scale_1 * (mean 3 x 3 of norm(x) - norm(x));  t + layer_scale_2 * ConvFFN(t)"""

    def __init__(self, channels: int, ratio: int = RATIO):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.layer_scale_1 = LayerScale(channels, 1e-5)
        self.mlp = ConvFFN(channels, ratio)
        self.layer_scale_2 = LayerScale(channels, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.layer_scale_1(F.avg_pool2d(y, 3, 1, 1, count_include_pad=False) - y)
        return x + self.layer_scale_2(self.mlp(x))


class ConvMixer(nn.Module):
    """x + BN(gelu(dw 3 (x)))"""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn(F.gelu(self.conv(x)))


class ConvMixerBlock(nn.Module):
    """t = ConvMixer(x);  t + layer_scale * ConvFFN(t)"""

    def __init__(self, channels: int):
        super().__init__()
        self.token_mixer = ConvMixer(channels)
        self.mlp = ConvFFN(channels, RATIO)
        self.layer_scale = LayerScale(channels, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_mixer(x)
        return x + self.layer_scale(self.mlp(x))


def network(mixer: str) -> FastViT:
    net = FastViT(Config(BLOCKS, CHANNELS, RATIO, (mixer == "attention",) * len(BLOCKS), CLASSES))
    own = {"pooling": PoolingBlock, "ConvMixer": ConvMixerBlock}.get(mixer)
    if own:
        for stage, channels, count in zip(net.stages, CHANNELS, BLOCKS):
            stage.blocks = nn.Sequential(*[own(channels) for _ in range(count)])
    net.load_state_dict(seeded_state(net, SEED))
    return net.double().eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests" / "data" / "mixers")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    images = seeded_tensor("input", (1, 3, SIZE, SIZE), SEED).double()
    for mixer in ("RepMixer", "attention", "pooling", "ConvMixer"):
        with torch.no_grad():
            outputs = network(mixer).features(images)
        kept = {name: outputs[name].numpy().astype(np.float32) for name in ("stage0", "stage1", "logits")}
        safetensors_io.save(args.out / f"{mixer}.safetensors", kept)


if __name__ == "__main__":
    main()
