"""The second stage: the classifier's tower, the heads and the captioners learn from pictures together, end to end.

Every step shows a batch of different pictures, some as they are, most as film frames. The losses of three tasks are
added: the words of captions (for each member), concepts, and the embedding against texts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .film_views import enlarged, film_views, plain_views
from .lessons import STORED, Lessons
from .members import STYLES, Member
from .optim import Ema, adam, groups, set_rate
from .progress import Batches, Progress, clip
from .sentences import SentenceTower
from .speech import trimmed, word_loss
from .vision import SIZE, Sight

FILM = 0.6
"""Share of film-like views."""
LEAST_AREA = 0.75
"""Half of the other views are crops of this share of a picture, or more."""
CAPTIONS = 2
"""Captions of a picture in one step."""
# The pictures of this collection have one caption each, filtered by a machine: its words count half, and that it lacks
# a concept says little.
LOOSE, LOOSE_WORDS, LOOSE_ABSENT = STYLES.index("web"), 0.5, 0.3
CONCEPT_WEIGHT, EMBEDDING_WEIGHT = 0.03, 0.25
WARM = 150
DECAY = 0.998


class Model(nn.Module):
    """Everything that is trained."""

    def __init__(self, sight: Sight, members: list[Member], sentences: SentenceTower) -> None:
        super().__init__()
        self.sight, self.members, self.sentences = sight, nn.ModuleList(members), sentences
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def prefix(self, number: int, evidence: Tensor, logits: Tensor, style: Tensor) -> Tensor:
        """The prefix of one member. Concepts get no gradient through it."""
        return self.members[number].member_mapper(evidence, logits.detach().float().sigmoid(), style)


@dataclass(frozen=True)
class Rates:
    """Highest learning rates."""

    tower: float = 2.5e-4
    heads: float = 8e-4
    decoder: float = 5e-4
    sentences: float = 5e-5


class PictureSource:
    """Views of the pictures on the device."""

    def __init__(self, pictures: Tensor, lessons: Lessons, device: torch.device) -> None:
        self.pictures = pictures.to(device)
        self.aspect, self.mirrors = lessons.aspect.to(device), lessons.mirrors.to(device)
        self.device = device

    @torch.no_grad()
    def views(self, some: Tensor, film: Tensor, varied: bool = True) -> Tensor:
        """Towers' input of pictures `some` [B], as film frames where `film` [B] says so; others as they are.

        If they are to be `varied`, pictures are mirrored and slightly cropped at random.
        """
        x = self.pictures[some].float() / 255
        mirrored = self.mirrors[some] & (torch.rand(len(some), device=self.device) < 0.5) & varied
        out = torch.empty_like(x)
        for kind in (True, False):
            rows = (film == kind).nonzero()[:, 0]
            if len(rows) and kind:
                out[rows] = film_views(x[rows], self.aspect[some[rows]], mirrored[rows], STORED)
            elif len(rows):
                out[rows] = plain_views(x[rows], mirrored[rows], STORED, LEAST_AREA if varied else 1.0)
        return enlarged(out, SIZE).contiguous(memory_format=torch.channels_last)


class Seeing:
    """The training loop."""

    def __init__(self, model: Model, lessons: Lessons, source: PictureSource, rates: Rates = Rates()) -> None:
        self.model, self.lessons, self.source = model, lessons, source
        self.device = source.device
        self.style = lessons.source.to(self.device).long()
        self.present = lessons.present(self.device)
        self.starts = torch.tensor(lessons.starts, device=self.device)
        self.captions = lessons.captions.to(self.device).long()
        self.sentences = lessons.sentences.to(self.device).long()
        self.ema = Ema(model, DECAY)
        sight, members = model.sight, model.members
        heads = nn.ModuleList([sight.evidence, sight.concepts, sight.embedding, *[m.member_mapper for m in members]])
        parts = groups(sight.towers.classifier, rates.tower, 0.02) + groups(model.sentences, rates.sentences, 0.02)
        parts += groups(heads, rates.heads, 0.05)
        parts += groups(nn.ModuleList([m.decoder for m in members]), rates.decoder, 0.05)
        parts.append({"params": [model.scale], "weight_decay": 0.0, "peak": 1e-3})
        self.optimiser = adam(parts)

    def run(self, epochs: float, batch: int, seed: int, folder: Path) -> None:
        """Trains the model, and leaves it with the averages of its weights."""
        model, train = self.model, self.lessons.train("flickr8k", "coco", "web")
        batches = Batches(train, batch, seed, self.device)
        progress = Progress("seeing", max(1, int(epochs * len(batches))), seed, folder)
        progress.watch(self.ema, self.optimiser, model=model)
        parts = [model.sight.towers.classifier, model.sentences, model.sight.evidence, *model.members]
        model.train()
        for step in progress.steps():
            set_rate(self.optimiser, step, progress.total, WARM)
            losses = self.losses(batches.at(step))
            self.optimiser.zero_grad()
            losses.sum().backward()
            clip(parts)
            self.optimiser.step()
            self.ema.update()
            progress.note(step, losses)
        self.ema.swap()

    def chosen_captions(self, some: Tensor) -> Tensor:
        """Rows [B,C] of CAPTIONS random captions of each picture, different ones where there are enough."""
        count = self.starts[some + 1] - self.starts[some]
        first = (torch.rand(len(some), device=self.device) * count).long()
        step = 1 + (torch.rand(len(some), device=self.device) * (count - 1).clamp_min(1)).long()
        return self.starts[some][:, None] + torch.stack((first, (first + step) % count), 1)

    def losses(self, some: Tensor) -> Tensor:
        """[3] the losses of words, of concepts and of the embedding, weighted."""
        model = self.model
        pixels = self.source.views(some, torch.rand(len(some), device=self.device) < FILM)
        style, loose = self.style[some], self.style[some] == LOOSE
        rows = self.chosen_captions(some)
        with torch.autocast(self.device.type, torch.bfloat16):
            evidence = model.sight(pixels)
            logits = model.sight.concepts(evidence).float()
            ids = trimmed(self.captions[rows])
            weight = torch.where(loose, LOOSE_WORDS, 1.0)
            words = torch.stack(
                [
                    word_loss(member, model.prefix(n, evidence, logits, style), ids, weight)
                    for n, member in enumerate(model.members)
                ]
            ).sum()
            image = F.normalize(model.sight.embedding(evidence).float(), dim=-1)
            text = F.normalize(model.sentences(self.sentences[rows].flatten(0, 1)).float(), dim=-1)
        present = self.present[some].float()
        absent = torch.where(loose, LOOSE_ABSENT, 1.0)[:, None]
        concepts = F.binary_cross_entropy_with_logits(
            logits, present, torch.where(present > 0, 1.0, absent), reduction="none"
        )
        return torch.stack(
            (
                words,
                CONCEPT_WEIGHT * concepts.sum(1).mean(),
                EMBEDDING_WEIGHT * self.contrast(image, text.unflatten(0, rows.shape)),
            )
        )

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        """InfoNCE in both directions: images [B,D], texts [B,C,D]."""
        truth = torch.arange(len(image), device=self.device)
        scale = self.model.scale.exp().clamp_max(50)
        loss = torch.zeros((), device=self.device)
        for c in range(text.shape[1]):
            logits = scale * image @ text[:, c].T
            loss = loss + F.cross_entropy(logits, truth, label_smoothing=0.05)
            loss = loss + F.cross_entropy(logits.T, truth, label_smoothing=0.05)
        return loss
