"""The cosines that dedup's thresholds rest on: of changed photographs, and of frames of films.

Frames of one shot show nothing new, so many of them should reach `same`. Frames of different shots mostly show
something else: those of two shots in a row should stay below `same`, and those of any two shots below `returning`. A
few shots of a film do return, so the highest cosines are not all errors. A long film has more shots to confuse than a
few short ones, so `returning` must hold among the photographs as well.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .data import Picture
from .measure import Binary, JudgeOptions, paths_of

# The two frames of a pair are so far apart, and so far from the cuts around them, in seconds.
APART, MARGIN = 1.5, 0.25
# Pairs of one shot at most, spread over it.
PAIRS_PER_SHOT = 4
# At most this share of what differs may reach a threshold.
MOST_ALIKE = 0.02

Change = Callable[[Image.Image, random.Random], Image.Image]


def quantiles(values: np.ndarray, *which: str) -> dict[str, float]:
    return {q: round(float(np.quantile(values, float(q))), 3) for q in which}


def counted(values: np.ndarray, *which: str) -> dict[str, float]:
    """Quantiles with the number of values, which can be small for films."""
    return {"count": len(values), **(quantiles(values, *which) if len(values) else {})}


# ---- photographs -----------------------------------------------------------------------------------------------------


def mirrored(image: Image.Image, _: random.Random) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def cropped(image: Image.Image, rng: random.Random) -> Image.Image:
    """A random crop of 0.85 of each side."""
    width, height = image.size
    crop_width, crop_height = int(width * 0.85), int(height * 0.85)
    x, y = rng.randint(0, width - crop_width), rng.randint(0, height - crop_height)
    return image.crop((x, y, x + crop_width, y + crop_height))


def photographs(binary: Binary, pictures: Sequence[Picture]) -> tuple[dict[str, Any], np.ndarray]:
    """Quantiles for views of one picture and for different pictures, and each picture's cosine with the nearest one."""
    rng, result = random.Random(0), {}
    plain = binary.embeddings(paths_of(pictures))
    changes: tuple[tuple[str, Change], ...] = (("mirrored", mirrored), ("cropped to 0.72 of the area", cropped))
    with tempfile.TemporaryDirectory() as folder:
        for name, change in changes:
            views = []
            for i, picture in enumerate(pictures):
                path = Path(folder) / f"{i}.png"
                change(Image.open(picture.path).convert("RGB"), rng).save(path, compress_level=1)
                views.append(str(path))
            result[name] = quantiles((plain * binary.embeddings(views)).sum(1), "0.01", "0.1", "0.5")
    cosines = plain @ plain.T
    np.fill_diagonal(cosines, -1)
    result["different pictures, a pair"] = quantiles(cosines, "0.5", "0.99", "0.9999")
    result["different pictures, the nearest"] = quantiles(cosines.max(1), "0.5", "0.9", "0.99")
    return result, cosines.max(1)


# ---- films -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shot:
    """The embeddings of frames of one shot: the two of each pair, in order."""

    film: str
    first: np.ndarray
    second: np.ndarray


def shot_times(binary: Binary, film: Path) -> list[list[float]]:
    """The times of the first frame of each pair, for each shot that is long enough."""
    # One scene per shot: no keyframes in between, and no two scenes joined because they look alike.
    args = ("--format", "json", "--output", "-", "--no-dedup", "--greedy", "--max-gap", "9:00:00")
    scenes = json.loads(binary.output("describe", str(film), *args))["scenes"]
    times = []
    for scene in scenes:
        begin, end = scene["start"] + MARGIN, scene["end"] - MARGIN - APART
        if begin <= end and not scene["blank"]:
            pairs = min(PAIRS_PER_SHOT, 1 + int((end - begin) / APART))
            times.append([round(float(t), 3) for t in np.linspace(begin, end, pairs)])
    return times


def write_frame(film: Path, seconds: float, path: Path) -> None:
    """Decodes the frame that is shown at this time."""
    command = ["ffmpeg", "-v", "error", "-y", "-ss", f"{seconds:.3f}", "-i", str(film), "-frames:v", "1", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise SystemExit("ffmpeg is missing, which takes the frames of the films: install it") from None
    if done.returncode or not path.exists():
        raise SystemExit(f"{film}: no frame at {seconds} s\n{done.stderr}")


def shots_of(binary: Binary, film: Path) -> list[Shot]:
    times = shot_times(binary, film)
    if not times:
        return []
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, seconds in enumerate(t for shot in times for start in shot for t in (start, start + APART)):
            paths.append(Path(folder) / f"{i}.png")
            write_frame(film, seconds, paths[-1])
        embeddings = binary.embeddings([str(p) for p in paths])
    pairs = iter(zip(embeddings[::2], embeddings[1::2], strict=True))
    shots = []
    for shot in times:
        first, second = zip(*(next(pairs) for _ in shot), strict=True)
        shots.append(Shot(film.name, np.array(first), np.array(second)))
    return shots


def lowest_threshold(cosines: np.ndarray) -> float:
    """The lowest threshold, in steps of 0.01, that at most MOST_ALIKE of the cosines reach."""
    steps = np.arange(101) / 100
    return float(next((t for t in steps if (cosines >= t).mean() <= MOST_ALIKE), 1.0))


@dataclass(frozen=True)
class ShotCosines:
    """Cosines of frames, each an array."""

    one: np.ndarray
    """Two frames of one shot."""
    next: np.ndarray
    """The last frame of a shot and the first of the next one."""
    pair: np.ndarray
    """A frame of a shot, and the likest frame of an earlier shot of the film."""
    earlier: np.ndarray
    """The same, of the likest earlier shot."""
    other: np.ndarray
    """The same, of the likest shot of another film."""


def shot_cosines(by_film: Sequence[Sequence[Shot]]) -> ShotCosines:
    def likest(shot: Shot, others: Sequence[Shot]) -> list[float]:
        return [float((other.first @ shot.first[0]).max()) for other in others]

    shots = [s for film in by_film for s in film]
    one = [(s.first * s.second).sum(1) for s in shots]
    after = [float(a.second[-1] @ b.first[0]) for film in by_film for a, b in pairwise(film)]
    before = [likest(shot, film[:i]) for film in by_film for i, shot in enumerate(film) if i]
    others = [likest(shot, [s for s in shots if s.film != shot.film]) for shot in shots]
    return ShotCosines(
        np.concatenate(one) if one else np.array([]),
        np.array(after),
        np.array([cosine for some in before for cosine in some]),
        np.array([max(some) for some in before]),
        np.array([max(some) for some in others if some]),
    )


def films(binary: Binary, folder: Path, nearest: np.ndarray) -> dict[str, Any]:
    """Cosines of frames of films, and the thresholds that they suggest. `nearest`: see `photographs`."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    videos = [p for p in files if binary.is_video(p)]
    by_film = [shots_of(binary, video) for video in videos]
    cosines = shot_cosines(by_film)
    if not len(cosines.next):
        raise SystemExit(f"{folder}: no film has two shots of at least {APART + 2 * MARGIN:g} seconds")
    same = lowest_threshold(cosines.next)
    returning = max([same, *(lowest_threshold(c) for c in (cosines.earlier, cosines.other, nearest) if len(c))])
    return {
        "films": sum(bool(shots) for shots in by_film),
        "shots": sum(len(shots) for shots in by_film),
        "not a film": [p.name for p in files if p not in videos],
        f"one shot, frames {APART} s apart": counted(cosines.one, "0.01", "0.1", "0.5"),
        "different shots, one after the other": counted(cosines.next, "0.5", "0.9", "0.98"),
        "different shots of a film, a pair": counted(cosines.pair, "0.5", "0.9", "0.99"),
        "different shots of a film, the nearest earlier one": counted(cosines.earlier, "0.5", "0.9", "0.98"),
        "shots of different films, the nearest": counted(cosines.other, "0.5", "0.9", "0.98"),
        "suggested thresholds": {
            "rule": f"the lowest that at most {MOST_ALIKE:.0%} reach; same: of shots, with the shot before; returning: "
            "of shots, with the nearest earlier one and with the nearest of another film, and of the photographs, with "
            "the nearest other one, and at least same",
            "same": same,
            "returning": returning,
            "pairs of one shot that reach same": round(float((cosines.one >= same).mean()), 3),
            "pairs of one shot that reach returning": round(float((cosines.one >= returning).mean()), 3),
        },
    }


def neighbours(options: JudgeOptions) -> None:
    """Prints cosines of what is alike and of what differs: photographs, and films if a folder of them is given."""
    binary = Binary(options.binary, options.model)
    result, nearest = photographs(binary, [p for c in options.collections() for p in c.pictures])
    if options.films:
        result["films"] = films(binary, options.films, nearest)
    print(json.dumps(result, indent=1))
