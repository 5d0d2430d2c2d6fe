#!/usr/bin/env python3
"""Makes the tiny seeded model folder of the tests, and what a plain PyTorch loop computes with it.

The folder follows descry-model/1 with everything small: a convolutional image tower with a grid, a mapper that reads
the grid, a two-layer GPT-2, a text tower. The golden file holds pictures (as seeds of a formula), their embeddings, and
the ids of beam search, greedy and other settings, computed here without a key/value cache, one picture at a time.

With --support it is the same model with a word detector, whose support the search and the score use. Its golden file
also holds what is left of the captions where a model asks for their certain part. The text tower is in the form of
BERT's: word pieces, and attention that masks the padding inside the graph.

It needs torch, onnx, tokenizers and numpy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE, DIM, CELLS, CELL_DIM = 32, 24, 16, 24
PREFIX, LAYERS, HEADS, HEAD_DIM, VOCAB, CONTEXT = 5, 2, 2, 16, 120, 48
WIDTH = HEADS * HEAD_DIM
STOP, MAX_TOKENS = 13, 20
TEXT_LENGTH = 12
MEAN, STD = [0.5, 0.45, 0.4], [0.25, 0.3, 0.35]
WEIGHT, CANDIDATES = 0.5, 12
EVIDENCE = {"mean_logprob": 1.0, "mean_support": 0.5, "least_support": 0.25, "content_words": -0.0625}
CALIBRATION = [[-4.0, 0.05], [-1.0, 0.6], [0.0, 0.95]]


# ---- networks --------------------------------------------------------------------------------------------------------


class Tower(nn.Module):
    """Pixels -> embedding and grid."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 12, 4, 4)
        self.b = nn.Conv2d(12, CELL_DIM, 3, 2, 1)
        self.out = nn.Linear(CELL_DIM, DIM)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.tanh(self.b(torch.tanh(self.a(pixels))))
        grid = x.flatten(2).transpose(1, 2)
        # Not a mean over a middle axis: ONNX Runtime's kernel for it changes with batch size and threads.
        return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1)), grid


class Mapper(nn.Module):
    """Grid -> prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(CELL_DIM, WIDTH)
        self.mix = nn.Linear(CELLS, PREFIX)

    def forward(self, input: Tensor) -> Tensor:
        return self.mix(torch.tanh(self.cell(input)).transpose(1, 2)).transpose(1, 2)


class DetectingMapper(nn.Module):
    """Grid -> prefix, and the support of each word: 0 for every third one and the stop token."""

    def __init__(self, mapper: Mapper) -> None:
        super().__init__()
        self.mapper = mapper
        self.detector = nn.Linear(CELL_DIM, VOCAB)  # of the first cell: pictures differ by their tint
        words = torch.arange(VOCAB)
        self.register_buffer("content", words.remainder(3).ne(0) & words.ne(STOP))

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        support = F.logsigmoid(6 * self.detector(input[:, 0]))
        return self.mapper(input), torch.where(self.content, support, 0.0)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc, self.out = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values."""
        n, t = x.shape[0], x.shape[1]
        return self.qkv(self.n1(x)).reshape(n, t, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4).unbind(0)

    def rest(self, x: Tensor, a: Tensor) -> Tensor:
        """The layer after its attention `a`."""
        x = x + self.proj(a.transpose(1, 2).flatten(2))
        return x + self.out(F.gelu(self.fc(self.n2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """A two-layer GPT-2 without a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities after the last of the vectors x [N,T,W]."""
        t = x.shape[1]
        x = x + self.wpe.weight[:t]
        for layer in self.layers:
            q, k, v = layer.heads(x)
            x = layer.rest(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return (self.norm(x[:, -1]) @ self.wte.weight.T).log_softmax(-1)


class Text(nn.Module):
    """Ids -> embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(VOCAB, DIM), nn.Linear(DIM, DIM)

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != 0).float().unsqueeze(-1)
        return self.out((self.table(ids) * real).sum(1) / real.sum(1).clamp(min=1))


class MaskingText(nn.Module):
    """Ids -> embedding, with a row of attention. The graph knows from the ids what is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(VOCAB, DIM), nn.Linear(DIM, DIM)
        self.query, self.key = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)

    def forward(self, ids: Tensor) -> Tensor:
        x, padding = self.table(ids), ids.eq(0)
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        x = x + scores.masked_fill(padding[:, None], -float("inf")).softmax(-1) @ x
        return self.out(x[:, 0])


# ---- the decoder's graph ---------------------------------------------------------------------------------------------


class GraphBuilder:
    """Collects nodes and constants of a graph; every method returns the name of its output.

    Names are numbered in the order of the calls: another order would give the tests' model other bytes.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.count = 0

    def const(self, value: Any, kind: type | None = None) -> str:
        from onnx import numpy_helper

        array = value.detach().numpy() if torch.is_tensor(value) else np.array(value)
        array = array.astype(kind) if kind else array
        self.count += 1
        self.constants.append(numpy_helper.from_array(array.copy(), f"c{self.count}"))
        return f"c{self.count}"

    def ints(self, *values: int) -> str:
        return self.const(list(values), np.int64)

    def ops(self, kind: str, *inputs: str, out: Sequence[str] = (), n: int = 1, **attributes: Any) -> list[str]:
        """A node with `n` outputs."""
        from onnx import helper

        self.count += 1
        outputs = list(out) or [f"v{self.count}_{i}" for i in range(n)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """A node with one output."""
        return self.ops(kind, *inputs, out=[out] if out else [], **attributes)[0]

    def linear(self, x: str, m: nn.Linear) -> str:
        return self.op("Add", self.op("MatMul", x, self.const(m.weight.T)), self.const(m.bias))

    def norm(self, x: str, m: nn.LayerNorm) -> str:
        return self.op("LayerNormalization", x, self.const(m.weight), self.const(m.bias), epsilon=m.eps)

    def size(self, x: str, axis: int) -> str:
        return self.op("Gather", self.op("Shape", x), self.ints(axis))

    def all_keys(self, kind: str, layer: int, new: str) -> str:
        """Recent and new keys (or values) first, then the settled ones; the mask is wider than both."""
        grown = self.op("Concat", f"recent_{kind}_{layer}", new, axis=2, out=f"{kind}_{layer}")
        return self.op("Concat", grown, f"settled_{kind}_{layer}", axis=2)

    def attention(self, q: str, key: str, value: str, mask: str) -> str:
        """Attention whose scores are as wide as the mask, so that a row's sum does not depend on other rows' keys."""
        keys = self.size(key, 2)
        scaled = self.op("Mul", q, self.const(np.float32(1 / math.sqrt(HEAD_DIM))))
        a = self.op("MatMul", scaled, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        zeros = self.ints(0, 0, 0, 0, 0, 0, 0)
        missing = self.op("Sub", self.size(mask, 3), keys)
        a = self.op("Pad", a, self.op("Concat", zeros, missing, axis=0))
        weights = self.op("Softmax", self.op("Add", a, mask), axis=-1)
        return self.op("MatMul", self.op("Slice", weights, self.ints(0), keys, self.ints(3)), value)

    def gelu(self, f: str) -> str:
        """GELU (tanh form) times two."""
        one, root, factor = (self.const(np.float32(c)) for c in (1, math.sqrt(2 / math.pi), 0.044715))
        cube = self.op("Mul", f, self.op("Mul", f, f))
        inner = self.op("Add", f, self.op("Mul", factor, cube))
        tanh = self.op("Tanh", self.op("Mul", root, inner))
        return self.op("Mul", f, self.op("Add", one, tanh))

    def layer(self, number: int, layer: Layer, x: str, mask: str) -> str:
        """One layer. Attention gathers the vectors into slots, and its output back into rows."""
        qkv = self.op("Gather", self.linear(self.norm(x, layer.n1), layer.qkv), "spread", axis=0)
        qkv = self.op("Reshape", qkv, self.ints(0, 0, 3, HEADS, HEAD_DIM))
        qkv = self.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        split = self.ops("Split", qkv, n=3, axis=0, num_outputs=3)
        q, key, value = [self.op("Squeeze", s, self.ints(0)) for s in split]
        a = self.attention(q, self.all_keys("key", number, key), self.all_keys("value", number, value), mask)
        flat = self.op("Reshape", self.op("Transpose", a, perm=[0, 2, 1, 3]), self.ints(-1, WIDTH))
        x = self.op("Add", x, self.linear(self.op("Gather", flat, "rows", axis=0), layer.proj))
        wide = self.gelu(self.linear(self.norm(x, layer.n2), layer.fc))
        half = self.op("Mul", wide, self.const(np.float32(0.5)))
        return self.op("Add", x, self.linear(half, layer.out))


def decoder_graph(gpt: Gpt) -> bytes:
    """The decoder of the model contract, prefill and step in one graph.

    Built with onnx.helper, because exporters fail on inputs of length zero.
    """
    import onnx
    from onnx import helper

    g = GraphBuilder()
    table = g.const(gpt.wte.weight)
    x = g.op("Concat", "embeds", g.op("Gather", table, "ids"), axis=0)
    x = g.op("Add", x, g.op("Gather", g.const(gpt.wpe.weight), "place"))
    mask = g.op("Unsqueeze", "mask", g.ints(1))
    for i, layer in enumerate(gpt.layers):
        x = g.layer(i, layer, x, mask)
    last = g.norm(g.op("Gather", x, "asked", axis=0), gpt.norm)
    logp = g.op("LogSoftmax", g.op("MatMul", last, g.const(gpt.wte.weight.T)), axis=-1)
    g.nodes.append(helper.make_node("TopK", [logp, "k"], ["top_logprob", "top_id"], axis=-1, largest=1, sorted=1))
    inputs, outputs = decoder_signature()
    graph = helper.make_graph(g.nodes, "decoder", inputs, outputs, g.constants)
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="descry")
    onnx.checker.check_model(model)
    return model.SerializeToString()


def decoder_signature() -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of the decoder's graph."""
    from onnx import TensorProto, helper

    def floats(name: str, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def integers(name: str, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.INT64, shape)

    inputs = [
        floats("embeds", "E", WIDTH),
        integers("ids", "S"),
        integers("place", "N"),
        integers("spread", "B", "T"),
        integers("rows", "N"),
        floats("mask", "B", "T", "M"),
        integers("asked", "A"),
        integers("k", 1),
    ]
    outputs = [floats("top_logprob", "A", "K"), integers("top_id", "A", "K")]
    for i in range(LAYERS):
        for kind in ("key", "value"):
            inputs += [
                floats(f"settled_{kind}_{i}", "B", HEADS, "C", HEAD_DIM),
                floats(f"recent_{kind}_{i}", "B", HEADS, "R", HEAD_DIM),
            ]
            outputs += [floats(f"{kind}_{i}", "B", HEADS, "G", HEAD_DIM)]
    return inputs, outputs


# ---- the folder ------------------------------------------------------------------------------------------------------


def export(module: nn.Module, inputs: Tensor, path: Path, names: tuple[list[str], list[str]]) -> None:
    """Exports a module whose inputs and outputs have these names, with a batch of any size."""
    input_names, output_names = names
    torch.onnx.export(
        module,
        inputs,
        path,
        input_names=input_names,
        output_names=output_names,
        opset_version=18,
        dynamo=False,
        dynamic_axes={name: {0: "N"} for name in input_names + output_names},
    )


def write_tokenizer(path: Path, special: bool) -> None:
    """A tokenizer of words; with `special` it puts <start> and <end> around a text."""
    words = [f"w{i}" for i in range(VOCAB)]
    words[STOP] = "."
    for i, word in enumerate("a the man dog car on of with street tree red blue".split()):
        words[20 + i] = word
    words[0], words[1], words[2] = "<pad>", "<start>", "<end>"
    processor = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<start>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<end>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {s: {"id": s, "ids": [i], "tokens": [s]} for s, i in (("<start>", 1), ("<end>", 2))},
    }
    data: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "decoder": None,
        "post_processor": processor if special else None,
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": "<pad>"},
    }
    path.write_text(json.dumps(data))


def write_word_pieces(path: Path) -> None:
    """A tokenizer in the form of BERT's. Like published ones, its file holds lengths that nobody should use."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = "[PAD] [UNK] [CLS] [SEP] a the man dog car on of with street tree red blue ##s ##ning run cafe ,".split()
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(words[:4])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=TEXT_LENGTH + 4)
    tokenizer.save(str(path))


def write_manifest(out: Path, support: bool) -> None:
    """Writes model.json, which seals the other files."""
    manifest: dict[str, Any] = {
        "format": "descry-model/1",
        "name": "tiny",
        "version": "1.0.0",
        "licence": "MIT OR Apache-2.0",
        "trained_on": "nothing: seeded random weights for tests",
        "description": "says nothing that is true",
        "image": {
            "graph": "image.onnx",
            "size": SIZE,
            "resize": "squash",
            "resample": "bicubic",
            "mean": MEAN,
            "std": STD,
            "embedding_dim": DIM,
            "grid": {"cells": CELLS, "dim": CELL_DIM},
        },
        "mapper": {"graph": "mapper.onnx", "input": "grid", "normalize_prefix": False, "prefix_length": PREFIX},
        "decoder": {
            "graph": "decoder.onnx",
            "layers": LAYERS,
            "heads": HEADS,
            "head_dim": HEAD_DIM,
            "width": WIDTH,
            "vocab": VOCAB,
            "context": CONTEXT,
        },
        "tokenizer": "tokenizer.json",
        "text": {
            "graph": "text.onnx",
            "tokenizer": "text_tokenizer.json",
            "context_length": TEXT_LENGTH,
            "pad_token": 0,
        },
        "decoding": {"stop_tokens": [STOP], "max_tokens": MAX_TOKENS, "beam": 5, "temperature": 1.0},
        "score": {"calibration": CALIBRATION, "default_min_score": 0.0},
        "dedup": {"same": 0.98, "returning": 0.99},
        "files": {
            f.name: {"sha256": hashlib.sha256(f.read_bytes()).hexdigest(), "bytes": f.stat().st_size}
            for f in sorted(out.iterdir())
            if f.name != "model.json"
        },
    }
    if support:
        manifest["mapper"]["support"] = True
        manifest["decoding"]["support"] = {"weight": WEIGHT, "candidates": CANDIDATES}
        manifest["score"]["evidence"] = EVIDENCE
    (out / "model.json").write_text(json.dumps(manifest, indent=1) + "\n")


@torch.no_grad()
def spread_out(tower: Tower, mapper: Mapper, gpt: Gpt) -> None:
    """Scales the weights. Logits of small random weights are near ties, which no two runtimes break alike."""
    for m in (tower, mapper):
        for p in m.parameters():
            p.mul_(2.5)
    for p in gpt.layers.parameters():
        if p.dim() > 1:
            p.mul_(3)
    gpt.wte.weight.mul_(0.8)
    gpt.wte.weight[STOP] *= 3


# ---- golden results --------------------------------------------------------------------------------------------------


def picture(seed: int) -> np.ndarray:
    """A picture that Rust makes from the same seed: an LCG's bytes, SIZE × SIZE × 3."""
    state = (seed * 747796405 + 1) & 0xFFFFFFFF

    def numbers() -> Iterator[int]:
        nonlocal state
        for _ in range(SIZE * SIZE * 3):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            yield state >> 24

    # Noise averages out; a tint keeps the pictures apart.
    noise = np.array(list(numbers()), np.float32).reshape(SIZE, SIZE, 3)
    tint = np.array([(seed * 37) % 256, (seed * 91) % 256, (seed * 151) % 256], np.float32)
    return np.floor((noise + 3 * tint) / 4).astype(np.uint8)


def log_probabilities(gpt: Gpt, context: Tensor, temperature: float) -> Tensor:
    logp = gpt(context)
    return logp if temperature == 1 else (logp / temperature).log_softmax(-1)


@dataclass
class Fusion:
    """Shallow fusion with the support of words [VOCAB]."""

    support: Tensor

    def values(self, logp: Tensor) -> Tensor:
        """What the search compares, from log-probabilities [N,VOCAB]: the candidates' fused values alone."""
        candidates = logp.topk(CANDIDATES).indices
        fused = logp + WEIGHT * self.support
        return torch.full_like(logp, -float("inf")).scatter(1, candidates, fused.gather(1, candidates))


@torch.no_grad()
def beam_search(
    gpt: Gpt, prefix: Tensor, beam: int, temperature: float, fusion: Fusion | None = None
) -> tuple[list[int], float]:
    """The ids of the best caption and its mean log-probability, which leaves the support out."""
    raw = log_probabilities(gpt, prefix, temperature)
    logp = fusion.values(raw) if fusion else raw
    total, first = logp[0].topk(beam)
    own = raw[0, first]
    ids, length, stopped = first[:, None], torch.ones(beam), first.eq(STOP)
    for _ in range(MAX_TOKENS - 1):
        if stopped.all():
            break
        context = torch.cat((prefix.expand(beam, -1, -1), gpt.wte(ids)), 1)
        raw = log_probabilities(gpt, context, temperature)
        logp = fusion.values(raw) if fusion else raw.clone()
        logp[stopped] = -float("inf")
        logp[stopped, 0] = 0
        length = length + (~stopped).float()
        mean, flat = ((total[:, None] + logp) / length[:, None]).view(-1).topk(beam)
        source, token = flat // VOCAB, flat % VOCAB
        own = own[source] + torch.where(stopped[source], 0.0, raw[source, token])
        length, stopped = length[source], stopped[source]
        total = mean * length
        ids = torch.cat((ids[source], token[:, None]), 1)
        stopped = stopped | token.eq(STOP)
    mean = total / length
    best = int(mean.argmax())
    return ids[best, : int(length[best])].tolist(), float(own[best] / length[best] if fusion else mean[best])


@torch.no_grad()
def greedy(gpt: Gpt, prefix: Tensor, fusion: Fusion | None = None) -> tuple[list[int], float]:
    """The ids of the greedy caption and its mean log-probability."""
    ids: list[int] = []
    total = 0.0
    for _ in range(MAX_TOKENS):
        context = torch.cat((prefix, gpt.wte(torch.tensor([ids], dtype=torch.long))), 1)
        logp = gpt(context)
        ids.append(int((fusion.values(logp) if fusion else logp).argmax()))
        total += float(logp[0, ids[-1]])
        if ids[-1] == STOP:
            break
    return ids, total / len(ids)


def tower_input(seed: int) -> Tensor:
    """Pixels [1,3,SIZE,SIZE] of a picture."""
    x = torch.from_numpy(picture(seed).astype(np.float32) / 255)
    return ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]


@torch.no_grad()
def golden_picture(seed: int, tower: Tower, mapper: Mapper, gpt: Gpt) -> dict[str, Any]:
    """Embedding and captions of one picture."""
    embedding, grid = tower(tower_input(seed))
    prefix = mapper(grid)
    found = {f"beam {beam}": beam_search(gpt, prefix, beam, 1.0) for beam in (1, 3, 5, 10)}
    found["beam 5 warm"] = beam_search(gpt, prefix, 5, 0.7)
    found["greedy"] = greedy(gpt, prefix)
    return {
        "seed": seed,
        "embedding": [round(float(v), 6) for v in embedding[0]],
        **{name: {"ids": ids, "mean_logprob": round(mean, 6)} for name, (ids, mean) in found.items()},
    }


@dataclass(frozen=True)
class Rules:
    """Which part of a caption is certain."""

    least: float | None
    open: tuple[int, ...]
    repeats: bool

    def kept(self, ids: Sequence[int], support: Sequence[float]) -> list[int]:
        """What is left of a caption. `support` is that of each word of the vocabulary."""
        words = [token for token in ids if token != STOP]
        content = [token for token in words if support[token] < 0]
        kept: list[int] = []
        for token in words:
            if support[token] < 0:
                if self.least is not None and support[token] < self.least:
                    break
                if not self.repeats and token in kept:
                    break
            kept.append(token)
        while kept and kept[-1] in self.open:
            kept.pop()
        if content and not set(kept) & set(content):
            first = next((token for token in content if token not in self.open), content[0])
            kept = words[: words.index(first) + 1]
        return list(ids) if not kept or kept == words else kept


RULES = {
    "certain": Rules(-0.6, (9, 11, 12, 33), True),
    "complete": Rules(None, (117, 11), True),
    "without repeats": Rules(-1.2, (9, 12, 43, 67), False),
}


@torch.no_grad()
def mean_logprob(gpt: Gpt, prefix: Tensor, ids: list[int], temperature: float) -> float:
    """The mean log-probability of a given caption."""
    words = gpt.wte(torch.tensor([ids]))
    rows = [
        log_probabilities(gpt, torch.cat((prefix, words[:, :n]), 1), temperature)[0, token]
        for n, token in enumerate(ids)
    ]
    return float(torch.stack(rows).mean())


def golden_facts(ids: list[int], mean: float, support: Tensor) -> dict[str, Any]:
    """What is known about a caption."""
    words = [float(support[i]) for i in ids]
    content = [v for v in words if v < 0]
    facts = {
        "mean_logprob": mean,
        "mean_support": sum(content) / max(len(content), 1),
        "least_support": min(content, default=0.0),
    }
    evidence = sum(EVIDENCE[k] * v for k, v in facts.items()) + EVIDENCE["content_words"] * len(content)
    facts["score"] = float(np.interp(evidence, *zip(*CALIBRATION, strict=True)))
    rounded = {k: round(v, 6) for k, v in facts.items()}
    return {"ids": ids, **rounded, "word_support": [round(v, 6) for v in words]}


@torch.no_grad()
def golden_support(seed: int, tower: Tower, mapper: DetectingMapper, gpt: Gpt) -> dict[str, Any]:
    """Captions of one picture, which its support decides, with their support and score."""
    prefix, support = mapper(tower(tower_input(seed))[1])
    fusion = Fusion(support[0])
    found = {f"beam {beam}": beam_search(gpt, prefix, beam, 1.0, fusion) for beam in (1, 3, 5, 12)}
    found["beam 5 warm"] = beam_search(gpt, prefix, 5, 0.7, fusion)
    found["greedy"] = greedy(gpt, prefix, fusion)
    captions = {name: golden_facts(ids, mean, support[0]) for name, (ids, mean) in found.items()}
    for name, (ids, mean) in found.items():
        for rule, rules in RULES.items():
            kept = rules.kept(ids, support[0].tolist())
            temperature = 0.7 if "warm" in name else 1.0
            of_kept = mean if kept == ids else mean_logprob(gpt, prefix, kept, temperature)
            captions[f"{name}, {rule}"] = golden_facts(kept, of_kept, support[0])
    return {"seed": seed, **captions}


@torch.no_grad()
def golden_text(words: str, text: Text, tokenizer: Any) -> list[float]:
    """Embedding of one text."""
    ids = tokenizer.encode(words).ids
    ids = ids if len(ids) <= TEXT_LENGTH else ids[: TEXT_LENGTH - 1] + ids[-1:]
    ids += [0] * (TEXT_LENGTH - len(ids))
    e = text(torch.tensor([ids]))[0]
    return [round(float(v), 6) for v in e / e.norm()]


@torch.no_grad()
def golden_word_pieces(words: str, text: MaskingText, tokenizer: Any) -> list[float]:
    """Embedding of one text, cut and padded by `tokenizers`."""
    tokenizer.enable_truncation(TEXT_LENGTH)
    tokenizer.enable_padding(length=TEXT_LENGTH)
    e = text(torch.tensor([tokenizer.encode(words).ids]))[0]
    return [round(float(v), 6) for v in e / e.norm()]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path, metavar="OUT", help="model folder to write")
    p.add_argument("--golden", type=Path, metavar="FILE", help="file for the golden results")
    p.add_argument("--support", action="store_true", help="give the model a word detector")
    p.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")
    args = p.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    tower, mapper, gpt, text = Tower().eval(), Mapper().eval(), Gpt().eval(), Text().eval()
    spread_out(tower, mapper, gpt)
    export(tower, torch.zeros(2, 3, SIZE, SIZE), out / "image.onnx", (["pixels"], ["embedding", "grid"]))
    detecting = DetectingMapper(mapper).eval()
    outputs = ["prefix", "support"] if args.support else ["prefix"]
    mapping = detecting if args.support else mapper
    export(mapping, torch.zeros(2, CELLS, CELL_DIM), out / "mapper.onnx", (["input"], outputs))
    masking = MaskingText().eval()
    ids = torch.zeros(2, TEXT_LENGTH, dtype=torch.long)
    export(masking if args.support else text, ids, out / "text.onnx", (["ids"], ["embedding"]))
    (out / "decoder.onnx").write_bytes(decoder_graph(gpt))
    write_tokenizer(out / "tokenizer.json", False)
    if args.support:
        write_word_pieces(out / "text_tokenizer.json")
    else:
        write_tokenizer(out / "text_tokenizer.json", True)
    write_manifest(out, args.support)
    if args.golden:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(out / "text_tokenizer.json"))
        lines = ("a dog", "a red car on the street", "A man with a blue tree of the dog on the red street with a car")
        if args.support:
            pictures = [golden_support(seed, tower, detecting, gpt) for seed in range(1, 13)]
            texts = {line: golden_word_pieces(line, masking, tokenizer) for line in (*lines, "Running dogs, CAFÉS", "")}
        else:
            pictures = [golden_picture(seed, tower, mapper, gpt) for seed in range(1, 13)]
            texts = {line: golden_text(line, text, tokenizer) for line in lines}
        golden = {"pictures": pictures, "texts": texts}
        if args.support:
            golden["rules"] = {name: asdict(rules) for name, rules in RULES.items()}
        args.golden.write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
