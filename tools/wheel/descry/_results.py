"""The functions, and what they return."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Union

from descry._program import SOME_FAILED, DescryError, run

StrPath = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Cue:
    """A description and when it is shown or spoken. Times are in seconds from the start of the film."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line of text on the screen. Times are in seconds from the start of the video."""

    text: str
    start: float
    end: float
    box: tuple[float, float, float, float]
    """Left and top edge, width and height, in shares of the picture."""
    confidence: float
    """How likely it was read correctly, 0 to 1."""
    kind: str
    """How it behaves: `title`, `subtitle`, `static`, `rolling`, `counter` or `scene`."""


@dataclass(frozen=True)
class Moment:
    """A moment of an archive that answers a query. Times are in seconds from the start of its video."""

    rank: int
    """Place among the answers, from 1."""
    score: float
    """What the answers are ordered by."""
    similarity: float | None
    """Cosine of the query and the keyframe; none for a query by words, and for keyframes of another model."""
    words: float | None
    """BM25 of the caption; none where it has none of the words."""
    text: float | None
    """BM25 of the text on the screen; none where it has none of the words."""
    video: str
    """Name of the video in the archive."""
    start: float
    end: float
    keyframe: float
    """Time of the best keyframe."""
    scene: int
    """Number of the scene in the video, from 1."""
    caption: str | None
    """Caption of the best keyframe; none where it has no cue."""
    caption_score: float | None
    """How likely the caption is right, 0 to 1."""
    shown: tuple[Line, ...]
    """The lines on the screen that have words of the query."""
    keyframes: int
    """Number of keyframes in the moment."""
    model: str
    """Name and version of the model."""
    thumbnail: str | None
    """Path of the thumbnail in the archive; none where it has none."""


def describe(path: StrPath, *options: str) -> list[Cue]:
    """Describes a film, or a stream that ends, and returns its cues in order of time.

    `options` are those of `descry describe`, one argument each: `describe("film.mp4", "--mode", "fast")`. A damaged
    film is described as far as it can be, with a `DescryWarning`.

    Raises:
        DescryError: the film cannot be read, an option is wrong, or the model cannot be run.
        FileNotFoundError: the program is not installed.
    """
    arguments = ["describe", "--format", "json", "--output", "-", *options, "--", os.fspath(path)]
    out = run(arguments, partial=True)
    return [Cue(cue["start"], cue["end"], cue["text"]) for cue in json.loads(out)["cues"]]


def search(archive: StrPath, query: str, *options: str, limit: int = 10) -> list[Moment]:
    """Finds moments in an archive that `descry index` made, the best first.

    `options` are those of `descry search`: `search("archive", "red car", "--by", "words")`.

    Raises:
        DescryError: the archive cannot be read, an option is wrong, or the model cannot be run.
        FileNotFoundError: the program is not installed.
    """
    out = run(["search", "--json", "--limit", str(limit), *options, "--", os.fspath(archive), query])
    return [_moment(json.loads(line)) for line in out.splitlines()]


def embed(pictures: Iterable[StrPath], *options: str) -> list[list[float]]:
    """The embeddings of pictures, in order. They have length 1: the dot product of two is their similarity.

    Raises:
        DescryError: a picture cannot be read, an option is wrong, or the model cannot be run.
        FileNotFoundError: the program is not installed.
    """
    paths = [os.fspath(picture) for picture in pictures]
    if not paths:
        return []
    return _embeddings(run(["embed", *options, "--", *paths]), len(paths), "pictures")


def embed_texts(texts: Sequence[str], *options: str) -> list[list[float]]:
    """The embeddings of texts, in order, in the space of the pictures' embeddings.

    Raises:
        ValueError: a text is empty or has several lines.
        DescryError: an option is wrong, or the model has no text tower or cannot be run.
        FileNotFoundError: the program is not installed.
    """
    for text in texts:
        if not text.strip() or len(text.splitlines()) != 1:
            raise ValueError(f"a text must be one line: {text!r}")
    if not texts:
        return []
    out = run(["embed", "--text", *options], "".join(f"{text}\n" for text in texts))
    return _embeddings(out, len(texts), "texts")


def _embeddings(out: bytes, count: int, what: str) -> list[list[float]]:
    rows: list[list[float]] = [json.loads(line)["embedding"] for line in out.splitlines()]
    if len(rows) != count:
        raise DescryError(
            f"of {count} {what}, {len(rows)} embeddings came: give single {what}, no folders", SOME_FAILED
        )
    return rows


def _moment(value: dict[str, Any]) -> Moment:
    shown = tuple(Line(**{**line, "box": tuple(line["box"])}) for line in value["shown"])
    fields = {name: value[name] for name in Moment.__dataclass_fields__ if name != "shown"}
    return Moment(**fields, shown=shown)
