#!/usr/bin/env python3
"""Write a classifier of torchvision as an ONNX graph, with random weights, and a random image for it.

    export_torchvision.py NAME SIZE GRAPH IMAGE
"""
from __future__ import annotations

import sys
import warnings

import torch
import torchvision
from torch import nn


def settle(net: nn.Module, images: torch.Tensor) -> None:
    """Gives the BatchNorms the statistics of these images. With those that they begin with, activations fade through a deep network
    to denormal numbers, which processors are slow with.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    net.train()(images)
    net.eval()


def main() -> None:
    name, size, graph, image = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    torch.manual_seed(1)
    net = torchvision.models.get_model(name, weights=None)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        settle(net, images[:, :, :128, :128])  # the numbers need not be those of the whole image
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(net, images[:1], graph, input_names=["images"], output_names=["logits"], opset_version=17)
    images[:1].numpy().tofile(image)


if __name__ == "__main__":
    main()
