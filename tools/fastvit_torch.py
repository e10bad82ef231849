#!/usr/bin/env python3
"""FastViT in PyTorch: the network this library runs, as short and as plain as it can be said.

Vasu et al., "FastViT: A Fast Hybrid Vision Transformer using Structural Reparameterization", ICCV 2023 (arXiv 2303.14189),
and its MobileCLIP relatives (MCi). Read it beside the C++; it is also what trains the bundled model. Tensors have the names
that timm's checkpoints use, in both forms:

  train-time   what was trained: parallel branches, each with its batch normalisation;
  folded       what runs fast: every linear branch, normalisation, skip and scale merged into the convolution beside it.

`fold(net)` goes as far as the checkpoints called "reparameterized" do (`reparam_conv`; ConvFFN's normalisation and the layer
scales stay). `fold(net, complete=True)` goes to the end. All folding is done in float64: where gamma / sqrt(var) is large,
float32 loses digits.

Activations are N x C x H x W. Every convolution pads k/2 with zeros; batch normalisation has eps 1e-5; GELU is the erf form.

    net = FastViT(VARIANTS["fastvit_sa12"]).eval()
    net.load_state_dict(seeded_state(net, seed=1))
    logits = net(seeded_tensor("input", (1, 3, 256, 256), seed=1))
"""
from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_WIDTH = 32  # channels of one attention head


@dataclass(frozen=True)
class Config:
    """An architecture. The tuples have an entry for each stage."""

    blocks: tuple[int, ...]
    channels: tuple[int, ...]  # each a multiple of the one before; where there is attention, of 32
    ratio: int  # ConvFFN's hidden channels / channels
    attention: tuple[bool, ...]  # stages that mix tokens by attention, after a RepCPE; the others use RepMixer
    classes: int = 1000
    # The MCi family. T8..MA36 were trained with the GELU of LargeKernel computed and thrown away; MCi apply it.
    large_kernel_gelu: bool = False
    large_kernel_se: tuple[bool, ...] = ()  # stages whose patch embedding has an SE; () means none
    attention_layer_norm: bool = False  # attention's input norm: LayerNorm over channels in place of BN
    stem_scale: bool = True  # scale branches in the stem


def _t_s(blocks: tuple[int, ...], channels: tuple[int, ...], ratio: int) -> Config:
    return Config(blocks, channels, ratio, (False,) * 4)


def _sa_ma(blocks: tuple[int, ...], channels: tuple[int, ...]) -> Config:
    return Config(blocks, channels, 4, (False, False, False, True))


def _mci(blocks: tuple[int, ...], channels: tuple[int, ...]) -> Config:
    return Config(blocks, channels, 3, (False, False, False, True), 512, True, (False, False, True, True))


def _mci_5(blocks: tuple[int, ...], channels: tuple[int, ...]) -> Config:
    return Config(blocks, channels, 4, (False, False, False, True, True), 768, True, (), True, False)


VARIANTS: dict[str, Config] = {
    "fastvit_t8": _t_s((2, 2, 4, 2), (48, 96, 192, 384), 3),
    "fastvit_t12": _t_s((2, 2, 6, 2), (64, 128, 256, 512), 3),
    "fastvit_s12": _t_s((2, 2, 6, 2), (64, 128, 256, 512), 4),
    "fastvit_sa12": _sa_ma((2, 2, 6, 2), (64, 128, 256, 512)),
    "fastvit_sa24": _sa_ma((4, 4, 12, 4), (64, 128, 256, 512)),
    "fastvit_sa36": _sa_ma((6, 6, 18, 6), (64, 128, 256, 512)),
    "fastvit_ma36": _sa_ma((6, 6, 18, 6), (76, 152, 304, 608)),
    "fastvit_mci0": _mci((2, 6, 10, 2), (64, 128, 256, 512)),
    "fastvit_mci1": _mci((4, 12, 20, 4), (64, 128, 256, 512)),
    "fastvit_mci2": _mci((4, 12, 24, 4), (80, 160, 320, 640)),
    "fastvit_mci3": _mci_5((2, 12, 24, 4, 2), (96, 192, 384, 768, 1536)),
    "fastvit_mci4": _mci_5((2, 12, 24, 4, 4), (128, 256, 512, 1024, 2048)),
}


# --- folding arithmetic -----------------------------------------------------------------------------------------------------

def bn_affine(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalisation in evaluation form is x * scale + shift. float64."""
    scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
    return scale, bn.bias.double() - bn.running_mean.double() * scale


def fold_bn(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of BN(conv(x)), for a convolution without bias. float64."""
    scale, shift = bn_affine(bn)
    return conv.weight.double() * scale[:, None, None, None], shift


def centre_tap(value: Tensor, kernel: int, groups: int) -> Tensor:
    """The kernel of the convolution that multiplies channel c by value[c]."""
    channels = len(value)
    weight = value.new_zeros(channels, channels // groups, kernel, kernel)
    index = torch.arange(channels)
    weight[index, index % (channels // groups), kernel // 2, kernel // 2] = value
    return weight


def grow(weight: Tensor, kernel: int) -> Tensor:
    """The same convolution with a larger kernel: zeros around it."""
    return F.pad(weight, [(kernel - weight.shape[-1]) // 2] * 4)


def conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with the geometry and the dtype of `conv`, and these float64 weights."""
    out_channels, kernel = weight.shape[0], weight.shape[-1]
    new = nn.Conv2d(conv.in_channels, out_channels, kernel, conv.stride, kernel // 2, groups=conv.groups)
    new.weight.data, new.bias.data = weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)
    return new


# --- blocks -----------------------------------------------------------------------------------------------------------------

class SqueezeExcite(nn.Module):
    """x * sigmoid(fc2(relu(fc1(mean of x over the picture))))"""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class ConvNorm(nn.Module):
    """BN(conv(x)); the convolution has no bias until the BN is folded into it."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))

    def fold(self) -> None:
        self.conv, self.bn = conv_like(self.conv, *fold_bn(self.conv, self.bn)), nn.Identity()


class MobileOne(nn.Module):
    """act(SE(sum of the branches)), the branches being BN(conv k), BN(conv 1) where k > 1, and BN(x) where x has the output's shape.

    `conv=False` leaves the identity branch alone: RepMixer's norm. All branches are linear: folded, they are one convolution.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, *, conv: bool = True,
                 scale: bool = True, se: bool = False, act: bool = True):
        super().__init__()
        self.groups, self.kernel = groups, kernel
        self.identity = nn.BatchNorm2d(c_in) if c_in == c_out and stride == 1 else None
        self.conv_kxk = nn.ModuleList([ConvNorm(c_in, c_out, kernel, stride, groups)] if conv else [])
        self.conv_scale = ConvNorm(c_in, c_out, 1, stride, groups) if conv and scale and kernel > 1 else None
        self.se = SqueezeExcite(c_out, c_out // 16) if se else None
        self.act = act
        self.reparam_conv: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.reparam_conv is not None:
            y = self.reparam_conv(x)
        else:
            branches = [self.identity, self.conv_scale, *self.conv_kxk]
            y = sum(branch(x) for branch in branches if branch is not None)
        if self.se is not None:
            y = self.se(y)
        return F.gelu(y) if self.act else y

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that equals the sum of the branches. float64."""
        weight, bias = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for branch in [*self.conv_kxk, self.conv_scale]:
            if branch is not None:
                w, b = fold_bn(branch.conv, branch.bn)
                weight, bias = weight + grow(w, self.kernel), bias + b
        if self.identity is not None:
            scale, shift = bn_affine(self.identity)
            weight, bias = weight + centre_tap(scale, self.kernel, self.groups), bias + shift
        return weight, bias

    def fold(self) -> None:
        self.reparam_conv = conv_like(self.conv_kxk[0].conv, *self.merged())
        self.conv_kxk, self.conv_scale, self.identity = nn.ModuleList(), None, None


class LargeKernel(nn.Module):
    """Depthwise 7 x 7 of stride 2 with a 3 x 3 branch. Output channel o reads input channel o / (c_out / c_in)."""

    def __init__(self, c_in: int, c_out: int, *, se: bool, act: bool):
        super().__init__()
        self.large_conv = ConvNorm(c_in, c_out, 7, 2, groups=c_in)
        self.small_conv: ConvNorm | None = ConvNorm(c_in, c_out, 3, 2, groups=c_in)
        self.se = SqueezeExcite(c_out, c_out // 4) if se else None
        self.act = act
        self.reparam_conv: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.large_conv(x) + self.small_conv(x) if self.reparam_conv is None else self.reparam_conv(x)
        if self.se is not None:
            y = self.se(y)
        return F.gelu(y) if self.act else y

    def fold(self) -> None:
        weight, bias = fold_bn(self.large_conv.conv, self.large_conv.bn)
        small_weight, small_bias = fold_bn(self.small_conv.conv, self.small_conv.bn)
        self.reparam_conv = conv_like(self.large_conv.conv, weight + grow(small_weight, 7), bias + small_bias)
        self.large_conv = self.small_conv = None


class PatchEmbed(nn.Module):
    """Between two stages: halves the picture, changes the channels."""

    def __init__(self, c_in: int, c_out: int, *, se: bool, act: bool):
        super().__init__()
        self.proj = nn.Sequential(LargeKernel(c_in, c_out, se=se, act=act), MobileOne(c_out, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class LayerScale(nn.Module):
    """One learned factor for each channel of a residual branch."""

    def __init__(self, channels: int, init: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels, 1, 1), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class RepMixer(nn.Module):
    """x + layer_scale * (mixer(x) - norm(x)): linear in x, so folded it is one depthwise 3 x 3 without a skip.

    The paper writes DWConv(BN(x)) + x; the released weights need this form.
    """

    def __init__(self, channels: int, scale_init: float):
        super().__init__()
        self.norm = MobileOne(channels, channels, 3, groups=channels, conv=False, act=False)
        self.mixer = MobileOne(channels, channels, 3, groups=channels, act=False)
        self.layer_scale = LayerScale(channels, scale_init)
        self.reparam_conv: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.reparam_conv is not None:
            return self.reparam_conv(x)
        return x + self.layer_scale(self.mixer(x) - self.norm(x))

    def fold(self) -> None:
        weight, bias = self.mixer.merged()
        norm_weight, norm_bias = self.norm.merged()
        scale = self.layer_scale.gamma.double()[:, 0, 0]
        weight = centre_tap(torch.ones_like(scale), 3, len(scale)) + scale[:, None, None, None] * (weight - norm_weight)
        self.reparam_conv = conv_like(self.mixer.conv_kxk[0].conv, weight, scale * (bias - norm_bias))
        self.norm = self.mixer = self.layer_scale = None


class ConvFFN(nn.Module):
    """fc2(gelu(fc1(BN(dw 7 (x)))))"""

    def __init__(self, channels: int, ratio: int):
        super().__init__()
        self.conv = ConvNorm(channels, channels, 7, groups=channels)
        self.fc1 = nn.Conv2d(channels, ratio * channels, 1)
        self.fc2 = nn.Conv2d(ratio * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.conv(x))))


class RepCPE(nn.Module):
    """Conditional positional encoding, x + dw 7 (x): the zero padding tells tokens where the border is."""

    def __init__(self, channels: int):
        super().__init__()
        self.pos_enc: nn.Conv2d | None = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.reparam_conv: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pos_enc(x) if self.reparam_conv is None else self.reparam_conv(x)

    def fold(self) -> None:
        one = torch.ones(self.pos_enc.out_channels, dtype=torch.float64)
        weight = self.pos_enc.weight.double() + centre_tap(one, 7, len(one))
        self.reparam_conv, self.pos_enc = conv_like(self.pos_enc, weight, self.pos_enc.bias.double()), None


class LayerNorm2d(nn.LayerNorm):
    """Normalises each pixel over its channels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Multi-head self-attention over the H * W tokens. qkv's rows are q, k, v, each head by head; it has no bias until folded."""

    def __init__(self, channels: int):
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        # A linear layer over channels is a 1 x 1 convolution: the map stays channels first, and oneDNN does it.
        qkv = F.conv2d(x, self.qkv.weight[:, :, None, None], self.qkv.bias)
        q, k, v = qkv.reshape(n, 3, c // HEAD_WIDTH, HEAD_WIDTH, h * w).unbind(1)  # each [n, heads, 32, tokens]
        weights = torch.softmax(q.transpose(2, 3) @ k / math.sqrt(HEAD_WIDTH), dim=-1)  # [n, heads, tokens, tokens]
        y = (v @ weights.transpose(2, 3)).reshape(n, c, h, w)
        return F.conv2d(y, self.proj.weight[:, :, None, None], self.proj.bias)


class RepMixerBlock(nn.Module):
    """t = RepMixer(x);  t + layer_scale * ConvFFN(t)"""

    def __init__(self, channels: int, ratio: int, scale_init: float):
        super().__init__()
        self.token_mixer = RepMixer(channels, scale_init)
        self.mlp = ConvFFN(channels, ratio)
        self.layer_scale: nn.Module = LayerScale(channels, scale_init)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_mixer(x)
        return x + self.layer_scale(self.mlp(x))

    def fold_rest(self) -> None:
        self.mlp.conv.fold()
        _fold_scale(self.mlp.fc2, self.layer_scale)
        self.layer_scale = nn.Identity()


class AttentionBlock(nn.Module):
    """t = x + layer_scale_1 * Attention(norm(x));  t + layer_scale_2 * ConvFFN(t)"""

    def __init__(self, channels: int, ratio: int, scale_init: float, layer_norm: bool):
        super().__init__()
        self.norm: nn.Module = LayerNorm2d(channels, eps=1e-5) if layer_norm else nn.BatchNorm2d(channels)
        self.token_mixer = Attention(channels)
        self.layer_scale_1: nn.Module = LayerScale(channels, scale_init)
        self.mlp = ConvFFN(channels, ratio)
        self.layer_scale_2: nn.Module = LayerScale(channels, scale_init)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale_1(self.token_mixer(self.norm(x)))
        return x + self.layer_scale_2(self.mlp(x))

    def fold_rest(self) -> None:
        self.mlp.conv.fold()
        _fold_scale(self.token_mixer.proj, self.layer_scale_1)
        _fold_scale(self.mlp.fc2, self.layer_scale_2)
        self.layer_scale_1 = self.layer_scale_2 = nn.Identity()
        if isinstance(self.norm, nn.BatchNorm2d):  # a LayerNorm depends on its pixel: nothing to fold
            scale, shift = bn_affine(self.norm)
            qkv = self.token_mixer.qkv
            weight = qkv.weight.double()
            qkv.bias = nn.Parameter((weight @ shift).to(qkv.weight.dtype), requires_grad=False)
            qkv.weight.data = (weight * scale).to(qkv.weight.dtype)
            self.norm = nn.Identity()


def _fold_scale(layer: nn.Conv2d | nn.Linear, scale: LayerScale) -> None:
    """Multiply a pointwise layer's outputs by a layer scale."""
    gamma = scale.gamma.double().flatten()
    weight = layer.weight.double() * gamma.reshape(-1, *[1] * (layer.weight.dim() - 1))
    layer.weight.data, layer.bias.data = weight.to(layer.weight.dtype), (layer.bias.double() * gamma).to(layer.weight.dtype)


class Stage(nn.Module):
    def __init__(self, config: Config, index: int, scale_init: float):
        super().__init__()
        channels, attention = config.channels[index], config.attention[index]
        se = bool(config.large_kernel_se) and config.large_kernel_se[index]
        self.downsample = (PatchEmbed(config.channels[index - 1], channels, se=se, act=config.large_kernel_gelu)
                           if index else nn.Identity())
        self.pos_emb = RepCPE(channels) if attention else nn.Identity()
        self.blocks = nn.Sequential(*[
            AttentionBlock(channels, config.ratio, scale_init, config.attention_layer_norm) if attention
            else RepMixerBlock(channels, config.ratio, scale_init) for _ in range(config.blocks[index])])

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.pos_emb(self.downsample(x)))


class Head(nn.Module):
    """Average over the picture, then a linear layer. A class of its own because checkpoints call the layer `head.fc`."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class FastViT(nn.Module):
    def __init__(self, config: Config, layer_scale_init: float = 1e-5):
        super().__init__()
        first, last, scale = config.channels[0], config.channels[-1], config.stem_scale
        self.config = config
        self.stem = nn.Sequential(MobileOne(3, first, 3, 2, scale=scale),
                                  MobileOne(first, first, 3, 2, groups=first, scale=scale),
                                  MobileOne(first, first, 1))
        self.stages = nn.Sequential(*[Stage(config, i, layer_scale_init) for i in range(len(config.blocks))])
        self.final_conv = MobileOne(last, 2 * last, 3, groups=last, se=True)
        self.head = Head(2 * last, config.classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every level: `stem`, `stage0`.., `final_conv`, `logits`."""
        out = {"stem": self.stem(x)}
        x = out["stem"]
        for i, stage in enumerate(self.stages):
            x = out[f"stage{i}"] = stage(x)
        out["final_conv"] = self.final_conv(x)
        out["logits"] = self.head(out["final_conv"])
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)["logits"]


@torch.no_grad()
def fold(net: FastViT, complete: bool = False) -> FastViT:
    """A folded copy, in evaluation form. Without `complete` its tensors are those of a "reparameterized" checkpoint.

    Every normalisation that is folded follows a convolution, is a branch of its own, or precedes a pointwise layer. One that
    precedes a padded convolution could not be folded: the padding's zeros come after it, and would miss the shift.
    """
    net = copy.deepcopy(net).eval()
    mergeable = [m for m in net.modules() if isinstance(m, (RepMixer, LargeKernel, RepCPE, MobileOne))]
    inside_mixers = {part for m in mergeable if isinstance(m, RepMixer) for part in (m.norm, m.mixer)}
    for module in mergeable:
        if module not in inside_mixers:
            module.fold()
    if complete:
        for module in net.modules():
            if isinstance(module, (RepMixerBlock, AttentionBlock)):
                module.fold_rest()
    return net


# --- parameters from a seed -------------------------------------------------------------------------------------------------

def _fnv1a64(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def _uniform(name: str, count: int, seed: int) -> np.ndarray:
    """`count` float32 values in [-1, 1) that depend on the name and the seed: a splitmix64 stream."""
    golden = 0x9E3779B97F4A7C15
    start = np.uint64(_fnv1a64(name) ^ (seed * golden % 2**64))
    z = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(golden)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1).astype(np.float32)


def seeded_tensor(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The test parameter of a name: any language makes the same numbers, so a test needs no weight file.

    `input` is the test picture. The values keep activations in range through the deepest variant.
    """
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    u = _uniform(name, math.prod(shape), seed)
    if name == "input":
        values = np.float32(2) * u
    elif "layer_scale" in name:
        values = np.float32(0.1) + np.float32(0.05) * u
    elif name.endswith("running_mean"):
        values = np.float32(0.1) * u
    elif name.endswith("running_var"):
        values = np.float32(1) + np.float32(0.5) * u
    elif len(shape) >= 2:
        values = np.float32(math.sqrt(3 / math.prod(shape[1:]))) * u
    elif name.endswith("weight"):
        values = np.float32(1) + np.float32(0.25) * u
    else:
        values = np.float32(0.1) * u
    return torch.from_numpy(values.reshape(shape))


def seeded_state(net: FastViT, seed: int) -> dict[str, Tensor]:
    """Seeded values for every tensor of a network."""
    return {name: seeded_tensor(name, tuple(tensor.shape), seed) for name, tensor in net.state_dict().items()}
