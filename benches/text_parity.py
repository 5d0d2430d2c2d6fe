#!/usr/bin/env python3
"""Compares how descry and rapidocr read the same pictures, line by line: both run PP-OCRv6 small.

Pictures are drawn from a seed: words in many fonts, sizes and colours, upright or turned, over plain grounds,
photographs and textures, sharp, blurred, noisy or compressed. Pictures given as arguments come after them. rapidocr
reads without its extras, which descry does not have: lines on their head are not turned (use_cls), large pictures are
not reduced (max_side_len), and pictures that are wider than eight times their height are not padded
(width_height_ratio). It reads the lines of a picture one by one, because what it reads of a line depends on the lines
of its batch; --batch 6 is its default.

It needs the example read_text (`cargo build --release --example read_text`), the fonts that `tools/setup.sh bench`
installs, and benches/requirements-text.txt. It exits with 1 if fewer than --least of the lines are the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageOps

from text_layers import FAMILIES, font
from text_shots import Frame, Size, world
from text_words import PLACES, Rng, Writer, pick

ROOT = Path(__file__).parent.parent
SIZES: list[Size] = [(426, 240), (640, 360), (854, 480), (960, 540), (1280, 720), (720, 1280)]
NEAR = 2.0  # pixels by which the corners of a box may differ
SAME_LINE = 12.0  # pixels, from which two boxes are those of different lines
Corners: TypeAlias = Sequence[Sequence[float]]


@dataclass
class ReadLine:
    corners: Corners
    text: str
    score: float

    def distance(self, other: ReadLine) -> float:
        """By how many pixels the corner that differs most is off."""
        return float(np.abs(np.subtract(self.corners, other.corners)).max())


# ---- pictures --------------------------------------------------------------------------------------------------------


def words(rng: Rng, writer: Writer) -> str:
    text = pick(rng, [writer.headline(), writer.person(), writer.sign()[0], pick(rng, PLACES), writer.third()[1]])
    return text.upper() if rng.random() < 0.2 else text


def ground(rng: Rng, size: Size) -> Frame:
    if rng.random() < 0.4:
        return np.full((size[1], size[0], 3), rng.integers(0, 256, 3), np.uint8)
    seen = world(rng, size)
    (have_y, have_x), (x, y) = seen.picture.shape[:2], size
    top, left = int(rng.integers(0, have_y - y + 1)), int(rng.integers(0, have_x - x + 1))
    return seen.picture[top : top + y, left : left + x].copy()


def type_on(rng: Rng, size: Size, turned: bool) -> Frame:
    """A picture of some lines, on a ground."""
    picture, writer = ground(rng, size), Writer(rng)
    layer = Image.new("RGBA", size)
    draw = ImageDraw.Draw(layer)
    y = int(rng.integers(4, size[1] // 8))
    while y < size[1] * 0.92:
        tall = int(rng.integers(max(12, size[1] // 26), size[1] // 9))
        _, regular, bold = FAMILIES[int(rng.choice(len(FAMILIES), p=[f[0] for f in FAMILIES]))]
        face = font(pick(rng, regular + bold), tall)
        text = words(rng, writer)
        while draw.textlength(text, face) > size[0] * 0.9 and " " in text:
            text = text[: text.rindex(" ")]
        x = float(rng.uniform(4, max(5.0, size[0] * 0.97 - draw.textlength(text, face))))
        beneath = picture[y : y + tall, int(x) : int(x) + 2 * tall].reshape(-1, 3).mean(0)
        shade = 0 if beneath.mean() > 127 else 255
        fill = tuple(int((c + 128) % 256) for c in beneath) if rng.random() < 0.35 else (shade,) * 3
        edge = max(1, tall // 16) if rng.random() < 0.2 else 0
        draw.text((x, y), text, fill, face, stroke_width=edge, stroke_fill=tuple(255 - c for c in fill))
        y += int(tall * rng.uniform(1.4, 2.2))
    if turned:
        layer = layer.rotate(float(rng.uniform(-25, 25)), Image.Resampling.BICUBIC)
    base = Image.fromarray(picture)
    base.paste(layer, (0, 0), layer)
    return np.asarray(base)


def spoilt(rng: Rng, picture: Frame) -> Frame:
    """Blurred, noisy or compressed."""
    way = int(rng.integers(3))
    if way == 0:
        return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 1.8)))
    if way == 1:
        return (picture + rng.normal(0, rng.uniform(4, 16), picture.shape)).clip(0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


@dataclass
class Drawn:
    path: Path
    group: str


def draw_all(seed: int, count: int, folder: Path) -> list[Drawn]:
    drawn = []
    for n in range(count):
        rng = np.random.default_rng([seed, n])
        turned, poor = n % 4 in (1, 3), n % 4 in (2, 3)
        picture = type_on(rng, pick(rng, SIZES), turned)
        group = f"{'turned' if turned else 'upright'}, {'blurred, noisy or compressed' if poor else 'clean'}"
        path = folder / f"{n:04}.png"
        Image.fromarray(spoilt(rng, picture) if poor else picture).save(path)
        drawn.append(Drawn(path, group))
    return drawn


def given(pictures: Sequence[Path], folder: Path) -> list[Drawn]:
    """Copies as PNG, so that both systems see the same pixels."""
    drawn = []
    for n, path in enumerate(pictures):
        copy = folder / f"given{n:04}.png"
        ImageOps.exif_transpose(Image.open(path)).convert("RGB").save(copy)
        drawn.append(Drawn(copy, "given"))
    return drawn


# ---- both systems ----------------------------------------------------------------------------------------------------


def read_with_descry(example: Path, pictures: Sequence[Path]) -> list[list[ReadLine]]:
    done = subprocess.run([example, *pictures], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{example} failed: {done.stderr.strip()}")
    found = [json.loads(line)["lines"] for line in done.stdout.splitlines()]
    return [[ReadLine(line["corners"], line["text"], line["score"]) for line in lines] for lines in found]


class Rapid:
    def __init__(self, batch: int) -> None:
        from rapidocr import RapidOCR

        self.engine = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,
                "Global.max_side_len": 100_000,
                "Global.width_height_ratio": -1,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "Rec.rec_batch_num": batch,
            }
        )

    def read(self, picture: Path) -> list[ReadLine]:
        found: Any = self.engine(cv2.imread(str(picture)))
        if not found.txts:
            return []
        boxes = found.boxes.tolist()
        return [ReadLine(*line) for line in zip(boxes, found.txts, map(float, found.scores), strict=True)]


# ---- comparison ------------------------------------------------------------------------------------------------------


@dataclass
class Parity:
    pictures: int = 0
    lines: int = 0
    """That rapidocr reads."""
    near: int = 0
    """Whose corners are within NEAR in descry."""
    same: int = 0
    """Whose text is the same, too."""
    extra: int = 0
    """Of descry alone."""
    furthest: list[float] = field(default_factory=list)

    def row(self, name: str) -> str:
        def share(part: int) -> str:
            return f"{100 * part / self.lines:.2f} %" if self.lines else "–"

        most = f"{max(self.furthest):.0f} px" if self.furthest else "–"
        cells = [name, self.pictures, self.lines, share(self.near), most, share(self.same), self.extra]
        return f"| {' | '.join(map(str, cells))} |"

    def compare(self, reference: Sequence[ReadLine], own: Sequence[ReadLine]) -> list[str]:
        """Counts the lines of a picture; returns what differs."""
        rest, notes = list(own), []
        self.pictures += 1
        for line in reference:
            self.lines += 1
            nearest = min(rest, key=line.distance, default=None)
            if nearest is None or (off := line.distance(nearest)) > SAME_LINE:
                notes.append(f"missed {line.text!r} {line.score:.2f}")
                continue
            rest.remove(nearest)
            self.furthest.append(off)
            self.near += off <= NEAR
            self.same += off <= NEAR and nearest.text == line.text
            if off > NEAR or nearest.text != line.text:
                notes.append(
                    f"{line.text!r} {line.score:.2f}, {nearest.text!r} {nearest.score:.2f}, {off:.0f} px apart"
                )
        self.extra += len(rest)
        return notes + [f"extra {line.text!r} {line.score:.2f}" for line in rest]


def write_goldens(folder: Path, drawn: Sequence[Drawn], batch: int) -> None:
    """Small files of the pictures, and what rapidocr reads of them, for a test."""
    rapid = Rapid(batch)
    for item in drawn:
        picture = Image.open(item.path)
        picture.thumbnail((480, 480), Image.Resampling.LANCZOS)
        picture.quantize(32, dither=Image.Dither.NONE).save(item.path, optimize=True)
    made = f"benches/text_parity.py, with rapidocr {version('rapidocr')} and its PP-OCRv6 small"
    rows = [
        json.dumps({"picture": item.path.name, **vars(line)}, ensure_ascii=False)
        for item in drawn
        for line in rapid.read(item.path)
    ]
    text = ",\n".join(rows)
    (folder / "lines.json").write_text(f'{{ "made by": {json.dumps(made)}, "lines": [\n{text}\n] }}\n')


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE", help="more pictures to compare")
    p.add_argument("--seed", type=int, default=1, help="seed of the pictures (default: 1)")
    p.add_argument("--count", type=int, default=200, help="how many are drawn (default: 200)")
    p.add_argument("--batch", type=int, default=1, help="lines that rapidocr reads together (default: 1)")
    p.add_argument("--least", type=float, default=0.99, help="share of lines that must be the same (default: 0.99)")
    p.add_argument("--keep", type=Path, metavar="DIR", help="keep the pictures in this folder")
    p.add_argument("--goldens", type=Path, metavar="DIR", help="only write pictures there, with what rapidocr reads")
    p.add_argument(
        "--example",
        type=Path,
        default=ROOT / "target/release/examples/read_text",
        metavar="FILE",
        help="the example read_text (default: target/release/examples/read_text)",
    )
    return p.parse_args()


def main() -> None:
    a = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = a.goldens or a.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        drawn = draw_all(a.seed, a.count, folder) + given(a.pictures, folder)
        if a.goldens:
            write_goldens(folder, drawn, a.batch)
            return
        rapid, own = Rapid(a.batch), read_with_descry(a.example, [item.path for item in drawn])
        groups: dict[str, Parity] = defaultdict(Parity)
        for item, lines in zip(drawn, own, strict=True):
            reference = rapid.read(item.path)
            groups[item.group].compare(reference, lines)
            for note in groups["all"].compare(reference, lines):
                print(f"{item.path.name}: {note}")
    print("\n| pictures | number | lines | boxes within 2 px | furthest | same | lines of descry alone |")
    print("|---|---|---|---|---|---|---|")
    for name in [*(name for name in groups if name != "all"), "all"]:
        print(groups[name].row(name))
    total = groups["all"]
    if total.same < a.least * total.lines:
        raise SystemExit(f"fewer than {100 * a.least:g} % of the lines are the same")


if __name__ == "__main__":
    main()
