"""The recipe of the built-in model: from two collections of captions to a sealed model folder.

Each stage writes one file into the work folder. A stage whose file exists is not run again, and its result does not
depend on whether the stages before it ran just now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from .cache import cache_grids, cache_maps
from .convs import round_tower
from .data import read_pictures
from .export import BuiltinParts, export_builtin
from .features import Features
from .net import ImageHead, Shape, TextTower
from .tower import Tower
from .train import Trainer, load

FACTS = {
    "name": "descry-builtin",
    "version": "0.5.0",
    "licence": "MIT OR Apache-2.0; image tower weights Apache-2.0; trained on research data, see README.md",
    "trained_on": "Flickr8k train and a COCO subset (captions), ImageNet (image tower)",
    "description": "A small captioner of everyday scenes",
    # Cosines between views of one picture and between different pictures: see the model's README.
    "dedup": {"same": 0.90, "returning": 0.94},
}

# Photographs that show the ranges of the tower's activations, and what rounding costs.
ROUND_ON = 800


@dataclass(frozen=True)
class BuiltinOptions:
    """What `train-builtin` needs. `flickr8k` and `coco` are a captions file and the folder of its pictures."""

    flickr8k: Sequence[str]
    coco: Sequence[str]
    work: Path
    out: Path
    views: int = 4
    epochs: int = 9
    tune_epochs: int = 7
    members: int = 2
    scst_epochs: int = 8
    contrastive_epochs: int = 6
    seed: int = 0


class Stages:
    """Runs the stages whose files are missing."""

    def __init__(self, trainer: Trainer, work: Path, seed: int) -> None:
        self.trainer, self.work, self.seed = trainer, work, seed

    def run(self, name: str, seed: int, train: Callable[[Path], None]) -> Path:
        """The file of a stage; `train` writes it."""
        path, part = self.work / name, self.work / (name + ".part")
        if not path.exists():
            started = time.time()
            self.trainer.seed(self.seed + seed)
            train(part)
            if not part.exists():
                raise SystemExit(f"{name}: no epoch scored above 0; see the figures above")
            part.rename(path)
            print(f"{name}: {(time.time() - started) / 60:.1f} minutes", flush=True)
        return path


def train_builtin(o: BuiltinOptions) -> None:
    """Runs all stages and exports the model folder."""
    pictures = [
        picture
        for source, (captions, images) in (("flickr8k", o.flickr8k), ("coco", o.coco))
        for picture in read_pictures(captions, images, source)
    ]
    cache_maps(pictures, o.work, o.views)
    cache_grids(o.work, o.work / "plain", Tower().tail)
    trainer = Trainer(pictures, Features(o.work / "plain"))
    shape = Shape(vocab=len(trainer.words))
    stages = Stages(trainer, o.work, o.seed)

    def cross_entropy(out: Path) -> None:
        trainer.cross_entropy(shape, out, o.epochs)

    def self_critical(start: Path, out: Path) -> None:
        trainer.self_critical(load(start), out, o.scst_epochs)

    first = stages.run("xe.pt", 0, cross_entropy)
    maps = Features(o.work, "maps")
    tuned = stages.run(
        "tower.pt", 1, lambda out: trainer.fine_tune(load(first), Tower().tail, maps, out, o.tune_epochs)
    )
    tower = Tower(torch.load(tuned, weights_only=True)["tail"])
    cache_grids(o.work, o.work / "tuned", tower.tail)
    trainer.features = Features(o.work / "tuned")
    embedding = stages.run("embedding.pt", 2, lambda out: trainer.contrastive(shape, out, o.contrastive_epochs))
    members = []
    for n in range(o.members):
        # The first member continues from the decoder that the tower was tuned with. The others start from scratch: the
        # more the members differ, the better.
        start = tuned if n == 0 else stages.run(f"xe-{n}.pt", 10 + n, cross_entropy)
        scst = partial(self_critical, start)
        members.append(load(stages.run(f"scst-{n}.pt", 20 + n, scst)))
    state = torch.load(embedding, weights_only=True)
    image, text = ImageHead(shape), TextTower(shape)
    image.load_state_dict(state["image"])
    text.load_state_dict(state["text"])
    export_builtin(o.out, BuiltinParts(shape, members, trainer.words, tower, image, text), FACTS)
    round_folder(o.out, [p.path for p in pictures if p.source == "flickr8k" and p.split == "train"])


def round_folder(folder: Path, photographs: Sequence[str]) -> None:
    """Rounds the image tower of a folder in place and prints the cost."""
    some = photographs[:: max(1, len(photographs) // ROUND_ON)]
    mean, least = round_tower(folder, some)
    print(f"image tower in int8: mean cosine {mean:.4f}, least {least:.4f}, on {len(some) // 2} photographs")
