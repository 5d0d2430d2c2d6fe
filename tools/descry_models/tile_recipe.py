"""The recipe of the tile captioner: caches, pre-training of the decoder, training on pictures, judging.

Every stage can be interrupted and resumes. Finished stages are not run again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .corpus import Corpus, read_corpus
from .pretrain import pretrain
from .resampler import TileCaptioner, TileMapper, TileShape
from .tile_train import TileFeatures, TileRun, new_captioner
from .tiles import TileTower, ViewCache

STAGES = ["cache", "pretrain", "train"]


@dataclass(frozen=True)
class TileOptions:
    """What `train-tiles` needs."""

    collection: Sequence[Sequence[str]]
    """(name, captions file, folder of pictures) each; the caches keep their order."""
    tower: Path
    """Model folder whose image and text tower are used."""
    work: Path
    texts: Path | None = None
    views: Sequence[str] = ("plain", "film-a")
    stages: Sequence[str] = tuple(STAGES)
    epochs: float = 6.0
    text_epochs: float = 1.0
    width: int = 384
    layers: int = 4
    name: str = "tiles"
    """Name of the run, so that several fit into one work folder."""
    scratch: bool = False
    """Start with a new decoder instead of the pre-trained one."""
    threads: int = 1


def shape_of(o: TileOptions, corpus: Corpus) -> TileShape:
    """Shape of the captioner. Less dropout than the built-in model's: there is more data."""
    heads = o.width // 64
    shape = TileShape(vocab=len(corpus.words), width=o.width, layers=o.layers, heads=heads, context=48)
    return replace(shape, drop=0.2, drop_light=0.1, drop_features=0.2)


def train_tiles(o: TileOptions) -> None:
    """Runs the stages and prints how the captioner is judged."""
    torch.set_num_threads(o.threads)
    collections = [(name, captions, images) for name, captions, images in o.collection]
    corpus = read_corpus(collections, o.texts)
    print(
        f"to train on: {len(corpus.train)} pictures, {len(corpus.captions)} captions of them, {len(corpus.texts)} "
        f"captions without pictures; {len(corpus.words)} words; held out: {len(corpus.val)} pictures of val, "
        f"{len(corpus.web_held_out)} of web",
        flush=True,
    )
    folder = o.work / "tiles"
    if "cache" in o.stages:
        tower = TileTower(o.tower, o.threads)
        for view in o.views:
            ViewCache(folder, view).write([p.path for p in corpus.pictures], tower)
    shape = shape_of(o, corpus)
    if "pretrain" in o.stages:
        # The text stage needs no dropout of features, and less of everything: no text is seen often.
        pretrain(corpus, replace(shape, drop=0.1), o.tower, o.work, o.text_epochs)
    if "train" in o.stages:
        pretrained = None if o.scratch else o.work / "pretrained.pt"
        torch.manual_seed(0)
        run = TileRun(corpus, TileFeatures(folder, o.views), o.work, o.name)
        path = run.train(new_captioner(shape, pretrained), o.epochs, {"scratch": o.scratch, "views": list(o.views)})
        model = load_tiles(path)
        print(json.dumps({"run": o.name, "all of val": True, **run.judge(model)}), flush=True)


def load_tiles(path: Path) -> TileCaptioner:
    """The captioner of a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    shape = TileShape(**checkpoint["shape"])
    model = TileCaptioner(shape, TileMapper(shape))
    model.load_state_dict(checkpoint["model"])
    return model.eval()


def caption_folder(o: TileOptions, checkpoint: Path, images: Path) -> None:
    """Captions every JPEG of a folder and prints JSON lines, as `descry caption --json` does."""
    from PIL import Image

    torch.set_num_threads(o.threads)
    state = torch.load(checkpoint, weights_only=True)
    model, tower = load_tiles(checkpoint), TileTower(o.tower, o.threads)
    for path in sorted(images.glob("*.jpg")):
        with Image.open(path) as picture:
            grid, _ = tower.encode([picture.convert("RGB")])
        ((ids, mean),) = model.beam(torch.from_numpy(grid), 5, 22, 0)
        text = " ".join(state["words"][t] for t in ids)
        print(json.dumps({"image": str(path), "text": text, "mean_logprob": round(mean, 4), "said": True}))
