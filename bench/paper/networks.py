"""The networks that are trained on the drawn pictures: the project's small FastViT with one design choice changed, and two plain
networks of the same cost."""
from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path[:0] = [str(TOOLS), str(TOOLS / "shapes")]

from fastvit_torch import Attention, ConvFFN, ConvNorm, FastViT, LargeKernel, MobileOne, fold  # noqa: E402
from mixers_torch import PoolingBlock  # noqa: E402
from train import CONFIG, LAYER_SCALE_INIT  # noqa: E402

SIDE = 48  # of the pictures
BASE = replace(CONFIG, attention=(False,) * len(CONFIG.blocks))  # RepMixer everywhere


def rep_mixer() -> nn.Module:
    return FastViT(BASE, LAYER_SCALE_INIT)


def attention() -> nn.Module:
    """In the last stage, as SA12's."""
    return FastViT(CONFIG, LAYER_SCALE_INIT)


def pooling() -> nn.Module:
    net = rep_mixer()
    for stage, channels, count in zip(net.stages, BASE.channels, BASE.blocks):
        stage.blocks = nn.Sequential(*[PoolingBlock(channels, BASE.ratio) for _ in range(count)])
        for block in stage.blocks:
            for scale in (block.layer_scale_1, block.layer_scale_2):
                nn.init.constant_(scale.gamma, LAYER_SCALE_INIT)
    return net


class Zero(nn.Module):
    def forward(self, x: Tensor) -> int:
        return 0


def no_branches() -> nn.Module:
    """Each convolution with one branch, as it is after folding, but for its own BatchNorm. RepMixer keeps its form."""
    net = rep_mixer()
    for module in net.modules():
        if isinstance(module, MobileOne) and len(module.conv_kxk):
            module.conv_scale = module.identity = None
        if isinstance(module, LargeKernel):
            module.small_conv = Zero()
    return net


def small_windows() -> nn.Module:
    """3 x 3 where ConvFFN and patch embedding have 7 x 7."""
    net = rep_mixer()
    for module in net.modules():
        if isinstance(module, ConvFFN):
            channels = module.conv.conv.in_channels
            module.conv = ConvNorm(channels, channels, 3, groups=channels)
        if isinstance(module, LargeKernel):
            large = module.large_conv.conv
            module.large_conv = ConvNorm(large.in_channels, large.out_channels, 3, 2, groups=large.groups)
    return net


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    return nn.Sequential(ConvNorm(c_in, c_out, kernel, stride, groups), nn.ReLU() if act else nn.Identity())


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a skip connection (ResNet's basic block, arXiv 1512.03385)."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(_conv(c_in, c_out, 3, stride), _conv(c_out, c_out, 3, act=False))
        self.skip = nn.Identity() if c_in == c_out and stride == 1 else _conv(c_in, c_out, 1, stride, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class InvertedResidual(nn.Module):
    """1 x 1, depthwise 3 x 3, 1 x 1 (MobileNetV2's block, arXiv 1801.04381), three times as wide inside."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        wide = 3 * c_in
        self.body = nn.Sequential(_conv(c_in, wide, 1), _conv(wide, wide, 3, stride, wide), _conv(wide, c_out, 1, act=False))
        self.skips = c_in == c_out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skips else self.body(x)


def _plain(block: Callable[[int, int, int], nn.Module], width: int) -> nn.Module:
    """A stem to a quarter of the picture's side, then four stages of as many blocks as FastViT's, and one that halves each."""
    layers: list[nn.Module] = [_conv(3, width, 3, 2), _conv(width, width, 3, 2)]
    before = width
    for i, count in enumerate(BASE.blocks):
        channels = width << i
        layers += [block(before if j == 0 else channels, channels, 2 if i > 0 and j == 0 else 1) for j in range(count + (i > 0))]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, BASE.classes))


@dataclass
class Cost:
    """Of a folded network and one picture: each convolution and linear layer has a bias, and BatchNorms are gone."""

    multiply_adds: int = 0
    parameters: int = 0

    def add(self, weight: Tensor, places: int) -> None:
        """A layer that gives outputs at so many places."""
        self.multiply_adds += places * weight.numel()
        self.parameters += weight.numel() + len(weight)


def cost_of(net: nn.Module, side: int = SIDE) -> Cost:
    total = Cost()

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, Attention):  # calls its layers' weights by themselves
            channels, tokens = output.shape[1], output[0, 0].numel()
            total.add(module.qkv.weight, tokens)
            total.add(module.proj.weight, tokens)
            total.multiply_adds += 2 * tokens * tokens * channels
        else:
            total.add(module.weight, output.numel() // len(module.weight))

    net = fold(net) if isinstance(net, FastViT) else net.eval()
    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear, Attention))]
    with torch.no_grad():
        net(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total


@cache
def _width_as_costly(block: Callable[[int, int, int], nn.Module]) -> int:
    """The width that comes nearest to FastViT's multiply-adds. Found once, and without a trace in what is drawn at random next."""
    with torch.random.fork_rng():
        aim = cost_of(rep_mixer()).multiply_adds
        return min(range(8, 49), key=lambda width: abs(cost_of(_plain(block, width)).multiply_adds - aim))


def _as_costly(block: Callable[[int, int, int], nn.Module]) -> nn.Module:
    return _plain(block, _width_as_costly(block))


def residual() -> nn.Module:
    return _as_costly(Residual)


def mobile() -> nn.Module:
    return _as_costly(InvertedResidual)


CHOICES = {
    "rep_mixer": (rep_mixer, "RepMixer"),
    "pooling": (pooling, "pooling"),
    "attention": (attention, "attention in stage 4"),
    "no_branches": (no_branches, "RepMixer, no train-time branches"),
    "small_windows": (small_windows, "RepMixer, 3 x 3 for 7 x 7"),
}
BASELINES = {"residual": (residual, "plain residual network"), "mobile": (mobile, "MobileNet-like network")}
NETWORKS = {**CHOICES, **BASELINES}
