"""What the built-in model sees: two towers whose cells become evidence, and the heads that read it.

EfficientNet-Lite2 is trained on captions, end to end. CenterNet, which was trained on the boxes of
118,000 COCO pictures, stays as it is: it finds people and things in pictures unlike those that have captions.

Shapes: B pictures, G evidence cells, E values in a cell, K concepts (stems of content words), D the embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolutions import GraphNet, Lite2

SIZE = 512
"""Side of the input in pixels. CenterNet reads it whole, EfficientNet at half the size."""
SIDE = 8
"""Cells on a side: EfficientNet ends with a stride of 32, on 256 pixels."""
# CenterNet's tensors: the last maps of its backbone, the heat of its 80 classes, and what the heads read.
DETECTOR_OUTPUTS = (
    "tower_0/extern1/hard_swish/mul_1",
    "tower_0/CenternetHead/centernet_cls_output/BiasAdd",
    "features",
)
DETECTOR_CHANNELS = 480 + 80 + 128
CHANNELS = Lite2.FEATURES + Lite2.MAPS + DETECTOR_CHANNELS


@dataclass(frozen=True)
class SightShape:
    """Shape of the evidence and of the heads that read it."""

    concepts: int
    evidence: int = 512
    embedding: int = 256
    drop_channels: float = 0.2
    drop: float = 0.2


class Towers(nn.Module):
    """Pixels [B,3,SIZE,SIZE], from -1 to 1 -> channels of each cell [B,G,CHANNELS]."""

    def __init__(self, detector: Path) -> None:
        super().__init__()
        self.classifier = Lite2()
        self.detector = GraphNet(detector, DETECTOR_OUTPUTS).requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        maps, features = self.classifier(F.avg_pool2d(pixels, 2))
        return torch.cat((features.flatten(2), pooled(maps).flatten(2), self.detected(pixels)), 1).transpose(1, 2)

    def detected(self, pixels: Tensor) -> Tensor:
        """CenterNet's channels [B,DETECTOR_CHANNELS,G]. Of its heat, the maximum in a cell counts."""
        with torch.no_grad():
            last, heat, shared = self.detector(pixels * 128 + 127)
            heat = F.max_pool2d(heat.clamp(-8, 8), heat.shape[2] // SIDE)
            return torch.cat((pooled(last), heat, pooled(shared)), 1).flatten(2)


def pooled(maps: Tensor) -> Tensor:
    """Maps [B,C,S,S] -> means of each cell [B,C,SIDE,SIDE]."""
    return F.avg_pool2d(maps, maps.shape[2] // SIDE)


class Evidence(nn.Module):
    """Channels [B,G,CHANNELS] -> evidence [B,G,E].

    Channels are standardised by their means and deviations before training, because the scales of different networks
    differ widely.
    """

    def __init__(self, s: SightShape) -> None:
        super().__init__()
        self.s = s
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("deviation", torch.ones(CHANNELS))
        self.linear = nn.Linear(CHANNELS, s.evidence)
        self.place = nn.Parameter(torch.randn(SIDE * SIDE, s.evidence) * 0.02)
        self.norm = nn.LayerNorm(s.evidence)

    def forward(self, channels: Tensor) -> Tensor:
        x = ((channels - self.mean) / self.deviation).clamp(-8, 8)
        if self.training and self.s.drop_channels:  # whole channels, the same in every cell
            keep = 1 - self.s.drop_channels
            x = x * (torch.rand(x.shape[0], 1, x.shape[2], device=x.device) < keep) / keep
        return self.norm(self.linear(x) + self.place)


class Pools(nn.Module):
    """Attention pools: evidence [B,G,E] -> [B, pools * E]."""

    def __init__(self, width: int, pools: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, pools)

    def forward(self, x: Tensor) -> Tensor:
        return (self.score(x).softmax(1).transpose(1, 2) @ x).flatten(1)


class ConceptHead(nn.Module):
    """Evidence -> logits [B,K]: would one of several people who describe the picture use a word of this stem?

    A concept may be seen in one cell (the smooth maximum of the cells' logits) or in all of them together.
    """

    def __init__(self, s: SightShape, pools: int = 4) -> None:
        super().__init__()
        self.cells = nn.Linear(s.evidence, s.concepts)
        self.pools = Pools(s.evidence, pools)
        self.drop = nn.Dropout(s.drop)
        self.whole = nn.Linear(pools * s.evidence, s.concepts)
        for layer in (self.cells, self.whole):
            nn.init.normal_(layer.weight, std=0.01)
        # The smooth maximum of equal cells is above them, and few of the concepts are in a picture.
        nn.init.constant_(self.whole.bias, -math.log(SIDE * SIDE) / 2 - 4)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.logsumexp(self.cells(self.drop(x)) * 2, 1) / 2
        return seen + self.whole(self.drop(self.pools(x)))


class EmbeddingHead(nn.Module):
    """Evidence -> embedding [B,D] of the space that texts share."""

    def __init__(self, s: SightShape, pools: int = 4) -> None:
        super().__init__()
        self.pools = Pools(s.evidence, pools)
        self.drop = nn.Dropout(s.drop)
        self.out = nn.Linear(pools * s.evidence, s.embedding)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(self.pools(x)))


class Sight(nn.Module):
    """The towers, the evidence, and the heads for concepts and for the embedding: pixels [B,3,SIZE,SIZE] -> [B,G,E]."""

    def __init__(self, s: SightShape, detector: Path) -> None:
        super().__init__()
        self.s = s
        self.towers, self.evidence = Towers(detector), Evidence(s)
        self.concepts, self.embedding = ConceptHead(s), EmbeddingHead(s)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.evidence(self.towers(pixels))

    @torch.no_grad()
    def standardise(self, channels: Tensor) -> None:
        """Sets the mean and deviation of the channels, from those of some training pictures [N,G,CHANNELS]."""
        flat = channels.float().flatten(0, 1)
        self.evidence.mean.copy_(flat.mean(0))
        self.evidence.deviation.copy_(flat.std(0) + 1e-3)
