"""Graphs whose large matrix products are made of small whole numbers.

Weights are rounded to 7 bits with a scale for each output; what is multiplied with them is rounded to 8 bits with a scale for each row, found as it
comes. A row's result does not depend on the rows beside it, and sums of whole numbers are exact, so that captions are the same
in every batch. (ONNX Runtime's own dynamic quantisation has one scale for a whole batch; MatMulNBits is half as fast.) The
unsigned left side is what processors with VNNI multiply four times as fast as floats.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST = 4096        # weights of a matrix that is worth it
# Largest whole number of a weight. Processors without VNNI add two products in 16 bits: 2 x 255 x 63 fits, 127 would overflow.
WEIGHT = 63
MIDDLE = 128        # zero among the unsigned 8-bit numbers


def whole_numbers(weight, axis, largest=WEIGHT):
    """int8 values of a matrix and float32 scales, one for each place along `axis`; the scales keep both dimensions."""
    scale = np.abs(weight).max(axis=1 - axis, keepdims=True) / largest
    scale = np.maximum(scale, 1e-12).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


class Rewriter:
    def __init__(self, model):
        self.graph = model.graph
        self.made, self.added = [], {}
        self.arrays = {t.name: t for t in self.graph.initializer}
        self.transposed = {n.output[0]: n.input[0] for n in self.graph.node
                           if n.op_type == "Transpose" and n.input[0] in self.arrays}
        self.rows = {}

    def constant(self, name, values):
        if name not in self.added:
            self.added[name] = numpy_helper.from_array(values, name)
        return name

    def weight(self, name):
        """(name of the stored matrix, its values, whether it is read transposed) or None."""
        stored = self.transposed.get(name, name)
        tensor = self.arrays.get(stored)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2 or np.prod(tensor.dims) < LEAST:
            return None
        return stored, numpy_helper.to_array(tensor), stored != name

    def node(self, kind, inputs, output, **attributes):
        self.made.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def rounded(self, x, width):
        """8-bit rows of `x` [..., width] as a matrix, their scales as a column, and the shape that the rows stood in; shared by
        all matrices that read them."""
        if x not in self.rows:
            p = f"{x}/int8"
            shape = self.node("Shape", [x], p + "/shape", start=0, end=-1)
            flat = self.node("Reshape", [x, self.constant(f"int8/width/{width}", np.array([-1, width]))], p + "/flat")
            size = self.node("ReduceMax", [self.node("Abs", [flat], p + "/abs")], p + "/max", axes=[-1], keepdims=0)
            size = self.node("Max", [size, self.constant("int8/least", np.float32(1e-12))], p + "/size")
            scale = self.node("Mul", [size, self.constant("int8/step", np.float32(1 / 127))], p + "/scale")
            count = self.node("Shape", [scale], p + "/count")
            middle = self.node("ConstantOfShape", [count], p + "/middle",
                               value=numpy_helper.from_array(np.array([MIDDLE], np.uint8)))
            whole = self.node("QuantizeLinear", [flat, scale, middle], p + "/rows", axis=0)
            column = self.node("Unsqueeze", [scale, self.constant("int8/last", np.array([1]))], p + "/column")
            self.rows[x] = whole, column, shape
        return self.rows[x]

    def product(self, x, stored, values, turned, output):
        """x @ W with W [K,N] as int8, its scales on N. A matrix that is read transposed is stored as it was."""
        name, scales = f"{stored}/i8", f"{stored}/scale"
        whole, scale = whole_numbers(values, 0 if turned else 1)
        self.constant(name, whole)
        self.constant(scales, scale.reshape(-1))
        if turned:
            name = f"{stored}/i8/turned"
            if not any(name in n.output for n in self.made):
                self.node("Transpose", [f"{stored}/i8"], name, perm=[1, 0])
        width, outside = values.shape[::-1] if turned else values.shape
        rows, scale, shape = self.rounded(x, width)
        y = self.node("MatMulInteger", [rows, name, self.constant("int8/zero", np.uint8(MIDDLE))], output + "/whole")
        y = self.node("Cast", [y], output + "/float", to=TensorProto.FLOAT)
        # In this form ONNX Runtime makes one node of it, which scales what it has just summed. A bias must not stand right
        # behind it: the node would take that in too, and adds it wrongly where there is a scale for each row (1.32).
        y = self.node("Mul", [y, self.node("Mul", [scale, scales], output + "/scale")], output + "/matrix")
        size = self.constant(f"int8/outside/{outside}", np.array([outside]))
        return self.node("Reshape", [y, self.node("Concat", [shape, size], output + "/shape", axis=0)], output)

    def run(self):
        for n in list(self.graph.node):
            attributes = {a.name: helper.get_attribute_value(a) for a in n.attribute}
            if n.op_type == "MatMul" and (w := self.weight(n.input[1])):
                self.product(n.input[0], *w, n.output[0])
            elif (n.op_type == "Gemm" and (w := self.weight(n.input[1])) and not attributes.get("transA")
                  and attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0):
                stored, values, turned = w
                bias = len(n.input) > 2
                out = n.output[0] + ("/product" if bias else "")
                self.product(n.input[0], stored, values, turned != bool(attributes.get("transB")), out)
                if bias:
                    self.node("Add", [out, n.input[2]], n.output[0])
            elif n.op_type == "Gather" and not attributes.get("axis") and (w := self.weight(n.input[0])) and not w[2]:
                stored, values, _ = w       # a table: only the rows that are asked for become floats
                whole, scale = whole_numbers(values, 0)
                p = n.output[0]
                row = self.node("Gather", [self.constant(f"{stored}/i8", whole), n.input[1]], p + "/whole")
                column = self.constant(f"{stored}/scale/column", scale)
                size = self.node("Gather", [column, n.input[1]], p + "/scale")
                self.node("Mul", [self.node("Cast", [row], p + "/float", to=TensorProto.FLOAT), size], p)
            else:
                self.made.append(n)
        used = {i for n in self.made for i in n.input}
        self.made = [n for n in self.made if n.op_type != "Transpose" or n.output[0] in used]
        used = {i for n in self.made for i in n.input}
        kept = [t for t in self.graph.initializer if t.name in used] + [t for n, t in self.added.items() if n in used]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self.made)
        self.graph.initializer.extend(kept)


def quantise(model: onnx.ModelProto):
    """Changes the model in place."""
    Rewriter(model).run()
