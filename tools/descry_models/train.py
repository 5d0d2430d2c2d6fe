"""Trains the built-in captioner on cached features.

The stages: cross-entropy, fine-tuning of the tower, self-critical training, and contrastive training of the embedding.

A `Trainer` holds the pictures and their features. Each of its methods is one stage, writes its best checkpoint to a
file, and judges on the first JUDGED pictures of Flickr8k's val.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .cider import CiderD
from .data import Picture, vocabulary, words
from .features import Features, Grids, TunedGrids, random_boxes
from .measure import plain_cider
from .net import Captioner, ImageHead, Shape, TextTower
from .optim import Average, adam, groups, set_rate

LIMIT = 22  # words of a caption, and the most that sampling draws
JUDGED = 500
PADDING = -100
STOP, UNKNOWN = 0, 1
SMOOTHING = 0.1


@contextlib.contextmanager
def mixed_precision() -> Iterator[None]:
    """Computes in bfloat16 where that is safe, and attention as plain products."""
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield


def encode(caption: str, table: dict[str, int]) -> list[int]:
    """Ids of a caption's words and the end token."""
    return [*[table.get(w, UNKNOWN) for w in words(caption)][:LIMIT], STOP]


def padded(sets: Sequence[Sequence[list[int]]]) -> Tensor:
    """The captions of each picture as ids [B,C,T], filled with PADDING."""
    longest = max(len(ids) for captions in sets for ids in captions)
    out = torch.full((len(sets), len(sets[0]), longest), PADDING)
    for a, captions in enumerate(sets):
        for b, ids in enumerate(captions):
            out[a, b, : len(ids)] = torch.tensor(ids)
    return out


def targets(ids: Tensor) -> Tensor:
    """What cross-entropy compares with: an unknown word teaches nothing."""
    return torch.where(ids.eq(UNKNOWN), PADDING, ids)


def caption_pictures(
    model: Captioner, features: Grids, some: Sequence[int], words_by_id: Sequence[str], beam: int = 3, batch: int = 50
) -> dict[int, str]:
    """Beam captions of pictures, by picture."""
    model.eval()
    captions = {}
    for start in range(0, len(some), batch):
        chosen = some[start : start + batch]
        with torch.autocast("cpu", torch.bfloat16):
            found = model.beam(features.get(chosen, [0] * len(chosen)), beam, LIMIT, STOP)
        for i, (ids, _) in zip(chosen, found, strict=True):
            captions[i] = " ".join(words_by_id[t] for t in ids)
    return captions


class Trainer:
    """The pictures to train on and to judge on, their captions as ids, and their features."""

    def __init__(self, pictures: Sequence[Picture], features: Features, seed: int = 0) -> None:
        self.seed(seed)
        self.pictures, self.features = pictures, features
        self.val = [i for i, p in enumerate(pictures) if p.source == "flickr8k" and p.split == "val"]
        held_out = set(self.val)
        self.train = [i for i in range(len(pictures)) if i not in held_out]
        # The reward is computed on the collection that val is from: its captions have the style that val is judged by.
        home = {pictures[i].source for i in self.val}
        self.home = [i for i in self.train if pictures[i].source in home]
        self.table = vocabulary(c for i in self.train for c in pictures[i].captions)
        self.words = list(self.table)
        self.ids = {i: [encode(c, self.table) for c in pictures[i].captions] for i in self.train}

    def seed(self, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    # ---- batches ------------------------------------------------------------------------------------------------

    def batches(self, size: int, pictures: Sequence[int] | None = None) -> list[list[int]]:
        """Pictures of an epoch in random order, `size` at a time; a last batch of less than half is dropped."""
        order = list(pictures or self.train)
        random.shuffle(order)
        return [order[k : k + size] for k in range(0, len(order) - size // 2, size)]

    def captions(self, some: Sequence[int], per: int) -> Tensor:
        """Ids [B, per, T] with PADDING after the end; a picture with fewer captions repeats some."""
        chosen = [
            random.sample(self.ids[i], per) if len(self.ids[i]) >= per else random.choices(self.ids[i], k=per)
            for i in some
        ]
        return padded(chosen)

    def views(self, some: Sequence[int]) -> list[int]:
        """A random view of each picture: as it is (weight 0.4), mirrored (0.3), or one of the crops."""
        n = len(self.features.views)
        weights = [0.4, 0.3, *[0.3 / max(1, n - 2)] * (n - 2)][:n]
        return random.choices(range(n), weights, k=len(some))

    def pairs(self, size: int) -> list[list[tuple[int, list[int]]]]:
        """Batches of (picture, caption) pairs; every caption occurs once in an epoch.

        The pictures of a batch are drawn at random: with several captions of one picture in a batch, the model would
        learn the picture by heart instead of its contents. Within eight batches, captions of similar length go
        together, because padding costs time.
        """
        pairs = [(i, ids) for i in self.train for ids in self.ids[i]]
        random.shuffle(pairs)
        out = []
        for start in range(0, len(pairs) // size * size, size * 8):
            block = sorted(pairs[start : start + size * 8], key=lambda pair: len(pair[1]))
            out += [block[j : j + size] for j in range(0, len(block) // size * size, size)]
        random.shuffle(out)
        return out

    # ---- judging ------------------------------------------------------------------------------------------------

    def cider(self, model: Captioner, features: Grids | None = None) -> tuple[float, dict[int, str]]:
        """CIDEr of the captions of the first JUDGED val pictures, and the captions."""
        captions = caption_pictures(model, features or self.features, self.val[:JUDGED], self.words)
        return plain_cider(self.pictures, captions), captions

    def examples(self, captions: dict[int, str], *numbers: int) -> str:
        return " | ".join(captions[self.val[n]] for n in numbers)

    @torch.no_grad()
    def recall(self, image: ImageHead, text: TextTower) -> list[float]:
        """Text to picture recall@1/5/10 over all val pictures; each human caption is a query."""
        embeddings = F.normalize(image(self.features.get(self.val, [0] * len(self.val))), dim=-1)
        queries = [(k, encode(c, self.table)) for k, i in enumerate(self.val) for c in self.pictures[i].captions]
        ids = torch.zeros(len(queries), LIMIT + 1, dtype=torch.long)
        for row, (_, query) in zip(ids, queries, strict=True):
            row[: len(query)] = torch.tensor(query)
        similarity = F.normalize(text(ids), dim=-1) @ embeddings.T
        own = similarity.gather(1, torch.tensor([k for k, _ in queries])[:, None])
        rank = (similarity > own).sum(1)
        return [round(float((rank < k).float().mean()), 4) for k in (1, 5, 10)]

    # ---- stages -------------------------------------------------------------------------------------------------

    def standardise(self, mapper: nn.Module) -> None:
        """Sets the mapper's mean and deviation of channels, from the cells of 2,000 training pictures as they are."""
        some = random.Random(0).sample(self.train, min(2000, len(self.train)))
        cells = self.features.get(some, [0] * len(some)).flatten(0, 1)
        mapper.mean.copy_(cells.mean(0))
        mapper.deviation.copy_(cells.std(0) + 1e-3)

    def cross_entropy(self, shape: Shape, out: Path, epochs: int, peak: float = 1e-3, size: int = 128) -> None:
        """A captioner from scratch on the captions of all collections."""
        model = Captioner(shape)
        self.standardise(model.mapper)
        average, optimiser = Average(model, 0.999), adam(model, peak)
        step, total, best = 0, epochs * (sum(map(len, self.ids.values())) // size), 0.0
        for epoch in range(epochs):
            started, losses, batches = time.time(), 0.0, self.pairs(size)
            model.train()
            for pairs in batches:
                set_rate(optimiser, step, total, 200)
                some = [i for i, _ in pairs]
                ids = padded([[caption] for _, caption in pairs])
                grid = self.features.get(some, self.views(some))
                loss = caption_loss(model, grid, ids)
                optimiser.zero_grad()
                with mixed_precision():
                    loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                average.update(model)
                step, losses = step + 1, losses + loss.item()
                if step % 100 == 0:
                    print(f"xe {step}/{total} loss {loss.item():.3f} {time.time() - started:.0f}s", flush=True)
            score, captions = self.cider(average.model)
            print(
                f"xe {epoch + 1}/{epochs} loss {losses / len(batches):.3f} cider@500 {score:.4f} "
                f"{time.time() - started:.0f}s | {self.examples(captions, 0, 7)}",
                flush=True,
            )
            if score > best:
                best = score
                save(out, average.model, self.words, score)

    def fine_tune(self, model: Captioner, tail: nn.Module, maps: Features, out: Path, epochs: int) -> None:
        """Continues cross-entropy, and trains the tower's tail too: captions are not about ImageNet's classes.

        The tail's batch norms keep their statistics; it sees random boxes of the cached maps. On Flickr8k's val CIDEr
        rose from 0.538 to 0.555, and half of that for decoders that were not trained with it.
        """
        size, per = 96, 2
        both = nn.ModuleList([tail, model])
        average = Average(both, 0.99)
        judged = TunedGrids(maps, average.model[0])
        optimiser = torch.optim.AdamW(groups(model, 3e-4, 0.05) + groups(tail, 1e-4, 0.01), betas=(0.9, 0.98))
        step, total, best = 0, epochs * len(self.batches(size)), 0.0
        for epoch in range(epochs):
            started, losses, batches = time.time(), 0.0, self.batches(size)
            model.train()
            for some in batches:
                set_rate(optimiser, step, total, 60)
                for half in (some[::2], some[1::2]):  # the tail's intermediate values take much memory
                    ids = self.captions(half, per)
                    grid = tail(random_boxes(maps.get(half, self.views(half))))
                    loss = caption_loss(model, grid, ids) / 2
                    loss.backward()
                    losses += loss.item()
                for part in (model, tail):
                    torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
                average.update(both)
                step += 1
            score, captions = self.cider(average.model[1], judged)
            print(
                f"tune {epoch + 1}/{epochs} loss {losses / len(batches):.3f} cider@500 {score:.4f} "
                f"{time.time() - started:.0f}s | {self.examples(captions, 0, 7)}",
                flush=True,
            )
            if score > best:
                best = score
                save(out, average.model[1], self.words, score, tail=average.model[0].state_dict())

    def self_critical(self, model: Captioner, out: Path, epochs: int, peak: float = 1e-4, size: int = 48) -> None:
        """Self-critical training (Rennie et al. 2017); the baseline is the mean reward of the picture's other samples.

        It trains on the pictures of the collection that val is from: its words and its five captions per picture make
        the reward. With the other collection too, many of whose pictures have one caption, CIDEr on val ended 0.02
        lower.
        """
        reward = CiderD([self.ids[i] for i in self.home])
        place = {i: k for k, i in enumerate(self.home)}
        average, optimiser = Average(model, 0.99), adam(model, peak, 0.01)
        step, total = 0, epochs * len(self.batches(size, self.home))
        best, _ = self.cider(model)
        print(f"sc from {best:.4f}", flush=True)
        save(out, model, self.words, best)
        started, rewards, n = time.time(), 0.0, 0
        for _ in range(epochs):
            for some in self.batches(size, self.home):
                set_rate(optimiser, step, total, 50)
                loss, mean_reward = self.self_critical_loss(model, some, reward, place)
                optimiser.zero_grad()
                with mixed_precision():
                    loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                average.update(model)
                step, rewards, n = step + 1, rewards + mean_reward, n + 1
                if step % 20 == 0:
                    print(f"sc {step}/{total} reward {rewards / n:.3f} {time.time() - started:.0f}s", flush=True)
                if step % 150 == 0 or step == total:
                    score, captions = self.cider(average.model)
                    print(
                        f"sc {step}/{total} reward {rewards / n:.3f} cider@500 {score:.4f} "
                        f"{time.time() - started:.0f}s | {self.examples(captions, 0, 7, 11)}",
                        flush=True,
                    )
                    rewards, n = 0.0, 0
                    if score > best:
                        best = score
                        save(out, average.model, self.words, score)

    def self_critical_loss(
        self, model: Captioner, some: list[int], reward: CiderD, place: dict[int, int]
    ) -> tuple[Tensor, float]:
        """The loss of one batch and the mean reward of its samples; `place` maps pictures to the reward's.

        The policy is the softmax at `temperature`, in sampling and in the gradient alike. Label smoothing leaves a
        tenth of the probability on words that beam search never chooses; at 1.0 the samples would teach little but
        that.
        """
        samples, mix, temperature = 5, 0.05, 0.7
        grid = self.features.get(some, self.views(some))
        sampler = copy.deepcopy(model).eval().bfloat16()
        drawn = sampler.sample(grid.bfloat16(), samples, LIMIT, STOP, temperature)
        ended = drawn.eq(STOP).cumsum(2)
        keep = (ended - drawn.eq(STOP).long()).eq(0)  # up to the first end token, which counts
        drawn = drawn[:, :, : int(keep.sum(2).max())]
        keep = keep[:, :, : drawn.shape[2]]
        rewards = torch.zeros(drawn.shape[:2])
        for a, i in enumerate(some):
            for b in range(samples):
                rewards[a, b] = reward.reward(place[i], drawn[a, b][keep[a, b]].tolist())
        advantage = (rewards - rewards.mean(1, keepdim=True)) * samples / (samples - 1)
        advantage = advantage / (advantage.std() + 1e-6)
        model.train()
        human = self.captions(some, 1)
        target = targets(human)
        known = target.ne(PADDING)
        with mixed_precision():
            sampled_hidden, human_hidden = model.teach(grid, drawn, human)
            logp = (model.decoder.logits(sampled_hidden[keep]).float() / temperature).log_softmax(-1)
            logp = logp.gather(1, drawn[keep][:, None])[:, 0]
            policy = -(advantage[..., None].expand_as(keep)[keep] * logp).mean()
            logits = model.decoder.logits(human_hidden[known]).float()
            loss = policy + mix * F.cross_entropy(logits, target[known], label_smoothing=SMOOTHING)
        return loss, rewards.mean().item()

    def contrastive(self, shape: Shape, out: Path, epochs: int, peak: float = 1e-3, size: int = 256) -> None:
        """Image head and text tower against one another (InfoNCE with a learnt temperature, as CLIP)."""
        both = nn.ModuleList([ImageHead(shape), TextTower(shape)])
        scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        average, optimiser = Average(both, 0.99), adam(both, peak, 0.1)
        optimiser.add_param_group({"params": [scale], "weight_decay": 0, "peak": peak})
        step, total, best = 0, epochs * len(self.batches(size)), 0.0
        for epoch in range(epochs):
            started, loss = time.time(), torch.zeros(())
            both.train()
            for some in self.batches(size):
                set_rate(optimiser, step, total, 60)
                loss = self.contrastive_loss(both, scale, some)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                average.update(both)
                step += 1
            recall = self.recall(*average.model)
            seconds = time.time() - started
            print(f"con {epoch + 1}/{epochs} loss {loss.item():.3f} r@1/5/10 {recall} {seconds:.0f}s", flush=True)
            if recall[2] > best:
                best = recall[2]
                state = {"image": average.model[0].state_dict(), "text": average.model[1].state_dict()}
                torch.save({"shape": shape.as_dict(), **state, "recall": recall}, out)

    def contrastive_loss(self, both: nn.ModuleList, scale: Tensor, some: list[int]) -> Tensor:
        """InfoNCE in both directions, over two captions of each picture."""
        image, text = both
        per = 2
        ids = self.captions(some, per).clamp_min(0)
        views = self.views(some)
        with torch.autocast("cpu", torch.bfloat16):
            images = F.normalize(image(self.features.get(some, views)).float(), dim=-1)
            texts = F.normalize(text(ids.flatten(0, 1)).float(), dim=-1).view(len(some), per, -1)
        loss = torch.zeros(())
        truth = torch.arange(len(some))
        for c in range(per):
            logits = scale.exp().clamp_max(50) * images @ texts[:, c].T
            loss = loss + F.cross_entropy(logits, truth, label_smoothing=0.05)
            loss = loss + F.cross_entropy(logits.T, truth, label_smoothing=0.05)
        return loss


def caption_loss(model: Captioner, grid: Tensor, ids: Tensor) -> Tensor:
    """Cross-entropy of captions [B,C,T], in bfloat16 where that is safe."""
    target = targets(ids)
    keep = target.ne(PADDING)
    with mixed_precision():
        (hidden,) = model.teach(grid, ids)
        logits = model.decoder.logits(hidden[keep])
        return F.cross_entropy(logits.float(), target[keep], label_smoothing=SMOOTHING)


def save(path: Path, model: Captioner, words_by_id: list[str], score: float, **more: Any) -> None:
    """Writes a checkpoint: shape, weights, words, CIDEr and whatever else the stage has."""
    torch.save(
        {
            "shape": model.shape.as_dict(),
            "model": model.state_dict(),
            "words": words_by_id,
            "cider": float(score),
            **more,
        },
        path,
    )


def load(path: Path) -> Captioner:
    """The captioner of a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    model = Captioner(Shape(**checkpoint["shape"]))
    model.load_state_dict(checkpoint["model"])
    return model.eval()
