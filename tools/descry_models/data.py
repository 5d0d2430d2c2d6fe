"""Captions, the pictures that they belong to, and the vocabulary."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")
END, UNKNOWN = "<end>", "<unk>"


@dataclass(frozen=True)
class Picture:
    """A picture with the captions that people wrote for it."""

    image: str
    """Name of the file, as in the captions file."""
    path: str
    captions: list[str]
    split: str
    source: str = ""
    """The collection that it comes from."""


def words(caption: str) -> list[str]:
    """Splits a caption into lower-case words."""
    return WORD.findall(caption.lower())


def vocabulary(captions: Iterable[str], at_least: int = 4) -> dict[str, int]:
    """Maps each word that occurs at least this often to its id: <end> (0), <unk> (1), then by falling frequency."""
    counts = Counter(w for c in captions for w in words(c))
    frequent = sorted((w for w, n in counts.items() if n >= at_least), key=lambda w: (-counts[w], w))
    return {w: i for i, w in enumerate([END, UNKNOWN, *frequent])}


def read_pictures(captions: str | Path, images: str | Path, source: str = "") -> list[Picture]:
    """Reads a captions file and finds its pictures anywhere under the folder `images`."""
    files = {p.name: p for p in Path(images).rglob("*") if p.is_file()}
    pictures = []
    for line in Path(captions).read_text().splitlines():
        row = json.loads(line)
        name = row["image"]
        if name not in files:
            raise SystemExit(f"{captions}: {name} is not under {images}")
        pictures.append(Picture(name, str(files[name]), row["captions"], row["split"], source))
    return pictures
