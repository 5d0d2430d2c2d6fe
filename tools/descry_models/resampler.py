"""The mapper of tiles: learned queries attend to the 45 cells of a frame and its crops, and become the prefix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .net import Captioner, Decoder, Shape
from .tiles import TILES


@dataclass
class TileShape(Shape):
    """Shape of a tile captioner."""

    prefix_length: int = 12
    resampler_layers: int = 2

    @property
    def prefix(self) -> int:
        return self.prefix_length


class CrossBlock(nn.Module):
    """Pre-norm block: queries attend to cells, then an MLP."""

    def __init__(self, s: TileShape) -> None:
        super().__init__()
        self.heads = s.heads
        self.ln_query, self.ln_cell, self.ln_mlp = (nn.LayerNorm(s.width) for _ in range(3))
        self.query, self.keys_values = nn.Linear(s.width, s.width), nn.Linear(s.width, 2 * s.width)
        self.proj = nn.Linear(s.width, s.width)
        self.fc, self.fc_out = nn.Linear(s.width, 2 * s.width), nn.Linear(2 * s.width, s.width)
        self.drop = nn.Dropout(s.drop_light)

    def forward(self, x: Tensor, cells: Tensor) -> Tensor:
        """Queries x [B,P,W], cells [B,N,W]."""
        y = self.ln_query(x)
        # The queries attend to each other too: a word about one of them depends on the rest.
        seen = torch.cat((self.ln_cell(cells), y), 1)
        q = self.query(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.keys_values(seen).chunk(2, -1))
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.drop(self.proj(a))
        return x + self.drop(self.fc_out(F.gelu(self.fc(self.ln_mlp(x)), approximate="tanh")))


class TileMapper(nn.Module):
    """Grid [B, TILES * cells, features] -> prefix [B,P,W].

    Channels are standardised as in `net.GridMapper`. Every cell carries the tile that it is from and its place in it.
    """

    def __init__(self, s: TileShape) -> None:
        super().__init__()
        self.s = s
        self.register_buffer("mean", torch.zeros(s.features))
        self.register_buffer("deviation", torch.ones(s.features))
        self.linear = nn.Linear(s.features, s.width)
        self.tile = nn.Parameter(torch.randn(TILES, 1, s.width) * 0.02)
        self.cell = nn.Parameter(torch.randn(1, s.cells * s.cells, s.width) * 0.02)
        self.queries = nn.Parameter(torch.randn(s.prefix_length, s.width) * 0.02)
        self.blocks = nn.ModuleList(CrossBlock(s) for _ in range(s.resampler_layers))
        self.norm = nn.LayerNorm(s.width)

    def forward(self, grid: Tensor) -> Tensor:
        x = (grid - self.mean) / self.deviation
        if self.training and self.s.drop_features:  # whole channels, the same in every cell
            keep = 1 - self.s.drop_features
            x = x * (torch.rand(x.shape[0], 1, x.shape[2]) < keep) / keep
        cells = self.linear(x) + (self.tile + self.cell).flatten(0, 1)
        queries = self.queries.expand(grid.shape[0], -1, -1)
        for block in self.blocks:
            queries = block(queries, cells)
        return self.norm(queries)


class TextPrefix(nn.Module):
    """A text embedding -> prefix, for training the decoder without pictures (as CapDec does).

    In training, noise on the embedding makes up for the distance between the embeddings of a picture and its captions.
    """

    def __init__(self, s: TileShape, noise: float = 0.06) -> None:
        super().__init__()
        self.s, self.noise = s, noise
        self.linear = nn.Linear(s.embedding, s.prefix_length * s.width)
        self.norm = nn.LayerNorm(s.width)

    def forward(self, embedding: Tensor) -> Tensor:
        if self.training:
            embedding = F.normalize(embedding + self.noise * torch.randn_like(embedding), dim=-1)
        return self.norm(self.linear(embedding).unflatten(-1, (self.s.prefix_length, self.s.width)))


class TileCaptioner(Captioner):
    """A mapper of tiles (or of text embeddings) in front of the decoder."""

    def __init__(self, s: TileShape, mapper: nn.Module) -> None:
        nn.Module.__init__(self)
        self.shape = s
        self.mapper, self.decoder = mapper, Decoder(s)
