"""Features of several views of every picture, computed once and memory-mapped by training.

maps0.npy (the picture as it is), maps1.npy (mirrored), maps2.npy … (random crops) hold what the frozen part of the
tower computes: [pictures, 120, 17, 17] float16. grid0.npy … hold the same views after a tail: [pictures, cells,
features] float16.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor, nn

from .data import Picture
from .tower import CELLS, FEATURES, FINE, MAPS, Tower, pixels


def view(path: str, number: int, seed: int) -> np.ndarray:
    """Pixels of one view: 0 is the picture as it is, 1 mirrored, from 2 on random crops with random colours."""
    image = Image.open(path).convert("RGB")
    rng = random.Random(seed)
    if number == 1:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if number >= 2:
        image = random_crop(image, rng)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.5:
            for kind, low in ((ImageEnhance.Brightness, 0.7), (ImageEnhance.Color, 0.6), (ImageEnhance.Contrast, 0.7)):
                image = kind(image).enhance(rng.uniform(low, 1.3))
    return pixels(image)


def random_crop(image: Image.Image, rng: random.Random) -> Image.Image:
    """Crops to 55 to 100% of the area, with a slightly different shape."""
    width, height = image.size
    area, shape = rng.uniform(0.55, 1.0), rng.uniform(0.8, 1.25)
    crop_width = min(width, int(width * (area * shape) ** 0.5))
    crop_height = min(height, int(height * (area / shape) ** 0.5))
    x, y = rng.randint(0, width - crop_width), rng.randint(0, height - crop_height)
    return image.crop((x, y, x + crop_width, y + crop_height))


def fill_array(path: Path, shape: tuple[int, ...], batch: int, values: Callable[[int, int], Tensor]) -> None:
    """Writes an array of `shape` to `path`, `batch` rows at a time, from `values(start, end)`.

    An array that exists is left alone. A new one is written to a temporary file first, then renamed.
    """
    if path.exists():
        return
    part = path.with_suffix(".part.npy")
    out = np.lib.format.open_memmap(part, "w+", np.float16, shape)
    with torch.no_grad():
        for start in range(0, shape[0], batch):
            end = min(start + batch, shape[0])
            out[start:end] = values(start, end).numpy()
    out.flush()
    part.rename(path)
    print(f"cached {path}", flush=True)


def cache_maps(pictures: Sequence[Picture], folder: Path, views: int = 4, batch: int = 16) -> None:
    """Caches the maps of every view of every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    tower = Tower()
    with ThreadPoolExecutor(2) as pool:

        def values(number: int, start: int, end: int) -> Tensor:
            some = pool.map(lambda i: view(pictures[i].path, number, i * 100 + number), range(start, end))
            return tower.maps(torch.from_numpy(np.stack(list(some))))

        for number in range(views):
            shape = (len(pictures), MAPS, FINE, FINE)
            fill_array(folder / f"maps{number}.npy", shape, batch, partial(values, number))


def cache_grids(folder: Path, out: Path, tail: nn.Module, batch: int = 32) -> None:
    """Caches the grids that a tail makes of the maps in `folder`, for every view."""

    def values(maps: np.ndarray, start: int, end: int) -> Tensor:
        return tail(torch.from_numpy(maps[start:end].astype(np.float32)))

    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("maps*.npy")):
        maps = np.load(path, mmap_mode="r")
        shape = (len(maps), CELLS * CELLS, FEATURES)
        fill_array(out / path.name.replace("maps", "grid"), shape, batch, partial(values, maps))
