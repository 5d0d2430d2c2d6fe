"""Pictures and texts that the built-in model learns from, and how they are split.

Three collections have pictures: Flickr8k, a COCO subset, and `web`. A fourth has captions alone. Flickr8k's val and
every tenth picture of the others are never trained on: candidates are chosen on them, and scores calibrated.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .data import Picture, read_pictures, vocabulary

# Of these collections, one picture in so many is held out, beginning with the first.
HELD_OUT, HELD_OUT_OF = 10, ("coco", "web")
# A word must occur this often in all captions together.
LEAST_OCCURRENCES = 5
# `web` names people by a role without an article, where other collections describe them.
ROLES = {
    "person": "a person",
    "actor": "a man",
    "actress": "a woman",
    "politician": "a person",
    "celebrity": "a person",
    "athlete": "an athlete",
    "musician": "a musician",
    "model": "a model",
}
ROLE = re.compile(rf"^(?:{'|'.join(ROLES)})\b")


def plain_style(caption: str) -> str:
    """A caption of `web` in the style of the others: the role that it begins with becomes a description."""
    caption = caption.lower().strip()
    return ROLE.sub(lambda match: ROLES[match.group()], caption)


class Corpus:
    """All pictures in one order, and the vocabulary of the captions that are trained on."""

    def __init__(self, pictures: Sequence[Picture], texts: Sequence[str]) -> None:
        """`texts` are captions without pictures."""
        self.pictures, self.texts = pictures, texts
        self.val = [i for i, p in enumerate(pictures) if p.source == "flickr8k" and p.split == "val"]
        held_out = set(self.val)
        for name in HELD_OUT_OF:
            held_out.update([i for i, p in enumerate(pictures) if p.source == name][::HELD_OUT])
        self.train = [i for i in range(len(pictures)) if i not in held_out]
        captions = [c for i in self.train for c in pictures[i].captions]
        self.table = vocabulary([*captions, *texts], LEAST_OCCURRENCES)
        self.words = list(self.table)


def read_corpus(collections: Iterable[tuple[str, str, str]], texts: Path | None) -> Corpus:
    """Reads (name, captions file, folder of pictures) of each collection, and the captions without pictures."""
    pictures: list[Picture] = []
    for name, captions, images in collections:
        for picture in read_pictures(captions, images, name):
            if name == "web":
                styled = [plain_style(c) for c in picture.captions]
                picture = Picture(picture.image, picture.path, styled, picture.split, name)
            pictures.append(picture)
    return Corpus(pictures, read_texts(texts) if texts else [])


def read_texts(path: Path) -> list[str]:
    """Captions of a .jsonl.gz file with one {"caption": TEXT} per line."""
    with gzip.open(path, "rt") as file:
        return [json.loads(line)["caption"] for line in file]
