"""The whole frame and four overlapping crops of it, as five inputs of the image tower.

The tower squashes its input to a square and pools it to 3 x 3 cells, so that a person in a wide frame is lost in one of
nine cells. Five inputs give 45 cells: those of the frame, then those of the crops, left to right and top to bottom.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .film import film_frame

# A crop's share of the frame's width and height; neighbouring crops share a quarter of the frame.
SHARE = 0.625
TILES = 5
# The rule for black bars is that of src/media/bars.rs, which explains it. BLACK, FLAT and STEP are of 255, BLUR is in
# lines, SPECKS and NARROW are shares of a line's pixels and of the lines.
BLACK, FLAT, STEP = 20, 4, 16
SPECKS, NARROW = 0.02, 0.02
BLUR = 3
LEAST_SIDE, SAMPLES = 32, 256

# Finished rows are counted each time so many more are written.
FLUSH_EVERY = 200

View = Callable[[Image.Image, random.Random], Image.Image]
# View 0 must be the picture as it is: it is what models are judged on.
VIEWS: dict[str, View] = {
    "plain": lambda picture, _: picture,
    "mirror": lambda picture, _: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "film-a": film_frame,
    "film-b": film_frame,
}


def without_bars(frame: Image.Image) -> Image.Image:
    """Crops black bars off. A picture without bars stays as it is, and so does one that is merely dark."""
    luma = np.asarray(frame.convert("L")).astype(np.int64)
    height, width = luma.shape
    if min(width, height) < LEAST_SIDE:
        return frame
    top, bottom = bar_pair(luma[:, :: -(-width // SAMPLES)])
    rows = luma[top : height - bottom]
    left, right = bar_pair(rows[:: -(-len(rows) // SAMPLES)].T)
    # What is left of a dark picture is no frame between bars.
    if 5 * len(rows) * (width - left - right) < 2 * height * width:
        return frame
    return frame.crop((left, top, width - right, height - bottom))


def bar_pair(near: np.ndarray) -> tuple[int, int]:
    """Lines of the bar before the picture and of the bar behind it; int64 [lines, pixels], brightness from 0 to 255."""
    far, count = near[::-1], len(near)
    dark = (near > BLACK).mean(1) <= SPECKS
    if dark.all():
        return 0, 0
    first, last = int(dark.argmin()), int(dark[::-1].argmin())
    least, most = min(first, last), max(first, last)
    if first + last < NARROW * count:
        return 0, 0
    if most - least <= slack(count):
        flat = least > 0 and is_flat(near[:first], count) and is_flat(far[:last], count)
        return (first, last) if flat and (is_edge(near, first) or is_edge(far, last)) else (0, 0)
    short, long = (near, far) if first < last else (far, near)
    if 2 * least >= NARROW * count and is_edge(short, least):
        # The picture is dark beside the other bar.
        flat = is_flat(short[:least], count) and is_flat(long[:least], count)
        return (least, least) if flat else (0, 0)
    # Subtitles in the other bar.
    has_text = (
        least > 0
        and 2 * most < count
        and is_edge(long, most)
        and is_edge(short, most)
        and is_flat(long[:most], count)
        and (short[most - 1] > BLACK).mean() <= SPECKS
        and 5 * (short[:most] > BLACK).sum() <= short[:most].size
    )
    return (most, most) if has_text else (0, 0)


def slack(count: int) -> int:
    """How many lines of so many an edge may be off, or blurred over."""
    return count // 100 + 2


def is_edge(lines: np.ndarray, line: int) -> bool:
    """Whether the picture begins at a line, or just behind it: most of it becomes bright within a few lines."""
    for at in range(line, min(line + slack(len(lines)), len(lines))):
        now, before = lines[at], lines[max(at - BLUR, 0)]
        if 2 * ((now > BLACK) & (now - before >= STEP)).sum() >= now.size:
            return True
    return False


def is_flat(bar: np.ndarray, count: int) -> bool:
    """Whether a bar beside a picture of `count` lines has one brightness, up to noise."""
    values = bar[: len(bar) - min(slack(count), len(bar) // 4)]
    values = values[values <= BLACK]
    return bool((values * values).sum() * values.size <= values.sum() ** 2 + (FLAT * values.size) ** 2)


def tiles(frame: Image.Image) -> list[Image.Image]:
    """The frame, then its crops: top left, top right, bottom left, bottom right."""
    width, height = frame.size
    crop_width, crop_height = max(1, round(width * SHARE)), max(1, round(height * SHARE))
    lefts, tops = (0, width - crop_width), (0, height - crop_height)
    return [frame] + [frame.crop((x, y, x + crop_width, y + crop_height)) for y in tops for x in lefts]


def tile_pixels(frame: Image.Image, image: dict[str, Any]) -> np.ndarray:
    """float32 [TILES, 3, size, size], as `image` of the model's manifest wants it."""
    size = image["size"]
    mean, std = (np.array(image[name], np.float32) for name in ("mean", "std"))
    squares = [
        np.asarray(tile.resize((size, size), Image.Resampling.BICUBIC), np.float32)
        for tile in tiles(without_bars(frame.convert("RGB")))
    ]
    return np.ascontiguousarray(((np.stack(squares) / 255 - mean) / std).transpose(0, 3, 1, 2))


class TileTower:
    """The image tower of a model folder over the tiles of frames, by ONNX Runtime."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import onnxruntime

        manifest = json.loads((folder / "model.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.image: dict[str, Any] = manifest["image"]
        graph = str(folder / self.image["graph"])
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.cells, self.width = self.image["grid"]["cells"], self.image["grid"]["dim"]

    def encode(self, frames: Iterable[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """Grids [N, TILES * cells, width] and embeddings [N, TILES, dim] of N frames."""
        pixels = np.concatenate([tile_pixels(frame, self.image) for frame in frames])
        embedding, grid = self.session.run(["embedding", "grid"], {"pixels": pixels})
        return grid.reshape(-1, TILES * self.cells, self.width), embedding.reshape(-1, TILES, embedding.shape[-1])


class ViewCache:
    """The files of one view: grid-VIEW.npy and embedding-VIEW.npy, float16, a row for each picture.

    While they are being written they are named .part.npy, and VIEW.progress holds the number of finished rows.
    """

    def __init__(self, folder: Path, view: str) -> None:
        self.paths = [folder / f"{kind}-{view}.npy" for kind in ("grid", "embedding")]
        self.parts = [path.with_suffix(".part.npy") for path in self.paths]
        self.progress = folder / f"{view}.progress"
        self.view = view

    @property
    def finished(self) -> bool:
        return self.paths[0].exists()

    @property
    def rows(self) -> int:
        """Rows that are there; 0 before the first ones are written."""
        if self.finished:
            return len(np.load(self.paths[0], mmap_mode="r"))
        return int(self.progress.read_text()) if self.progress.exists() else 0

    def open(self) -> tuple[np.ndarray, np.ndarray]:
        """Grids and embeddings, memory-mapped; of an unfinished cache only the first `rows` are valid."""
        grid, embedding = (np.load(p, mmap_mode="r") for p in (self.paths if self.finished else self.parts))
        return grid, embedding

    def write(self, paths: Sequence[str], tower: TileTower, batch: int = 2) -> None:
        """Encodes the pictures in `paths`, in their order. An interrupted run resumes where it stopped."""
        if self.finished:
            return
        self.progress.parent.mkdir(parents=True, exist_ok=True)
        count, done = len(paths), self.rows
        shapes = ((count, TILES * tower.cells, tower.width), (count, TILES, tower.image["embedding_dim"]))
        if done:
            arrays = [np.lib.format.open_memmap(part, "r+") for part in self.parts]
        else:
            arrays = [
                np.lib.format.open_memmap(part, "w+", np.float16, shape)
                for part, shape in zip(self.parts, shapes, strict=True)
            ]
        with ThreadPoolExecutor(1) as pool:
            for start in range(done, count, batch):
                end = min(start + batch, count)
                frames = pool.map(lambda n: self.frame(paths[n], n), range(start, end))
                for array, values in zip(arrays, tower.encode(frames), strict=True):
                    array[start:end] = values
                if end % FLUSH_EVERY < batch or end == count:
                    for array in arrays:
                        array.flush()
                    self.progress.write_text(str(end))
                    print(f"{self.view}: {end}/{count}", flush=True)
        for part, path in zip(self.parts[::-1], self.paths[::-1], strict=True):
            part.rename(path)
        self.progress.unlink()

    def frame(self, path: str, number: int) -> Image.Image:
        """The view of a picture. Its seed depends on the picture's number alone, so that a resumed run repeats it."""
        with Image.open(path) as picture:
            return VIEWS[self.view](picture.convert("RGB"), random.Random(f"{self.view} {number}"))
