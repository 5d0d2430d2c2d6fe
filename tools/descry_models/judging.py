"""Judges a model while it is being trained: captions of held-out pictures, as they are and as film frames, and recall.

The figures are close to those that `models.py score` measures through the binary, and need neither it nor Java.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .cider import CiderD
from .film_score import summary
from .lessons import FUNCTION, LIMIT, STOP, Lessons
from .members import STYLES
from .net import beam_search
from .seeing import Model, PictureSource

BATCH = 250
STYLE = STYLES.index("flickr8k")
"""The style of captions that users get."""
RARE, LEAST = -5.0, -15.0
"""Support of a word that too few pictures have for a concept, and the least support."""


class Ensemble:
    """All members as one captioner: the mean of their log-probabilities, as the exported decoder computes it."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def beam(
        self, prefixes: Sequence[Tensor], beam: int, support: Tensor | None = None, weight: float = 0.0
    ) -> list[list[int]]:
        """Captions [B] after the members' prefixes; `support` [B,V] times `weight` is added to log-probabilities."""
        bonus = None if support is None else support * weight
        decoders = [m.decoder for m in self.model.members]
        return [ids for ids, _ in beam_search(decoders, prefixes, beam, LIMIT, STOP, bonus)]


def support_of(logits: Tensor, concepts: Tensor) -> Tensor:
    """Log-probability [B,V] that each word is right: 0 for function words, RARE for words without a concept.

    `logits` [B,K] are those of the concepts, `concepts` [V] the concept of each word.
    """
    # Exported, the logarithm of a sigmoid would be infinite where the sigmoid is rounded to 0.
    known = -F.softplus(-logits.float()).clamp(max=-LEAST)
    rare = torch.full_like(known[:, :1], RARE)
    table = torch.where(concepts == FUNCTION, known.shape[1] + 1, torch.where(concepts < 0, known.shape[1], concepts))
    return torch.cat((known, rare, torch.zeros_like(rare)), 1)[:, table]


class Judge:
    """Held-out pictures and what people say about them."""

    def __init__(self, lessons: Lessons, source: PictureSource) -> None:
        self.lessons, self.source = lessons, source
        self.concepts = torch.tensor(lessons.concepts, device=source.device)

    def stems(self, ids: Sequence[int]) -> set[int]:
        """The stems of the content words."""
        return {self.lessons.stems[t] for t in ids} - {FUNCTION}

    def precision(self, picture: int, ids: Sequence[int]) -> float:
        """Share of the content words that one of the picture's human captions has."""
        theirs = set().union(*(self.stems(r) for r in self.lessons.references(picture)))
        ours = self.stems(ids)
        return len(ours & theirs) / max(1, len(ours))

    @torch.no_grad()
    def captions(
        self, model: Model, pictures: Sequence[int], film: bool, weights: Sequence[float], beam: int = 3
    ) -> list[list[list[int]]]:
        """For each weight of the support, the captions of the pictures (as film frames, or as they are)."""
        model.eval()
        out: list[list[list[int]]] = [[] for _ in weights]
        device = self.source.device
        torch.manual_seed(7)
        for start in range(0, len(pictures), BATCH):
            some = torch.tensor(pictures[start : start + BATCH], device=device)
            with torch.autocast(device.type, torch.bfloat16):
                pixels = self.source.views(some, torch.full((len(some),), film, device=device), varied=False)
                evidence = model.sight(pixels)
                logits = model.sight.concepts(evidence)
                style = torch.full((len(some),), STYLE, device=device)
                prefixes = [model.prefix(n, evidence, logits, style) for n in range(len(model.members))]
                support = support_of(logits, self.concepts)
                for found, weight in zip(out, weights, strict=True):
                    found += Ensemble(model).beam(prefixes, beam, support if weight else None, weight)
        return out

    def judge(self, model: Model, limit: int | None = None, weights: Sequence[float] = (0.0,)) -> list[dict[str, Any]]:
        """For each weight of the support: CIDEr-D on val; precisions on val, and on held-out pictures in both views."""
        lessons = self.lessons
        val = lessons.val[:limit]
        cider = CiderD([lessons.references(i) for i in val])
        results: list[dict[str, Any]] = [{"weight": w} for w in weights]
        for result, captions in zip(results, self.captions(model, val, False, weights), strict=True):
            result["val CIDEr-D"] = round(
                sum(cider.reward(k, [*c, STOP]) for k, c in enumerate(captions)) / len(val), 4
            )
            result["val"] = summary([self.precision(i, c) for i, c in zip(val, captions, strict=True)])
            result["examples"] = [" ".join(lessons.words[t] for t in captions[n]) for n in (0, 7) if n < len(captions)]
        for name in ("coco", "web"):
            held = lessons.held(name)[:limit]
            for film in (False, True):
                every = self.captions(model, held, film, weights)
                for result, captions in zip(results, every, strict=True):
                    scores = [self.precision(i, c) for i, c in zip(held, captions, strict=True)]
                    result[f"{name}{' as film' if film else ''}"] = summary(scores)
                    if film and name == "coco":
                        result["examples"] += [" ".join(lessons.words[t] for t in c) for c in captions[:6]]
        return results

    @torch.no_grad()
    def recall(self, model: Model) -> list[float]:
        """Text to picture recall@1/5/10 over val; each human caption is a query."""
        model.eval()
        lessons, device = self.lessons, self.source.device
        with torch.autocast(device.type, torch.bfloat16):
            images = []
            for start in range(0, len(lessons.val), BATCH):
                some = torch.tensor(lessons.val[start : start + BATCH], device=device)
                pixels = self.source.views(some, torch.zeros(len(some), dtype=torch.bool, device=device), varied=False)
                images.append(model.sight.embedding(model.sight(pixels)).float())
            rows = [r for i in lessons.val for r in range(lessons.starts[i], lessons.starts[i + 1])]
            own = torch.tensor(
                [k for k, i in enumerate(lessons.val) for _ in range(lessons.starts[i], lessons.starts[i + 1])],
                device=device,
            )
            texts = [
                model.sentences(lessons.sentences[rows[k : k + 1000]].to(device).long()).float()
                for k in range(0, len(rows), 1000)
            ]
        similarity = F.normalize(torch.cat(texts), dim=-1) @ F.normalize(torch.cat(images), dim=-1).T
        rank = (similarity > similarity.gather(1, own[:, None])).sum(1)
        return [round(float((rank < k).float().mean()), 4) for k in (1, 5, 10)]
