"""What the frozen part of the tower makes of several views of every picture, computed once and memory-mapped by training.

maps0.npy (the picture as it is), maps1.npy (mirrored), maps2.npy … (random crops): [pictures, 120, 17, 17] float16.
grid0.npy …: the same views behind a tail, [pictures, cells, features] float16.
"""
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance

from .tower import CELLS, FEATURES, FINE, MAPS, Tower, pixels


def view(path, number, seed):
    image = Image.open(path).convert("RGB")
    rng = random.Random(seed)
    if number == 1:
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
    if number >= 2:
        w, h = image.size
        area, shape = rng.uniform(0.55, 1.0), rng.uniform(0.8, 1.25)
        cw, ch = min(w, int(w * (area * shape) ** 0.5)), min(h, int(h * (area / shape) ** 0.5))
        x, y = rng.randint(0, w - cw), rng.randint(0, h - ch)
        image = image.crop((x, y, x + cw, y + ch))
        if rng.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        if rng.random() < 0.5:
            for kind, low in ((ImageEnhance.Brightness, 0.7), (ImageEnhance.Color, 0.6), (ImageEnhance.Contrast, 0.7)):
                image = kind(image).enhance(rng.uniform(low, 1.3))
    return pixels(image)


def filled(path, shape, batch, values):
    """Fills an array on disk, `batch` rows at a time with `values(first, behind the last)`; written beside, then renamed."""
    if path.exists():
        return
    part = path.with_suffix(".part.npy")
    out = np.lib.format.open_memmap(part, "w+", np.float16, shape)
    with torch.no_grad():
        for k in range(0, shape[0], batch):
            end = min(k + batch, shape[0])
            out[k:end] = values(k, end).numpy()
    out.flush()
    part.rename(path)
    print(f"{path} cached", flush=True)


def maps(rows, folder, views=4, batch=16):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tower = Tower()
    with ThreadPoolExecutor(2) as pool:
        for v in range(views):
            def values(first, end):
                x = list(pool.map(lambda i: view(rows[i]["path"], v, i * 100 + v), range(first, end)))
                return tower.maps(torch.from_numpy(np.stack(x)))
            filled(folder / f"maps{v}.npy", (len(rows), MAPS, FINE, FINE), batch, values)


def grids(folder, to, tail, batch=32):
    """Behind a tail, for every view."""
    Path(to).mkdir(parents=True, exist_ok=True)
    for path in sorted(Path(folder).glob("maps*.npy")):
        seen = np.load(path, mmap_mode="r")
        filled(Path(to) / path.name.replace("maps", "grid"), (len(seen), CELLS * CELLS, FEATURES), batch,
               lambda first, end: tail(torch.from_numpy(seen[first:end].astype(np.float32))))
