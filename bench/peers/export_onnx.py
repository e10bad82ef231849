#!/usr/bin/env python3
"""Write a folded FastViT checkpoint (safetensors, timm's tensor names) as an ONNX graph for other runtimes.

    export_onnx.py CHECKPOINT SIZE GRAPH [--outputs logits] [--observe | --ranges FILE]

The graph is the one that torch's exporter would write for the folded network, for one image of SIZE x SIZE: Conv in NCHW, GELU from
Erf, attention from MatMul and Softmax. What torch leaves to the runtime is folded here already, in float64: the BatchNorm after each
7 x 7, the layer scales, attention's BatchNorm, and the 1 / sqrt(32) of its scores. So no runtime has to do work at run time that this
library does at load time.

With --ranges, the dense layers of the blocks and the classifier are int8, as in this library, in the form that ONNX Runtime's
documentation recommends for static quantization on x86-64: QDQ, activations of 8 bits with one range for each tensor, symmetric
weights of 8 bits with a scale for each output channel. The logits stay float32. The ends of the ranges are outputs of the graph that
--observe makes.
"""
from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import safetensors_io  # noqa: E402

OUTPUTS = ("logits", "embedding", "final_conv", "stages")
HEAD_CHANNELS = 32
OPSET = 17


class Graph:
    """Nodes and initializers under construction. Values are known by name; each method adds nodes and returns the result's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        known = self.initializers.setdefault(name, value)
        assert np.array_equal(known, value), name
        return name

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        output = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    def keep_only(self, results: list[str]) -> None:
        """Removes what these do not need."""
        needed, kept = set(results), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        self.nodes = kept[::-1]
        self.initializers = {name: value for name, value in self.initializers.items() if name in needed}

    def scalar(self, value: float) -> str:
        return self.constant(f"scalar_{value}", np.array(value, np.float32))

    def shape(self, *dims: int) -> str:
        return self.constant("shape_" + "_".join(map(str, dims)), np.array(dims, np.int64))

    def gelu(self, x: str) -> str:
        erf = self.node("Erf", self.node("Div", x, self.scalar(math.sqrt(2))))
        return self.node("Mul", self.node("Mul", x, self.node("Add", erf, self.scalar(1.0))), self.scalar(0.5))


class Exporter:
    def __init__(self, tensors: dict[str, np.ndarray], large_kernel_gelu: bool, ranges: dict[str, float] | None) -> None:
        self.tensors = tensors
        self.large_kernel_gelu = large_kernel_gelu
        self.ranges = ranges  # `LAYER.in.low`, `LAYER.in.high`, `LAYER.out.low`, ...
        self.observed: dict[str, str] = {}  # `LAYER.in`, `LAYER.out`: the tensor's name
        self.graph = Graph()
        self.used: set[str] = set()

    def get(self, name: str) -> np.ndarray:
        """A tensor in float64, as it is folded."""
        self.used.add(name)
        return self.tensors[name].astype(np.float64)

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.tensors)

    def batch_norm(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The scale and shift that a BatchNorm amounts to."""
        self.used.add(f"{name}.num_batches_tracked")
        scale = self.get(f"{name}.weight") / np.sqrt(self.get(f"{name}.running_var") + 1e-5)
        return scale, self.get(f"{name}.bias") - self.get(f"{name}.running_mean") * scale

    def conv(self, x: str, name: str, kernel: np.ndarray, bias: np.ndarray, channels: int, stride: int = 1) -> str:
        """`channels` of the input: the kernel tells whether the convolution is depthwise."""
        side = kernel.shape[2]
        return self.graph.node(
            "Conv", x,
            self.graph.constant(f"{name}.weight", kernel.astype(np.float32)),
            self.graph.constant(f"{name}.bias", bias.astype(np.float32)),
            group=channels // kernel.shape[1], kernel_shape=[side, side], strides=[stride, stride], pads=[side // 2] * 4,
        )

    def quantized(self, x: str, name: str) -> str:
        """x in 8 bits and back, which a runtime fuses with the layers around it."""
        self.observed[name] = x
        if self.ranges is None:
            return x
        if f"{name}.low" not in self.ranges:
            return x  # behind what is asked for
        low, high = self.range(name)
        scale = max(high - low, 1e-30) / 255
        parameters = (
            self.graph.constant(f"{name}.scale", np.array(scale, np.float32)),
            self.graph.constant(f"{name}.zero", np.array(round(-low / scale), np.uint8)),
        )
        return self.graph.node("DequantizeLinear", self.graph.node("QuantizeLinear", x, *parameters), *parameters)

    def range(self, name: str) -> tuple[float, float]:
        """With zero in it."""
        assert self.ranges is not None
        return min(self.ranges[f"{name}.low"], 0.0), max(self.ranges[f"{name}.high"], 0.0)

    def quantized_weight(self, name: str, weight: np.ndarray, axis: int) -> tuple[str, np.ndarray]:
        """int8 with a scale for each channel of an axis, and the scales."""
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale = np.abs(weight).max(axis=others, keepdims=True) / 127
        flat = scale.ravel().astype(np.float32)
        values = (
            self.graph.constant(f"{name}.weight", np.rint(weight / scale).astype(np.int8)),
            self.graph.constant(f"{name}.weight_scale", flat),
            self.graph.constant(f"{name}.weight_zero", np.zeros(len(flat), np.int8)),
        )
        return self.graph.node("DequantizeLinear", *values, axis=axis), flat

    def dense_conv(self, x: str, name: str, kernel: np.ndarray, bias: np.ndarray) -> str:
        """A 1 x 1 convolution of a block, in 8 bits if there are ranges."""
        x = self.quantized(x, f"{name}.in")
        if self.ranges is None:
            y = self.conv(x, name, kernel, bias, kernel.shape[1])
        else:
            weight, scale = self.quantized_weight(name, kernel, 0)
            low, high = self.range(f"{name}.in")
            bias_scale = (scale * np.float32(max(high - low, 1e-30) / 255)).astype(np.float32)
            whole = self.graph.node(
                "DequantizeLinear",
                self.graph.constant(f"{name}.bias", np.rint(bias / bias_scale).astype(np.int32)),
                self.graph.constant(f"{name}.bias_scale", bias_scale),
                self.graph.constant(f"{name}.bias_zero", np.zeros(len(bias_scale), np.int32)),
                axis=0,
            )
            y = self.graph.node("Conv", x, weight, whole, kernel_shape=[1, 1])
        return self.quantized(y, f"{name}.out")

    def stored_conv(self, x: str, name: str, channels: int, stride: int = 1) -> str:
        return self.conv(x, name, self.get(f"{name}.weight"), self.get(f"{name}.bias"), channels, stride)

    def squeeze_excite(self, x: str, name: str, channels: int) -> str:
        mean = self.graph.node("GlobalAveragePool", x)
        reduced = self.graph.node("Relu", self.stored_conv(mean, f"{name}.fc1", channels))
        gate = self.stored_conv(reduced, f"{name}.fc2", self.tensors[f"{name}.fc1.weight"].shape[0])
        return self.graph.node("Mul", x, self.graph.node("Sigmoid", gate))

    def patch_embed(self, x: str, name: str, channels: int) -> tuple[str, int]:
        x = self.stored_conv(x, f"{name}.proj.0.reparam_conv", channels, stride=2)
        channels = self.tensors[f"{name}.proj.0.reparam_conv.weight"].shape[0]
        if self.has(f"{name}.proj.0.se."):
            x = self.squeeze_excite(x, f"{name}.proj.0.se", channels)
        if self.large_kernel_gelu:
            x = self.graph.gelu(x)
        return self.graph.gelu(self.stored_conv(x, f"{name}.proj.1.reparam_conv", channels)), channels

    def conv_ffn(self, x: str, name: str, layer_scale: str, channels: int) -> str:
        """x + layer scale * fc2(GELU(fc1(BN(7 x 7 (x)))))"""
        scale, shift = self.batch_norm(f"{name}.conv.bn")
        kernel = self.get(f"{name}.conv.conv.weight") * scale[:, None, None, None]
        y = self.conv(x, f"{name}.conv", kernel, shift, channels)
        y = self.graph.gelu(self.dense_conv(y, f"{name}.fc1", self.get(f"{name}.fc1.weight"), self.get(f"{name}.fc1.bias")))
        gamma = self.get(layer_scale).ravel()
        kernel = self.get(f"{name}.fc2.weight") * gamma[:, None, None, None]
        y = self.dense_conv(y, f"{name}.fc2", kernel, self.get(f"{name}.fc2.bias") * gamma)
        return self.graph.node("Add", x, y)

    def attention(self, x: str, name: str, channels: int, side: int) -> str:
        """x + layer scale * proj(attention(norm(x))), over the side * side pixels."""
        graph, tokens, heads = self.graph, side * side, channels // HEAD_CHANNELS
        qkv = self.get(f"{name}.token_mixer.qkv.weight")
        bias = np.zeros(3 * channels)
        y = graph.node("Reshape", x, graph.shape(1, channels, tokens))
        y = graph.node("Transpose", y, perm=[0, 2, 1])
        if f"{name}.norm.running_mean" in self.tensors:
            scale, shift = self.batch_norm(f"{name}.norm")
            bias = qkv @ shift
            qkv = qkv * scale
        else:
            gamma, beta = (
                graph.constant(f"{name}.norm.{part}", self.get(f"{name}.norm.{part}").astype(np.float32))
                for part in ("weight", "bias")
            )
            y = graph.node("LayerNormalization", y, gamma, beta, axis=-1, epsilon=1e-5)
        qkv[:channels] /= math.sqrt(HEAD_CHANNELS)
        bias[:channels] /= math.sqrt(HEAD_CHANNELS)
        y = self.linear(y, f"{name}.token_mixer.qkv", qkv, bias)
        y = graph.node("Reshape", y, graph.shape(1, tokens, 3, heads, HEAD_CHANNELS))
        y = graph.node("Transpose", y, perm=[2, 0, 3, 1, 4])
        q, k, v = (graph.node("Gather", y, graph.constant(f"index_{i}", np.array(i, np.int64)), axis=0) for i in range(3))
        scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 1, 3, 2]))
        y = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v)
        y = graph.node("Reshape", graph.node("Transpose", y, perm=[0, 2, 1, 3]), graph.shape(1, tokens, channels))
        gamma_1 = self.get(f"{name}.layer_scale_1.gamma").ravel()
        proj = self.get(f"{name}.token_mixer.proj.weight") * gamma_1[:, None]
        y = self.linear(y, f"{name}.token_mixer.proj", proj, self.get(f"{name}.token_mixer.proj.bias") * gamma_1)
        y = graph.node("Reshape", graph.node("Transpose", y, perm=[0, 2, 1]), graph.shape(1, channels, side, side))
        return graph.node("Add", x, y)

    def linear(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray, quantized_result: bool = True) -> str:
        """A linear layer, in 8 bits if there are ranges."""
        columns = np.ascontiguousarray(weight.T).astype(np.float32)
        x = self.quantized(x, f"{name}.in")
        if self.ranges is None:
            matrix = self.graph.constant(f"{name}.weight", columns)
        else:
            matrix, _ = self.quantized_weight(name, columns, 1)
        product = self.graph.node("MatMul", x, matrix)
        if quantized_result:
            product = self.quantized(product, f"{name}.out")
        return self.graph.node("Add", product, self.graph.constant(f"{name}.bias", bias.astype(np.float32)))

    def network(self, size: int) -> dict[str, list[tuple[str, list[int]]]]:
        """The whole of it: for each of OUTPUTS, names and shapes."""

        def half(n: int) -> int:
            return (n + 1) // 2

        x, channels, side = "images", self.tensors["stem.0.reparam_conv.weight"].shape[1], half(half(size))
        for i, stride in enumerate((2, 2, 1)):
            x = self.graph.gelu(self.stored_conv(x, f"stem.{i}.reparam_conv", channels, stride))
            channels = self.tensors[f"stem.{i}.reparam_conv.weight"].shape[0]
        stage = 0
        stages = []
        while self.has(f"stages.{stage}."):
            name = f"stages.{stage}"
            if self.has(f"{name}.downsample."):
                x, channels = self.patch_embed(x, f"{name}.downsample", channels)
                side = half(side)
            if self.has(f"{name}.pos_emb."):
                x = self.stored_conv(x, f"{name}.pos_emb.reparam_conv", channels)
            block = 0
            while self.has(f"{name}.blocks.{block}."):
                inside = f"{name}.blocks.{block}"
                if self.has(f"{inside}.token_mixer.qkv."):
                    x = self.attention(x, inside, channels, side)
                    x = self.conv_ffn(x, f"{inside}.mlp", f"{inside}.layer_scale_2.gamma", channels)
                else:
                    x = self.stored_conv(x, f"{inside}.token_mixer.reparam_conv", channels)
                    x = self.conv_ffn(x, f"{inside}.mlp", f"{inside}.layer_scale.gamma", channels)
                block += 1
            stages.append((x, [1, channels, side, side]))
            stage += 1
        x = self.stored_conv(x, "final_conv.reparam_conv", channels)
        channels = self.tensors["final_conv.reparam_conv.weight"].shape[0]
        final_conv = self.graph.gelu(self.squeeze_excite(x, "final_conv.se", channels))
        embedding = self.graph.node("Flatten", self.graph.node("GlobalAveragePool", final_conv))
        weight, bias = (self.get(f"head.fc.{part}") for part in ("weight", "bias"))
        if self.ranges is None:
            weight, bias = (
                self.graph.constant(f"head.fc.{part}", value.astype(np.float32)) for part, value in (("weight", weight), ("bias", bias))
            )
            logits = self.graph.node("Gemm", self.quantized(embedding, "head.fc.in"), weight, bias, transB=1)
        else:
            logits = self.linear(embedding, "head.fc", weight, bias, quantized_result=False)
        left = sorted(set(self.tensors) - self.used)
        if left:
            raise ValueError(f"{left[0]}: no place for this tensor" + (f", nor for {len(left) - 1} others" if left[1:] else ""))
        return {
            "logits": [(logits, [1, self.tensors["head.fc.weight"].shape[0]])],
            "embedding": [(embedding, [1, channels])],
            "final_conv": [(final_conv, [1, channels, side, side])],
            "stages": stages,
        }


def export(checkpoint: Path, size: int, graph_file: Path, outputs: str, observe: bool, ranges: dict[str, float] | None) -> None:
    tensors, metadata = safetensors_io.load(checkpoint)
    # The one property that no tensor shows: see the architecture's large_kernel_gelu.
    exporter = Exporter(tensors, large_kernel_gelu=metadata.get("variant", "").startswith("fastvit_mci"), ranges=ranges)
    wanted = []
    for i, (result, shape) in enumerate(exporter.network(size)[outputs]):
        name = f"stage{i}" if outputs == "stages" else outputs
        exporter.graph.rename(result, name)
        wanted.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    exporter.graph.keep_only([one.name for one in wanted])
    channels = tensors["stem.0.reparam_conv.weight"].shape[1]
    observed: list[onnx.ValueInfoProto] = []
    if observe:
        known = {"images", *(output for node in exporter.graph.nodes for output in node.output)}
        for name, tensor in exporter.observed.items():
            if tensor not in known:
                continue  # behind what is asked for
            for op, end in (("ReduceMin", "low"), ("ReduceMax", "high")):
                result = f"{name}.{end}"
                exporter.graph.nodes.append(helper.make_node(op, [tensor], [result], name=result, keepdims=0))
                observed.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, []))
    graph = helper.make_graph(
        exporter.graph.nodes,
        "fastvit",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, channels, size, size])],
        [*wanted, *observed],
        [numpy_helper.from_array(value, name) for name, value in exporter.graph.initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="fastvit")
    model.ir_version = 8  # what the opset came with: a newer one is refused by older runtimes
    onnx.checker.check_model(model)
    onnx.save(model, str(graph_file))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a folded FastViT checkpoint as an ONNX graph.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("size", type=int)
    parser.add_argument("graph", type=Path)
    parser.add_argument("--outputs", choices=OUTPUTS, default=OUTPUTS[0], help="what the graph gives (default: %(default)s)")
    parser.add_argument("--observe", action="store_true", help="give the ends of the ranges that int8 needs as outputs")
    parser.add_argument("--ranges", type=Path, help="make the dense layers int8 with these ranges, in JSON")
    arguments = parser.parse_args()
    known = json.loads(arguments.ranges.read_text()) if arguments.ranges else None
    export(arguments.checkpoint, arguments.size, arguments.graph, arguments.outputs, arguments.observe, known)
