"""The captioners that read the evidence: each has its own mapper and its own decoder.

Shapes: B pictures, G cells of evidence with E values, K concepts, P prefix vectors, W the decoder's width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .net import Captioner, Decoder, Shape

# Collections differ in style. The prefix says which style a caption shall have.
STYLES = ("flickr8k", "coco", "web", "text")


@dataclass
class MemberShape(Shape):
    """Shape of one captioner."""

    evidence: int = 512
    concepts: int = 1
    queries: int = 12
    """Prefix vectors that attend to the evidence."""
    told: int = 4
    """Prefix vectors that are made of the concepts' probabilities."""
    resampler_layers: int = 2

    @property
    def prefix(self) -> int:
        """Vectors of the whole prefix."""
        return self.queries + self.told


class CrossBlock(nn.Module):
    """Pre-norm block: queries attend to cells and to each other, then an MLP."""

    def __init__(self, s: MemberShape) -> None:
        super().__init__()
        self.heads = s.heads
        self.ln_query, self.ln_cell, self.ln_mlp = (nn.LayerNorm(s.width) for _ in range(3))
        self.query, self.keys_values = nn.Linear(s.width, s.width), nn.Linear(s.width, 2 * s.width)
        self.proj = nn.Linear(s.width, s.width)
        self.fc, self.fc_out = nn.Linear(s.width, 2 * s.width), nn.Linear(2 * s.width, s.width)
        self.drop = nn.Dropout(s.drop_light)

    def forward(self, x: Tensor, cells: Tensor) -> Tensor:
        """Queries x [B,P,W], cells [B,G,W]."""
        y = self.ln_query(x)
        seen = torch.cat((self.ln_cell(cells), y), 1)
        q = self.query(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.keys_values(seen).chunk(2, -1))
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.drop(self.proj(a))
        return x + self.drop(self.fc_out(F.gelu(self.fc(self.ln_mlp(x)), approximate="tanh")))


class ToldPrefix(nn.Module):
    """Probabilities of concepts [B,K] -> `told` prefix vectors. Texts without pictures train it too."""

    def __init__(self, s: MemberShape) -> None:
        super().__init__()
        self.told = s.told
        self.linear = nn.Linear(s.concepts, s.told * s.width)
        self.norm = nn.LayerNorm(s.width)
        nn.init.normal_(self.linear.weight, std=0.05)

    def forward(self, probabilities: Tensor) -> Tensor:
        return self.norm(self.linear(probabilities).unflatten(-1, (self.told, -1)))


class MemberMapper(nn.Module):
    """Evidence [B,G,E] and probabilities of concepts [B,K] -> prefix [B,P,W].

    The vectors made of the concepts come first, those of the queries after them.
    """

    def __init__(self, s: MemberShape) -> None:
        super().__init__()
        self.linear = nn.Linear(s.evidence, s.width)
        self.queries = nn.Parameter(torch.randn(s.queries, s.width) * 0.02)
        self.blocks = nn.ModuleList(CrossBlock(s) for _ in range(s.resampler_layers))
        self.norm = nn.LayerNorm(s.width)
        self.told = ToldPrefix(s)
        self.style = nn.Embedding(len(STYLES), s.width)
        nn.init.normal_(self.style.weight, std=0.02)

    def forward(self, evidence: Tensor, probabilities: Tensor, style: Tensor) -> Tensor:
        """`style` [B] holds places in STYLES."""
        cells = self.linear(evidence)
        queries = self.queries.expand(evidence.shape[0], -1, -1)
        for block in self.blocks:
            queries = block(queries, cells)
        return torch.cat((self.told(probabilities), self.norm(queries)), 1) + self.style(style)[:, None]

    def told_only(self, probabilities: Tensor, style: Tensor) -> Tensor:
        """The prefix of a caption without a picture: the queries have seen nothing."""
        queries = self.norm(self.queries).expand(len(probabilities), -1, -1)
        return torch.cat((self.told(probabilities), queries), 1) + self.style(style)[:, None]


class Member(Captioner):
    """A mapper and a decoder. Its inherited methods take a prefix [B,P,W] where `Captioner` takes a grid."""

    def __init__(self, s: MemberShape) -> None:
        super().__init__(nn.Identity(), Decoder(s))
        self.shape = s
        self.member_mapper = MemberMapper(s)
