"""Features of the frozen tower for several views of every picture, computed once: grid0.npy (as it is), grid1.npy
(mirrored), grid2.npy … (random crops). [pictures, cells, features] float16, memory-mapped by training."""
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance

from .tower import CELLS, FEATURES, Tower, pixels


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


def cache(rows, folder, views=4, batch=16):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tower = Tower().eval()
    for v in range(views):
        done = folder / f"grid{v}.npy"
        if done.exists():
            continue
        part = folder / f"grid{v}.part.npy"
        out = np.lib.format.open_memmap(part, "w+", np.float16, (len(rows), CELLS * CELLS, FEATURES))
        with ThreadPoolExecutor(2) as pool, torch.no_grad():
            for k in range(0, len(rows), batch):
                some = range(k, min(k + batch, len(rows)))
                x = list(pool.map(lambda i: view(rows[i]["path"], v, i * 100 + v), some))
                out[k : k + len(x)] = tower(torch.from_numpy(np.stack(x))).numpy()
        out.flush()
        part.rename(done)
        print(f"view {v} cached", flush=True)
