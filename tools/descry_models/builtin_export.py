"""Writes the trained built-in model as a model folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convs import fold_constants
from .endings import open_words
from .export import batched, decoder_spec, finish, seal, word_tokenizer, write_decoder, write_graph
from .judging import STYLE, support_of
from .lessons import FUNCTION, LIMIT, Lessons
from .members import Member
from .sentences import LENGTH, SentenceTower
from .vision import SIDE, SIZE, ConceptHead, Sight


class SightGraph(nn.Module):
    """Pixels [N,3,SIZE,SIZE] -> embedding [N,D] and the evidence as a grid [N,G,E]."""

    def __init__(self, sight: Sight) -> None:
        super().__init__()
        self.sight = sight

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        evidence = self.sight(pixels)
        return self.sight.embedding(evidence), evidence


# Concepts are padded to a multiple of this. ONNX Runtime computes a function of many values at once, and that of the
# remainder in another way: without padding, the last digits would depend on a picture's place in its batch.
TOGETHER = 64
# Words that say how much of something there is. A picture can show what follows them, but not them.
QUANTITIES = frozenset("group lot lots pair couple bunch".split())


class MappersGraph(nn.Module):
    """Evidence [N,G,E] -> the members' prefixes side by side [N,P,W], and the support of each word [N,V]."""

    def __init__(self, concepts: ConceptHead, members: Sequence[Member], lessons: Lessons) -> None:
        super().__init__()
        count = lessons.count
        padding = -count % TOGETHER
        self.concepts = padded_concepts(concepts, padding)
        self.mappers = nn.ModuleList([copy.deepcopy(m.member_mapper) for m in members])
        for mapper in self.mappers:
            told = mapper.told.linear
            told.weight = nn.Parameter(F.pad(told.weight, (0, padding)))
        of_word = [FUNCTION if w in QUANTITIES else c for w, c in zip(lessons.words, lessons.concepts, strict=True)]
        self.register_buffer("of_word", torch.tensor(of_word))

    def forward(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.concepts(evidence)
        style = torch.full_like(evidence[:, 0, 0], STYLE).long()
        prefixes = [mapper(evidence, logits.sigmoid(), style) for mapper in self.mappers]
        return torch.cat(prefixes, 2), support_of(logits, self.of_word)


def padded_concepts(head: ConceptHead, padding: int) -> ConceptHead:
    """A copy of the head with `padding` more concepts, which no picture has."""
    head = copy.deepcopy(head)
    for layer, nothing in ((head.cells, 0.0), (head.whole, -30.0)):
        layer.weight = nn.Parameter(F.pad(layer.weight, (0, 0, 0, padding)))
        layer.bias = nn.Parameter(F.pad(layer.bias, (0, padding), value=nothing))
    return head


@dataclass
class Trained:
    """The trained parts."""

    sight: Sight
    members: Sequence[Member]
    sentences: SentenceTower
    lessons: Lessons
    sentence_tokenizer: str
    """tokenizer.json of the text tower."""


def export_builtin(out: Path, parts: Trained, facts: Mapping[str, Any]) -> None:
    """Writes the model folder. `facts` are the manifest's texts (name, version, …), `support` and `dedup`."""
    out.mkdir(parents=True, exist_ok=True)
    cells, evidence = SIDE * SIDE, parts.sight.s.evidence
    write_image(parts.sight, out / "image.onnx")
    write_graph(
        MappersGraph(parts.sight.concepts, parts.members, parts.lessons),
        (torch.zeros(2, cells, evidence),),
        out / "mapper.onnx",
        (["input"], ["prefix", "support"]),
        batched("input", "prefix", "support"),
        "int8",
    )
    ids = torch.ones(2, LENGTH, dtype=torch.long)
    names = (["ids"], ["embedding"])
    write_graph(parts.sentences, (ids,), out / "text.onnx", names, batched("ids", "embedding"), "int8-stored")
    shape = parts.members[0].shape
    write_decoder([m.decoder for m in parts.members], shape, out / "decoder.onnx", "int8")
    word_tokenizer(parts.lessons.words).save(str(out / "tokenizer.json"))
    (out / "text_tokenizer.json").write_text(parts.sentence_tokenizer)
    seal(out, manifest(parts, shape.prefix, facts))


def write_image(sight: Sight, path: Path) -> None:
    """Writes the image tower, whose convolutions pad by themselves."""
    names = (["pixels"], ["embedding", "grid"])
    pixels = torch.zeros(2, 3, SIZE, SIZE)
    write_graph(SightGraph(sight), (pixels,), path, names, batched("pixels", "embedding", "grid"), "fp32")
    fold_constants(path, path)
    finish(path, "fp16")


def manifest(parts: Trained, prefix: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """model.json without its `files`. `prefix` is the number of prefix vectors."""
    support = {**facts["support"], "open": open_words(parts.lessons)}
    decoding = {"stop_tokens": [0], "max_tokens": LIMIT, "beam": 3, "temperature": 1.0, "support": support}
    written = {
        "format": "descry-model/1",
        **{k: facts[k] for k in ("name", "version", "licence", "trained_on", "description")},
        "image": {
            "graph": "image.onnx",
            "size": SIZE,
            "resize": "squash",
            "resample": "bicubic",
            "mean": [127 / 255] * 3,
            "std": [128 / 255] * 3,
            "embedding_dim": parts.sight.s.embedding,
            "grid": {"cells": SIDE * SIDE, "dim": parts.sight.s.evidence},
        },
        "mapper": {
            "graph": "mapper.onnx",
            "input": "grid",
            "normalize_prefix": False,
            "prefix_length": prefix,
            "support": True,
        },
        "decoder": decoder_spec(parts.members[0].shape, len(parts.members)),
        "tokenizer": "tokenizer.json",
        "text": {
            "graph": "text.onnx",
            "tokenizer": "text_tokenizer.json",
            "context_length": LENGTH,
            "pad_token": 0,
        },
        "decoding": decoding,
    }
    written.update({k: facts[k] for k in ("score", "dedup") if facts.get(k)})
    return written
