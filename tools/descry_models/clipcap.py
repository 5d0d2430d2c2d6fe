"""Mapping networks of ClipCap (arXiv 2111.09734, rmokady/CLIP_prefix_caption), for training.

`descry model import` reads published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAPPER_HEADS = 8  # of the transformer mapper, in the paper and in its code
BEAM = 5  # the released code's


class MlpMapper(nn.Module):
    """Embedding [N,D] -> prefix [N,P,W] through one hidden layer and tanh."""

    def __init__(self, inside: int, hidden: int, prefix: int, width: int) -> None:
        super().__init__()
        self.prefix, self.width = prefix, width
        self.model = nn.ModuleDict({"0": nn.Linear(inside, hidden), "2": nn.Linear(hidden, prefix * width)})

    def forward(self, x: Tensor) -> Tensor:
        return self.model["2"](torch.tanh(self.model["0"](x))).view(-1, self.prefix, self.width)


class MapperLayer(nn.Module):
    """A pre-norm layer of the transformer mapper."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict(
            {
                "to_queries": nn.Linear(width, width, bias=False),
                "to_keys_values": nn.Linear(width, 2 * width, bias=False),
                "project": nn.Linear(width, width),
            }
        )
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        n, t, w = x.shape

        def split(z: Tensor) -> Tensor:
            return z.view(n, t, MAPPER_HEADS, w // MAPPER_HEADS).transpose(1, 2)

        y = self.norm1(x)
        # Keys are the first half of the joint projection, values the second.
        k, v = self.attn["to_keys_values"](y).split(w, 2)
        a = (split(self.attn["to_queries"](y)) @ split(k).transpose(2, 3) * (w // MAPPER_HEADS) ** -0.5).softmax(-1)
        x = x + self.attn["project"]((a @ split(v)).transpose(1, 2).reshape(n, t, w))
        return x + self.mlp["fc2"](F.relu(self.mlp["fc1"](self.norm2(x))))


@dataclass(frozen=True)
class TransformerMapperShape:
    """Shape of a transformer mapper: `inside` and `width` are those of the embedding and of the language model."""

    inside: int
    clip_length: int
    prefix: int
    width: int
    layers: int
    hidden: int


class TransformerMapper(nn.Module):
    """Embedding [N,D] -> clip_length vectors, followed by learned constants; the outputs of these are the prefix."""

    def __init__(self, s: TransformerMapperShape) -> None:
        super().__init__()
        self.clip_length, self.width = s.clip_length, s.width
        self.linear = nn.Linear(s.inside, s.clip_length * s.width)
        self.prefix_const = nn.Parameter(torch.zeros(s.prefix, s.width))
        layers = nn.ModuleList(MapperLayer(s.width, s.hidden) for _ in range(s.layers))
        self.transformer = nn.ModuleDict({"layers": layers})

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x).view(-1, self.clip_length, self.width)
        x = torch.cat((x, self.prefix_const.expand(x.shape[0], -1, -1)), 1)
        for layer in self.transformer["layers"]:
            x = layer(x)
        return x[:, self.clip_length :]
