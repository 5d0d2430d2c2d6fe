"""Rewrites graphs so that their large matrix products are computed in 8-bit integers.

Weights are rounded to 7 bits with a scale for each output. Their input is rounded to 8 bits with a scale for each row,
found at run time. A row's result does not depend on other rows, and sums of integers are exact, so that
captions are the same in every batch. (ONNX Runtime's own dynamic quantisation has one scale for a whole batch;
MatMulNBits is half as fast.) The left side is unsigned because processors with VNNI multiply that four times as fast as
floats.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 4096  # weights of a matrix that is worth rounding
# Largest integer of a weight. Processors without VNNI add two products in 16 bits: 2 x 255 x 63 fits, 127 would
# overflow.
LARGEST = 63
MIDDLE = 128  # zero among the unsigned 8-bit numbers


def to_int8(weight: np.ndarray, axis: int, largest: int = LARGEST) -> tuple[np.ndarray, np.ndarray]:
    """int8 values of a matrix and float32 scales, one for each place along `axis`; the scales keep both dimensions."""
    scale = np.abs(weight).max(axis=1 - axis, keepdims=True) / largest
    scale = np.maximum(scale, 1e-12).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


class Rewriter:
    """Rewrites one graph in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.nodes: list[onnx.NodeProto] = []
        self.added: dict[str, onnx.TensorProto] = {}
        self.arrays = {t.name: t for t in self.graph.initializer}
        self.transposed = {
            n.output[0]: n.input[0] for n in self.graph.node if n.op_type == "Transpose" and n.input[0] in self.arrays
        }
        self.rounded: dict[str, tuple[str, str, str]] = {}

    def constant(self, name: str, values: np.ndarray | np.generic) -> str:
        if name not in self.added:
            self.added[name] = numpy_helper.from_array(values, name)
        return name

    def weight(self, name: str) -> tuple[str, np.ndarray, bool] | None:
        """Name of the stored matrix, its values, and whether it is read transposed. None: not worth rounding."""
        stored = self.transposed.get(name, name)
        tensor = self.arrays.get(stored)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            return None
        if np.prod(tensor.dims) < SMALLEST:
            return None
        return stored, numpy_helper.to_array(tensor), stored != name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def round_rows(self, x: str, width: int) -> tuple[str, str, str]:
        """8-bit rows of `x` [..., width] as a matrix, their scales as a column, and the rows' original shape.

        All matrices that read `x` share them.
        """
        if x not in self.rounded:
            p = f"{x}/int8"
            shape = self.node("Shape", [x], p + "/shape", start=0, end=-1)
            flat_shape = self.constant(f"int8/width/{width}", np.array([-1, width]))
            flat = self.node("Reshape", [x, flat_shape], p + "/flat")
            size = self.node("ReduceMax", [self.node("Abs", [flat], p + "/abs")], p + "/max", axes=[-1], keepdims=0)
            size = self.node("Max", [size, self.constant("int8/least", np.float32(1e-12))], p + "/size")
            scale = self.node("Mul", [size, self.constant("int8/step", np.float32(1 / 127))], p + "/scale")
            count = self.node("Shape", [scale], p + "/count")
            zero = numpy_helper.from_array(np.array([MIDDLE], np.uint8))
            middle = self.node("ConstantOfShape", [count], p + "/middle", value=zero)
            rows = self.node("QuantizeLinear", [flat, scale, middle], p + "/rows", axis=0)
            column = self.node("Unsqueeze", [scale, self.constant("int8/last", np.array([1]))], p + "/column")
            self.rounded[x] = rows, column, shape
        return self.rounded[x]

    def product(self, x: str, weight: tuple[str, np.ndarray, bool], output: str) -> None:
        """x @ W with W [K,N] in int8 and its scales on N. A matrix that is read transposed keeps its stored order."""
        stored, values, turned = weight
        name, scales = f"{stored}/i8", f"{stored}/scale"
        whole, scale = to_int8(values, 0 if turned else 1)
        self.constant(name, whole)
        self.constant(scales, scale.reshape(-1))
        if turned:
            name = f"{stored}/i8/turned"
            if not any(name in n.output for n in self.nodes):
                self.node("Transpose", [f"{stored}/i8"], name, perm=[1, 0])
        width, outside = values.shape[::-1] if turned else values.shape
        rows, column, shape = self.round_rows(x, width)
        y = self.node("MatMulInteger", [rows, name, self.constant("int8/zero", np.uint8(MIDDLE))], output + "/whole")
        y = self.node("Cast", [y], output + "/float", to=TensorProto.FLOAT)
        # In this form ONNX Runtime fuses the nodes into one, which scales its own sums. A bias must not follow
        # directly: the fusion would include it, and adds it wrongly where each row has its own scale (1.32).
        y = self.node("Mul", [y, self.node("Mul", [column, scales], output + "/scale")], output + "/matrix")
        size = self.constant(f"int8/outside/{outside}", np.array([outside]))
        self.node("Reshape", [y, self.node("Concat", [shape, size], output + "/shape", axis=0)], output)

    def gemm(self, node: onnx.NodeProto, attributes: dict[str, object]) -> bool:
        """Rewrites x @ W (+ bias); False if this Gemm does something else."""
        weight = self.weight(node.input[1])
        plain = attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0
        if weight is None or attributes.get("transA") or not plain:
            return False
        stored, values, turned = weight
        bias = len(node.input) > 2
        out = node.output[0] + ("/product" if bias else "")
        self.product(node.input[0], (stored, values, turned != bool(attributes.get("transB"))), out)
        if bias:
            self.node("Add", [out, node.input[2]], node.output[0])
        return True

    def gather(self, node: onnx.NodeProto) -> bool:
        """Rewrites the look-up in a table, so that only the rows that are looked up become floats."""
        weight = self.weight(node.input[0])
        if weight is None or weight[2]:
            return False
        stored, values, _ = weight
        whole, scale = to_int8(values, 0)
        p = node.output[0]
        row = self.node("Gather", [self.constant(f"{stored}/i8", whole), node.input[1]], p + "/whole")
        size = self.node("Gather", [self.constant(f"{stored}/scale/column", scale), node.input[1]], p + "/scale")
        self.node("Mul", [self.node("Cast", [row], p + "/float", to=TensorProto.FLOAT), size], p)
        return True

    def rewrite(self, node: onnx.NodeProto) -> bool:
        """Adds the replacement of a node; False if it stays as it is."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "MatMul" and (weight := self.weight(node.input[1])):
            self.product(node.input[0], weight, node.output[0])
            return True
        if node.op_type == "Gemm":
            return self.gemm(node, attributes)
        return node.op_type == "Gather" and not attributes.get("axis") and self.gather(node)

    def run(self) -> None:
        for node in list(self.graph.node):
            if not self.rewrite(node):
                self.nodes.append(node)
        used = {i for n in self.nodes for i in n.input}
        self.nodes = [n for n in self.nodes if n.op_type != "Transpose" or n.output[0] in used]
        used = {i for n in self.nodes for i in n.input}
        weights = [t for t in self.graph.initializer if t.name in used]
        weights += [t for n, t in self.added.items() if n in used]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(weights)


def quantise(model: onnx.ModelProto) -> None:
    """Rewrites the model in place."""
    Rewriter(model).run()
