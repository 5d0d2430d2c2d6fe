#!/usr/bin/env python3
"""Regenerates tests/goldens/resize: small pictures, and what Pillow makes of them.

usage: make_resize.py [OUT]          (default: the folder resize/ beside this file)

cases.json holds, for each picture × size × rule × filter, the SHA-256 of Pillow's RGB bytes after `convert("RGB")`,
resize and crop (CLIP's rule, Python's rounding), and of the picture's own RGB bytes. It needs pillow and numpy.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


JPEGS: dict[str, dict[str, Any]] = {
    "420.jpg": {"subsampling": "4:2:0"},
    "422.jpg": {"subsampling": "4:2:2"},
    "444.jpg": {"subsampling": "4:4:4"},
    "progressive.jpg": {"progressive": True},
    "grey.jpg": {"mode": "L"},
}


def square(image: Image.Image, size: int, rule: str, resample: Image.Resampling) -> Image.Image:
    """The picture as a model of this size reads it."""
    image = image.convert("RGB")
    w, h = image.size
    if rule == "squash":
        return image.resize((size, size), resample)
    w, h = (size, int(size * h / w)) if w <= h else (int(size * w / h), size)
    image = image.resize((w, h), resample)
    left, top = round((w - size) / 2.0), round((h - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def pictures(rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """Pictures by file name."""

    def waves(w: int, h: int, channels: int = 3) -> np.ndarray:
        y, x = np.mgrid[0:h, 0:w]
        layers = [127 + 90 * np.sin(x / (3 + i) + i) * np.cos(y / (2 + i)) for i in range(channels)]
        noise = rng.integers(-40, 41, (h, w, channels))
        return np.clip(np.stack(layers, -1) + noise, 0, 255).astype(np.uint8)

    yield "odd.png", Image.fromarray(waves(61, 43))
    yield "portrait.png", Image.fromarray(waves(37, 83))
    yield "speck.png", Image.fromarray(waves(3, 2))
    yield "dot.png", Image.fromarray(waves(1, 1))
    yield "strip.png", Image.fromarray(waves(400, 3))
    yield "same.png", Image.fromarray(waves(32, 32))
    yield "noise.png", Image.fromarray(rng.integers(0, 256, (50, 70, 3), np.uint8))
    steps = np.kron([[0, 255], [255, 0]], np.ones((25, 20))).astype(np.uint8)
    yield "steps.png", Image.fromarray(np.repeat(steps[..., None], 3, 2))
    yield "grey.png", Image.fromarray(waves(45, 31, 1)[..., 0])
    yield "alpha.png", Image.fromarray(waves(40, 52, 4), "RGBA")
    yield "grey_alpha.png", Image.fromarray(waves(29, 33, 2), "LA")
    yield "palette.png", Image.fromarray(waves(50, 40)).quantize(32)
    yield "bits.png", Image.fromarray(waves(48, 36, 1)[..., 0] > 120)
    for name, how in JPEGS.items():
        yield name, Image.fromarray(waves(61, 45)).convert(how.pop("mode", "RGB"))
    yield "photo.bmp", Image.fromarray(waves(33, 27))
    yield "still.gif", Image.fromarray(waves(36, 30)).quantize(64)
    yield "lossless.webp", Image.fromarray(waves(35, 41))
    yield "scan.tif", Image.fromarray(waves(31, 37))


def digest(image: Image.Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "resize"
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for name, image in pictures(np.random.default_rng(1)):
        image.save(out / name, **({"lossless": True} if name.endswith("webp") else JPEGS.get(name, {})))
        stored = Image.open(out / name)
        squares = {}
        for size in (16, 32, 67, 224):
            for rule in ("squash", "crop"):
                for kind, resample in FILTERS.items():
                    squares[f"{size} {rule} {kind}"] = digest(square(stored, size, rule, resample))
        cases.append({"file": name, "rgb": digest(stored.convert("RGB")), "squares": squares})
    (out / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
