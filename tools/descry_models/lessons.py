"""What the built-in model learns from, as arrays: pictures, captions as ids, concepts, and texts without pictures.

`prepare` reads the collections once and writes everything into one folder, which is all that training needs: it can be
taken to another machine.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .bars import without_bars
from .corpus import Corpus
from .data import words
from .film_score import FUNCTION_WORDS, stem
from .mapping import save_atomically
from .members import STYLES

LIMIT = 22
"""Words of a caption, and the most that is drawn or searched."""
STOP, UNKNOWN, PADDING = 0, 1, -100
STORED = 288
"""Longest side of a stored picture, and both sides of a squashed one, in pixels."""
QUALITY = 66
"""Quality of the stored WebP, from 0 to 100."""
# A stem must occur with this many pictures to become a concept.
LEAST_PICTURES = 15
SIDES = re.compile(r"\b(left|right)\b")
FUNCTION, NO_CONCEPT = -1, -2
"""In place of a concept: the word says nothing about a picture; too few pictures have the word."""


@dataclass
class Lessons:
    """N pictures, C captions of them, T texts, V words, K concepts."""

    words: list[str]
    stems: list[int]
    """[V] the stem of each word, numbered; FUNCTION for words that do not count."""
    concepts: list[int]
    """[V] the concept of each word, or FUNCTION, or NO_CONCEPT. Concepts are frequent stems."""
    source: Tensor
    """[N] the collection of each picture, as its place in STYLES."""
    held_out: Tensor
    """[N] pictures that are never trained on."""
    val: list[int]
    """Pictures of Flickr8k's val, on which candidates are chosen."""
    aspect: Tensor
    """[N] width over height."""
    mirrors: Tensor
    """[N] whether no caption says left or right."""
    starts: list[int]
    """[N+1] captions of picture n: starts[n] to starts[n+1]."""
    captions: Tensor
    """[C, LIMIT + 1] ids, PADDING behind the end."""
    sentences: Tensor
    """[C, LENGTH] ids of the text tower, 0 behind the end."""
    texts: Tensor
    """[T, LIMIT + 1] ids."""

    @property
    def count(self) -> int:
        """Number of concepts."""
        return max(self.concepts) + 1

    def train(self, *styles: str) -> list[int]:
        """Pictures to train on, of these collections."""
        return self.pictures(styles, held_out=False)

    def held(self, style: str) -> list[int]:
        """Held-out pictures of a collection."""
        return self.pictures([style], held_out=True)

    def pictures(self, styles: Sequence[str], held_out: bool) -> list[int]:
        """Pictures of some collections: the held-out ones, or the others."""
        wanted = torch.tensor([STYLES.index(s) for s in styles])
        return (torch.isin(self.source, wanted) & (self.held_out == held_out)).nonzero()[:, 0].tolist()

    def present(self, device: torch.device) -> Tensor:
        """[N,K] whether one of the picture's captions has the concept."""
        table = torch.tensor(self.concepts, device=device)
        ids = self.captions.to(device).long()
        of_word = torch.where(ids < 0, FUNCTION, table[ids.clamp_min(0)])
        counts = torch.tensor(self.starts, device=device).diff()
        picture = torch.arange(len(counts), device=device).repeat_interleave(counts)
        out = torch.zeros(len(counts), self.count, dtype=torch.bool, device=device)
        rows = picture[:, None].expand_as(of_word)[of_word >= 0]
        out[rows, of_word[of_word >= 0]] = True
        return out

    def references(self, picture: int) -> list[list[int]]:
        """The ids of a picture's captions, end token included."""
        rows = self.captions[self.starts[picture] : self.starts[picture + 1]].tolist()
        return [[i for i in row if i != PADDING] for row in rows]


def as_rows(captions: Sequence[str], table: dict[str, int]) -> Tensor:
    """Captions as int16 ids [N, LIMIT + 1]: at most LIMIT words, STOP, then PADDING. `table` gives the id of a word."""
    out = torch.full((len(captions), LIMIT + 1), PADDING, dtype=torch.int16)
    for row, caption in zip(out, captions, strict=True):
        ids = [*[table.get(w, UNKNOWN) for w in words(caption)][:LIMIT], STOP]
        row[: len(ids)] = torch.tensor(ids, dtype=torch.int16)
    return out


def concepts_of(corpus: Corpus) -> tuple[list[int], list[int]]:
    """The stem and the concept of each word, as in `Lessons`."""
    of_word = [FUNCTION if w in FUNCTION_WORDS or n <= UNKNOWN else stem(w) for n, w in enumerate(corpus.words)]
    names = {s: n for n, s in enumerate(dict.fromkeys(s for s in of_word if s != FUNCTION))}
    stems = [FUNCTION if s == FUNCTION else names[s] for s in of_word]
    pictures: Counter[int] = Counter()
    for i in corpus.train:
        ids = {corpus.table[w] for c in corpus.pictures[i].captions for w in words(c) if w in corpus.table}
        pictures.update({stems[t] for t in ids} - {FUNCTION})
    frequent = {s: n for n, (s, count) in enumerate(pictures.most_common()) if count >= LEAST_PICTURES}
    return stems, [FUNCTION if s == FUNCTION else frequent.get(s, NO_CONCEPT) for s in stems]


def stored(path: str) -> tuple[bytes, float]:
    """A picture without black bars as WebP, its longer side at most STORED pixels, and its aspect ratio."""
    with Image.open(path) as opened:
        picture = without_bars(opened.convert("RGB"))
    width, height = picture.size
    if (share := STORED / max(width, height)) < 1:
        smaller = max(1, round(width * share)), max(1, round(height * share))
        picture = picture.resize(smaller, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY)
    return out.getvalue(), width / height


def squashed(data: bytes) -> np.ndarray:
    """A stored picture, squashed: uint8 [3,STORED,STORED]."""
    picture = Image.open(io.BytesIO(data)).convert("RGB").resize((STORED, STORED), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def prepare(corpus: Corpus, sentence_tokenizer: Any, out: Path, workers: int = 2) -> None:
    """Writes pictures.pt, and then lessons.pt: where that is, both are complete."""
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        packed = list(pool.map(stored, [p.path for p in corpus.pictures], chunksize=32))
    captions = [c for p in corpus.pictures for c in p.captions]
    stems, concepts = concepts_of(corpus)
    held_out = set(range(len(corpus.pictures))) - set(corpus.train)
    sentences = [e.ids for e in sentence_tokenizer.encode_batch([c.lower() for c in captions])]
    lessons = Lessons(
        words=corpus.words,
        stems=stems,
        concepts=concepts,
        source=torch.tensor([STYLES.index(p.source) for p in corpus.pictures], dtype=torch.int8),
        held_out=torch.tensor([i in held_out for i in range(len(corpus.pictures))]),
        val=corpus.val,
        aspect=torch.tensor([aspect for _, aspect in packed]),
        mirrors=torch.tensor([not any(SIDES.search(c.lower()) for c in p.captions) for p in corpus.pictures]),
        starts=np.cumsum([0, *[len(p.captions) for p in corpus.pictures]]).tolist(),
        captions=as_rows(captions, corpus.table),
        sentences=torch.tensor(sentences, dtype=torch.int16),
        texts=as_rows(corpus.texts, corpus.table),
    )
    joined = np.frombuffer(b"".join(data for data, _ in packed), np.uint8)
    ends = np.cumsum([len(data) for data, _ in packed]).tolist()
    save_atomically({"data": torch.from_numpy(joined.copy()), "ends": ends}, out / "pictures.pt")
    save_atomically(vars(lessons), out / "lessons.pt")


def read_lessons(folder: Path) -> Lessons:
    """Reads what `prepare` wrote."""
    return Lessons(**torch.load(folder / "lessons.pt", weights_only=True))


def read_pictures(folder: Path, workers: int) -> Tensor:
    """All pictures, squashed: uint8 [N,3,STORED,STORED]."""
    file = torch.load(folder / "pictures.pt", weights_only=True)
    data, ends = file["data"].numpy().tobytes(), [0, *file["ends"]]
    packed = [data[start:end] for start, end in pairwise(ends)]
    with ProcessPoolExecutor(workers) as pool:
        return torch.from_numpy(np.stack(list(pool.map(squashed, packed, chunksize=64))))
