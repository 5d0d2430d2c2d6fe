#!/usr/bin/env python3
"""Regenerate tests/goldens/resize: small pictures, and what Pillow makes of them.

usage: make_resize.py [OUT]          (default: the folder resize/ beside this file)

cases.json holds, for each picture × size × rule × filter, the SHA-256 of Pillow's RGB bytes after
`convert("RGB")`, resize and crop (CLIP's rule, Python's rounding), and of the picture's own RGB bytes.
Needs: pillow, numpy.
"""
import hashlib, json, sys
from pathlib import Path

import numpy as np
from PIL import Image

FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}


JPEGS = {
    "420.jpg": {"subsampling": "4:2:0"}, "422.jpg": {"subsampling": "4:2:2"}, "444.jpg": {"subsampling": "4:4:4"},
    "progressive.jpg": {"progressive": True}, "grey.jpg": {"mode": "L"},
}


def square(image, size, rule, resample):
    image = image.convert("RGB")
    w, h = image.size
    if rule == "squash":
        return image.resize((size, size), resample)
    w, h = (size, int(size * h / w)) if w <= h else (int(size * w / h), size)
    image = image.resize((w, h), resample)
    left, top = int(round((w - size) / 2.0)), int(round((h - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


def pictures(rng):
    def rgb(w, h, c=3):
        y, x = np.mgrid[0:h, 0:w]
        waves = np.stack([127 + 90 * np.sin(x / (3 + i) + i) * np.cos(y / (2 + i)) for i in range(c)], -1)
        return np.clip(waves + rng.integers(-40, 41, (h, w, c)), 0, 255).astype(np.uint8)

    yield "odd.png", Image.fromarray(rgb(61, 43))
    yield "portrait.png", Image.fromarray(rgb(37, 83))
    yield "speck.png", Image.fromarray(rgb(3, 2))
    yield "dot.png", Image.fromarray(rgb(1, 1))
    yield "strip.png", Image.fromarray(rgb(400, 3))
    yield "same.png", Image.fromarray(rgb(32, 32))
    yield "noise.png", Image.fromarray(rng.integers(0, 256, (50, 70, 3), np.uint8))
    yield "steps.png", Image.fromarray(np.repeat(np.kron([[0, 255], [255, 0]], np.ones((25, 20))).astype(np.uint8)[..., None], 3, 2))
    yield "grey.png", Image.fromarray(rgb(45, 31, 1)[..., 0])
    yield "alpha.png", Image.fromarray(rgb(40, 52, 4), "RGBA")
    yield "grey_alpha.png", Image.fromarray(rgb(29, 33, 2), "LA")
    yield "palette.png", Image.fromarray(rgb(50, 40)).quantize(32)
    yield "bits.png", Image.fromarray(rgb(48, 36, 1)[..., 0] > 120)
    for name, how in JPEGS.items():
        yield name, Image.fromarray(rgb(61, 45)).convert(how.pop("mode", "RGB"))
    yield "photo.bmp", Image.fromarray(rgb(33, 27))
    yield "still.gif", Image.fromarray(rgb(36, 30)).quantize(64)
    yield "lossless.webp", Image.fromarray(rgb(35, 41))
    yield "scan.tif", Image.fromarray(rgb(31, 37))


def digest(image):
    return hashlib.sha256(image.tobytes()).hexdigest()


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "resize"
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for name, image in pictures(np.random.default_rng(1)):
        image.save(out / name, **({"lossless": True} if name.endswith("webp") else JPEGS.get(name, {})))
        image = Image.open(out / name)
        squares = {}
        for size in (16, 32, 67, 224):
            for rule in ("squash", "crop"):
                for filter, resample in FILTERS.items():
                    squares[f"{size} {rule} {filter}"] = digest(square(image, size, rule, resample))
        cases.append({"file": name, "rgb": digest(image.convert("RGB")), "squares": squares})
    (out / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
