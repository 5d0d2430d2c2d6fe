"""The third stage: self-critical training of the members (Rennie et al. 2017) towards captions like people's, and true.

The reward is CIDEr-D, plus a little for every content word that one of the picture's human captions has, minus a
little for every one that none has. That part counts more where a picture looks like a film frame: there the model is
less sure, and a general caption is better than a wrong one. The baseline is the mean reward of the picture's other
samples.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .cider import CiderD
from .judging import STYLE
from .lessons import FUNCTION, LIMIT, STOP, Lessons
from .optim import Ema, adam, groups, set_rate
from .progress import Batches, Progress, clip
from .seeing import Model, PictureSource
from .speech import trimmed, word_loss

SAMPLES, TEMPERATURE, HUMAN = 5, 0.7, 0.05


@dataclass(frozen=True)
class Truth:
    """What a content word is worth: `weight` × (1 − `bar`) if it is right, −`weight` × `bar` if not."""

    weight: float
    bar: float


@dataclass(frozen=True)
class Round:
    """One round of self-critical training. The second asks for more truth than the first."""

    steps: int
    peak: float
    film: tuple[bool, ...]
    """The views to draw from: film-like ones (true), or the pictures as they are."""
    plain_truth: Truth
    film_truth: Truth


ROUNDS = (
    Round(400, 1e-4, (False, True, True) * 2, Truth(0.08, 0.65), Truth(0.30, 0.72)),
    Round(225, 7e-5, (False, True, True), Truth(0.15, 0.68), Truth(0.70, 0.76)),
)
BATCH, WARM, DECAY = 192, 20, 0.99


class Reward:
    """Rewards of captions of fixed pictures."""

    def __init__(self, lessons: Lessons, pictures: Sequence[int]) -> None:
        self.place = {i: k for k, i in enumerate(pictures)}
        self.cider = CiderD([lessons.references(i) for i in pictures])
        self.stem = lessons.stems
        self.known = [{self.stem[t] for r in lessons.references(i) for t in r} - {FUNCTION} for i in pictures]

    def reward(self, picture: int, truth: Truth, ids: Sequence[int]) -> float:
        """The reward of a caption `ids` without what follows its end token."""
        k = self.place[picture]
        ours = {self.stem[t] for t in ids} - {FUNCTION}
        right = len(ours & self.known[k])
        worth = truth.weight * (right * (1 - truth.bar) - (len(ours) - right) * truth.bar)
        return self.cider.reward(k, ids) + worth


SHARED: Reward | None = None


def rewards_of(jobs: Sequence[tuple[int, Truth, list[int]]]) -> list[float]:
    """Runs in a worker."""
    if SHARED is None:
        raise RuntimeError("workers start after the reward is set")
    return [SHARED.reward(*job) for job in jobs]


class RewardPool:
    """Worker processes that share one `Reward`. They must start before the first GPU call."""

    def __init__(self, reward: Reward, workers: int) -> None:
        global SHARED  # forked workers inherit it
        SHARED = reward
        self.workers = workers
        self.pool = multiprocessing.get_context("fork").Pool(workers) if workers > 1 else None

    def __call__(self, jobs: list[tuple[int, Truth, list[int]]]) -> list[float]:
        """The rewards of jobs: a picture, what words are worth, and a caption each."""
        if self.pool is None:
            return rewards_of(jobs)
        size = -(-len(jobs) // self.workers)
        parts = [jobs[k : k + size] for k in range(0, len(jobs), size)]
        return [value for part in self.pool.map(rewards_of, parts) for value in part]


class Views:
    """Evidence and concepts of several views of the pictures, computed once, because the sight no longer changes."""

    def __init__(
        self, model: Model, source: PictureSource, pictures: Sequence[int], film: Sequence[bool], batch: int = 256
    ) -> None:
        model.eval()
        device = source.device
        self.evidence, self.logits = [], []
        for kind in film:
            evidence, logits = [], []
            for start in range(0, len(pictures), batch):
                some = torch.tensor(pictures[start : start + batch], device=device)
                with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                    seen = model.sight(source.views(some, torch.full((len(some),), kind, device=device)))
                    evidence.append(seen.bfloat16())
                    logits.append(model.sight.concepts(seen).bfloat16())
            self.evidence.append(torch.cat(evidence))
            self.logits.append(torch.cat(logits))


class SelfCritical:
    """The training loop."""

    def __init__(self, model: Model, lessons: Lessons, pictures: Sequence[int], views: Views, pool: RewardPool) -> None:
        self.model, self.lessons, self.pictures, self.views, self.pool = model, lessons, list(pictures), views, pool
        self.device = views.evidence[0].device
        self.captions = lessons.captions.to(self.device).long()
        self.starts = torch.tensor(lessons.starts, device=self.device)

    def run(self, name: str, plan: Round, seed: int, folder: Path) -> None:
        """Trains all members, and leaves them with the averages of their weights."""
        members = list(self.model.members)
        optimisers = [adam(groups(m, plan.peak, 0.01)) for m in members]
        ema = Ema(self.model.members, DECAY)
        batches = Batches(range(len(self.pictures)), BATCH, seed, torch.device("cpu"))
        progress = Progress(name, plan.steps, seed, folder)
        progress.watch(ema, *optimisers, members=self.model.members)
        for step in progress.steps():
            some, rewards = batches.at(step), []
            view = int(torch.randint(len(plan.film), ()))
            truth = plan.film_truth if plan.film[view] else plan.plain_truth
            for number, optimiser in enumerate(optimisers):
                set_rate(optimiser, step, plan.steps, WARM)
                loss, reward = self.loss(number, some, view, truth)
                optimiser.zero_grad()
                loss.backward()
                clip([members[number]])
                optimiser.step()
                rewards.append(reward)
            ema.update()
            progress.note(step, torch.tensor(rewards))
        ema.swap()

    def loss(self, number: int, some: Tensor, view: int, truth: Truth) -> tuple[Tensor, float]:
        """The loss of one member on one view of pictures `some` [B] (places in `pictures`), and the mean reward."""
        member = self.model.members[number]
        pictures = [self.pictures[k] for k in some.tolist()]
        place = some.to(self.device)
        evidence, logits = self.views.evidence[view][place], self.views.logits[view][place]
        style = torch.full((len(place),), STYLE, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            member.eval()
            with torch.no_grad():
                drawn = member.sample(
                    self.model.prefix(number, evidence, logits, style), SAMPLES, LIMIT, STOP, TEMPERATURE
                )
            ended = drawn.eq(STOP).cumsum(2)
            keep = (ended - drawn.eq(STOP).long()).eq(0)  # up to the first end token, which counts
            longest = int(keep.sum(2).max())
            drawn, keep = drawn[:, :, :longest], keep[:, :, :longest]
            rewards = self.rewards(pictures, truth, drawn, keep)
            advantage = (rewards - rewards.mean(1, keepdim=True)) * SAMPLES / (SAMPLES - 1)
            advantage = advantage / (advantage.std() + 1e-6)
            member.train()
            prefix = self.model.prefix(number, evidence, logits, style)
            (hidden,) = member.teach(prefix, drawn)
            logp = (member.decoder.logits(hidden[keep]).float() / TEMPERATURE).log_softmax(-1)
            logp = logp.gather(1, drawn[keep][:, None])[:, 0]
            policy = -(advantage[..., None].expand_as(keep)[keep] * logp).mean()
            own = torch.tensor(pictures, device=self.device)
            count = self.starts[own + 1] - self.starts[own]
            rows = self.starts[own] + (torch.rand(len(own), device=self.device) * count).long()
            human = word_loss(member, prefix, trimmed(self.captions[rows])[:, None])
        return policy + HUMAN * human, float(rewards.mean())

    def rewards(self, pictures: Sequence[int], truth: Truth, drawn: Tensor, keep: Tensor) -> Tensor:
        """Rewards [B,C] of captions `drawn` [B,C,T], of which the tokens `keep` [B,C,T] count."""
        lengths, ids = keep.sum(2).tolist(), drawn.tolist()
        jobs = [
            (picture, truth, row[:length])
            for picture, rows, counts in zip(pictures, ids, lengths, strict=True)
            for row, length in zip(rows, counts, strict=True)
        ]
        return torch.tensor(self.pool(jobs), device=self.device).view(drawn.shape[:2])
