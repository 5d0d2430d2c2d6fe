"""Trains the tile captioner on cached views: the mapper from scratch, the decoder from its pre-training.

Candidates are judged on Flickr8k's val (CIDEr) and on the held-out part of `web` (content-word precision), plain and as
film frames. Film frames themselves are never used here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .corpus import Corpus
from .film_score import caption_precision
from .measure import plain_cider
from .net import Captioner
from .pretrain import text_loss
from .resampler import TileCaptioner, TileMapper, TileShape
from .runs import Run, length_batches
from .tiles import ViewCache
from .train import LIMIT, STOP, padded

BATCH, PEAK, WARM = 64, 5e-4, 200
BEAM = 3


class TileFeatures:
    """Cached grids of views, memory-mapped. A view that is not finished yet counts for the pictures that it has."""

    def __init__(self, folder: Path, views: Sequence[str]) -> None:
        caches = [ViewCache(folder, view) for view in views]
        self.rows = [cache.rows for cache in caches]
        self.grids = [cache.open()[0] for cache in caches]

    def random_views(self, pictures: Sequence[int], rng: random.Random) -> list[int]:
        """A random view of each picture, among those that are cached."""
        return [rng.choice([v for v, rows in enumerate(self.rows) if i < rows]) for i in pictures]

    def get(self, pictures: Sequence[int], views: Sequence[int]) -> Tensor:
        rows = [self.grids[v][i] for i, v in zip(pictures, views, strict=True)]
        return torch.from_numpy(np.stack(rows).astype(np.float32))


def standardise(mapper: TileMapper, features: TileFeatures, pictures: Sequence[int]) -> None:
    """Sets mean and deviation of the channels from some training pictures as they are."""
    some = random.Random(0).sample(list(pictures), min(1000, len(pictures)))
    cells = features.get(some, [0] * len(some)).flatten(0, 1)
    mapper.mean.copy_(cells.mean(0))
    mapper.deviation.copy_(cells.std(0) + 1e-3)


def new_captioner(shape: TileShape, pretrained: Path | None) -> TileCaptioner:
    """A captioner with a new mapper; the decoder comes from the checkpoint, if there is one."""
    model = TileCaptioner(shape, TileMapper(shape))
    if pretrained:
        state = torch.load(pretrained, weights_only=True)["model"]
        decoder = {k.removeprefix("decoder."): v for k, v in state.items() if k.startswith("decoder.")}
        model.decoder.load_state_dict(decoder)
    return model


class TileRun:
    """Training on pictures."""

    def __init__(self, corpus: Corpus, features: TileFeatures, work: Path, name: str) -> None:
        self.corpus, self.features, self.work, self.name = corpus, features, work, name
        cached = features.rows[0]
        self.pairs = [pair for pair in corpus.pairs() if pair[0] < cached]

    def train(self, model: TileCaptioner, epochs: float, about: dict[str, Any]) -> Path:
        """Trains and writes the averaged weights. `about` identifies the run beside its shape."""
        out = self.work / f"{self.name}.pt"
        lengths = [len(ids) for _, ids in self.pairs]
        per_epoch = len(length_batches(lengths, BATCH, "0"))
        total = int(epochs * per_epoch)
        standardise(model.mapper, self.features, sorted({i for i, _ in self.pairs}))
        key = json.dumps({"shape": model.shape.as_dict(), "pairs": len(lengths), "total": total, **about})
        run = Run(model, self.work / f"{self.name}.state.pt", key, total, PEAK)
        run.resume()
        while run.step < total:
            epoch, done = divmod(run.step, per_epoch)
            model.train()
            for chosen in length_batches(lengths, BATCH, f"{self.name} {epoch}")[done:]:
                pictures = [self.pairs[j][0] for j in chosen]
                views = self.features.random_views(pictures, random.Random(f"{self.name} {run.step}"))
                ids = padded([[self.pairs[j][1]] for j in chosen])
                run.update(text_loss(model, self.features.get(pictures, views), ids), WARM)
                if run.step == total:
                    break
            print(json.dumps({"run": self.name, "epoch": epoch + 1, **self.judge(run.average.model, 300)}), flush=True)
        state = {"shape": model.shape.as_dict(), "model": run.average.model.state_dict(), "words": self.corpus.words}
        torch.save(state, out)
        return out

    def captions(self, model: Captioner, pictures: Sequence[int], view: int = 0, beam: int = BEAM) -> dict[int, str]:
        """Beam captions of one view of pictures."""
        model.eval()
        captions = {}
        for start in range(0, len(pictures), 25):
            some = pictures[start : start + 25]
            with torch.autocast("cpu", torch.bfloat16):
                found = model.beam(self.features.get(some, [view] * len(some)), beam, LIMIT, STOP)
            for i, (ids, _) in zip(some, found, strict=True):
                captions[i] = " ".join(self.corpus.words[t] for t in ids)
        return captions

    def judge(self, model: Captioner, limit: int | None = None) -> dict[str, Any]:
        """CIDEr on val, and content-word precision on the held-out part of `web` in every view that is cached."""
        pictures = self.corpus.pictures
        result: dict[str, Any] = {}
        val = self.corpus.val[:limit]
        captions = self.captions(model, val)
        result["val CIDEr"] = round(plain_cider(pictures, captions), 4)
        result["val precision"] = round(mean_precision(pictures, captions), 4)
        result["example"] = captions[val[0]]
        for view, rows in enumerate(self.features.rows):
            held_out = [i for i in self.corpus.web_held_out if i < rows][:limit]
            if held_out:
                captions = self.captions(model, held_out, view)
                result[f"web precision, view {view}"] = round(mean_precision(pictures, captions), 4)
        return result


def mean_precision(pictures: Sequence[Any], captions: dict[int, str]) -> float:
    """Mean share of a caption's content words that its references have."""
    return float(np.mean([caption_precision(c, pictures[i].captions) for i, c in captions.items()]))
