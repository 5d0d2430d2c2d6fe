"""Renders films with text whose place, time and wording are exactly known, for text_quality.py.

A clip has one kind of text in several styles, over films, stills, textures or a plain colour, in one size and quality.
The same job gives the same clip. Every random number comes from one generator, so the order of the draws is part of
the format: raise VERSION when it changes.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from text_layers import Layer, Line, Style, board, line_layer, plate, style_over
from text_shots import FILMS, TEXTURES, Film, Flat, Frame, Ground, Size, World, stretches, world
from text_words import LOGOS, MARKS, Writer, pick

VERSION = 2  # clips of another version are rendered again
SECONDS = 24.0
# How many clips of each category there are in a set.
CATEGORIES = {
    "titles": 6,
    "cards": 3,
    "thirds": 6,
    "signs": 6,
    "subtitles": 3,
    "tickers": 2,
    "credits": 2,
    "logo": 1,
    "clock": 1,
    "none": 12,
}
SIZES: list[Size] = [(1280, 720), (640, 360), (1920, 1080), (1280, 720)]
QUALITIES = ["clean", "noise", "low"]
LEGIBLE = 14  # pixels, the least height of a line that somebody can be expected to read


@dataclass(frozen=True)
class TextJob:
    """One clip to render."""

    category: str
    seed: int
    number: int
    path: Path


class Scene:
    """What a clip shows: the picture below, the layers above, and the lines of text that they carry."""

    def __init__(self, job: TextJob) -> None:
        order = list(CATEGORIES).index(job.category)
        self.rng = rng = np.random.default_rng([job.seed, order, job.number, VERSION])
        self.job = job
        self.size = SIZES[(job.number + order) % len(SIZES)]
        self.quality = QUALITIES[(job.number + order) % len(QUALITIES)]
        self.fps = int(pick(rng, [24, 25, 30]))
        self.frames = round((30.0 if job.category == "none" else SECONDS) * self.fps)
        self.writer = Writer(rng)
        self.layers: list[Layer] = []
        self.lines: list[dict[str, Any]] = []
        self.ground: Ground = Flat(self.size, (0, 0, 0))
        BUILDERS[job.category](self)
        for layer in self.layers:
            for line in layer.lines:
                self.note(line, [(i, *layer.state(i, line)) for i in range(layer.begin, layer.end)])
        self.lines.sort(key=lambda line: (line["start"], line["box"][1]))

    # -- truth --

    def note(self, line: Line, states: Sequence[tuple[int, float, Sequence[float]]]) -> None:
        """Adds a line to the truth. `states` are frames with the line's opacity and its box in pixels."""
        width, height = self.size
        shown = [(i, b) for i, opacity, b in states if opacity >= 0.5 and 0 <= i < self.frames]
        partly = [(i, b) for i, b in shown if b[0] < width and b[1] < height and b[0] + b[2] > 0 and b[1] + b[3] > 0]
        inside = [
            (i, b) for i, b in partly if b[0] >= 0 and b[1] >= 0 and b[0] + b[2] <= width and b[1] + b[3] <= height
        ]
        if not partly:
            return
        legible = [(i, b) for i, b in inside if line.height(b) >= LEGIBLE]
        # A line that is only touched by the frame, or tiny, is in the truth so that reading it is no mistake.
        sure = legible or inside or partly

        def shares(box: Sequence[float]) -> list[float]:
            return [round(side / whole, 5) for side, whole in zip(box, (width, height, width, height), strict=True)]

        entry = {
            "text": line.text,
            "kind": line.kind,
            "start": round(sure[0][0] / self.fps, 4),
            "end": round(sure[-1][0] / self.fps, 4),
            "enters": round(partly[0][0] / self.fps, 4),
            "leaves": round(partly[-1][0] / self.fps, 4),
            "box": shares(sure[0][1]),
            "rests": shares(sure[-1][1]),  # where what slides in stays
            "height": round(max(line.height(b) for _, b in sure), 1),
            "legible": len(legible) >= 0.4 * self.fps,
            "font": line.font,
        }
        self.lines.append({**entry, "values": line.values} if line.values else entry)

    # -- grounds --

    def film(self) -> None:
        self.ground = Film(stretches(self.rng, self.frames / self.fps + 0.5), self.size, self.fps)

    def any_ground(self) -> None:
        if self.rng.random() < 0.6:
            self.film()
        else:
            below = world(self.rng, self.size)
            below.travel(self.rng, self.fps, self.frames, 0.05)
            self.ground = below

    def colour_ground(self) -> None:
        colour = pick(self.rng, [(0, 0, 0), (0, 0, 0), (0, 0, 0), (245, 245, 245), (16, 24, 60), (90, 16, 24)])
        self.ground = Flat(self.size, colour)

    # -- helpers of the builders --

    def at(self, seconds: float) -> int:
        return round(seconds * self.fps)

    def pixels(self, low: float, high: float) -> int:
        """A size of type, in pixels, from shares of the picture's height."""
        return max(16, round(self.rng.uniform(low, high) * self.size[1]))

    def style(self, span: tuple[int, int], box: Sequence[float], boxed: bool = False) -> Style:
        """A style that can be read over what is below in this box, in fractions of the picture, meanwhile."""
        looks = [self.ground.look(i, box) for i in np.linspace(span[0], span[1] - 1, 4).astype(int)]
        return style_over(self.rng, looks, boxed)

    def draw(self, look: Callable[[Frame], None]) -> None:
        for i in range(self.frames):
            frame = self.ground.frame(i)
            for layer in self.layers:
                layer.draw(frame, i)
            look(frame)


# ---- builders, one a category ----------------------------------------------------------------------------------------


def titles(scene: Scene) -> None:
    """Titles of one to three lines that fade in and out, one block at a time."""
    rng = scene.rng
    if scene.job.category == "cards":
        scene.colour_ground()
    else:
        scene.any_ground()
    width, height = scene.size
    at = float(rng.uniform(0.3, 1.2))
    while at < SECONDS - 2.0:
        length = min(float(rng.uniform(1.6, 4.5)), SECONDS - 0.3 - at)
        span = scene.at(at), scene.at(at + length)
        texts = scene.writer.title(int(pick(rng, [1, 1, 2, 2, 3])))
        left = rng.random() < 0.3
        top = float(pick(rng, [0.12, 0.36, 0.4, 0.42, 0.62]))
        style = scene.style(span, (0.05, top, 0.9, 0.25))
        if rng.random() < 0.25:
            texts[0] = texts[0].upper()
        fades = [scene.at(f) for f in rng.choice([0.0, 0.2, 0.4, 0.6, 0.8], 2)]
        delay = scene.at(0.4) if rng.random() < 0.25 else 0
        y = top * height
        for k, text in enumerate(texts):
            size = scene.pixels(0.06, 0.12) if k == 0 else scene.pixels(0.035, 0.06)
            layer = line_layer(text, "title", style.sized(size), 0.88 * width)
            x = 0.07 * width if left else (width - layer.width) / 2
            scene.layers.append(layer.place((x, y), (span[0] + k * delay, span[1]), fades))
            y += layer.height * 1.15 + 0.01 * height
        at += length + float(rng.uniform(0.3, 1.4))


def thirds(scene: Scene) -> None:
    """Names with what they do, low in the picture, with and without a bar; they fade or slide in."""
    rng = scene.rng
    if scene.job.category == "thirds":
        scene.any_ground()
    width, height = scene.size
    at = float(rng.uniform(0.5, 1.5))
    while at < SECONDS - 2.5:
        length = min(float(rng.uniform(2.2, 5.0)), SECONDS - 0.3 - at)
        span = scene.at(at), scene.at(at + length)
        barred = rng.random() < 0.55
        style = scene.style(span, (0.04, 0.7, 0.6, 0.2), barred)
        sizes = scene.pixels(0.045, 0.065), scene.pixels(0.032, 0.045)
        layers = [
            line_layer(text, "title", style.sized(size, bold=k == 0), 0.8 * width)
            for k, (text, size) in enumerate(zip(scene.writer.third(), sizes, strict=True))
        ]
        x, y = float(pick(rng, [0.06, 0.06, 0.1])) * width, float(rng.uniform(0.7, 0.76)) * height
        fades = [scene.at(f) for f in rng.choice([0.0, 0.2, 0.3, 0.5], 2)]
        slide = scene.at(0.4) if rng.random() < 0.35 else 0
        if barred:
            pad = 0.018 * height
            wide = max(layer.width for layer in layers) + 2 * pad
            tall = sum(layer.height for layer in layers) + 2.4 * pad
            bar = plate((wide, tall), style.back, float(pick(rng, [1.0, 1.0, 0.75])))
            scene.layers.append(bar.place((x - pad, y - pad), span, fades, slide))
        for layer in layers:
            scene.layers.append(layer.place((x, y), span, fades, slide))
            y += layer.height + 0.008 * height
        at += length + float(rng.uniform(0.5, 1.8))


def subtitles(scene: Scene) -> None:
    """White with a black outline, centred below, changing with the speech, without fades."""
    rng = scene.rng
    scene.film()
    width, height = scene.size
    font = pick(
        rng, ["LiberationSans-Regular", "LiberationSans-Bold", "Lato-Bold", "DejaVuSans", "LiberationSans-Italic"]
    )
    size = scene.pixels(0.048, 0.062)
    style = Style(font, size, (255, 255, 255), max(1, size // 12), (0, 0, 0))
    at = float(rng.uniform(0.3, 1.5))
    while at < SECONDS - 1.8:
        texts = scene.writer.speech()
        length = min(0.7 + 0.045 * sum(map(len, texts)) + float(rng.uniform(0, 0.8)), SECONDS - 0.2 - at)
        y = 0.95 * height
        for text in reversed(texts):
            layer = line_layer(text, "subtitle", style, 0.92 * width)
            y -= layer.height
            place = (width - layer.width) / 2, y
            scene.layers.append(layer.place(place, (scene.at(at), scene.at(at + length)), (0, 0)))
        at += length + float(pick(rng, [0.0, 0.08, 0.2, 0.9]))


def tickers(scene: Scene) -> None:
    """Headlines that run from right to left in a bar."""
    rng = scene.rng
    scene.any_ground()
    width, height = scene.size
    style = style_over(rng, [], boxed=True).sized(scene.pixels(0.04, 0.055))
    span = scene.at(1.0), scene.at(SECONDS - 1.0)
    tall = style.size * 1.7
    y = (0.97 * height - tall) if rng.random() < 0.7 else 0.02 * height
    scene.layers.append(plate((width, tall), style.back, float(pick(rng, [1.0, 0.8]))).place((0, y), span, (5, 5)))
    speed = float(rng.uniform(0.09, 0.15)) * width / scene.fps
    x = float(width)
    while True:
        layer = line_layer(scene.writer.headline(), "rolling", style, 0.85 * width)
        begin = span[0] + int((x - width) / speed)
        end = min(span[1], begin + int((width + layer.width) / speed) + 1)
        if begin > span[1] - int(layer.width / speed):
            break
        start = (x - speed * (begin - span[0]), y + (tall - layer.height) / 2)
        scene.layers.append(layer.place(start, (begin, end), (0, 0)).moving((-speed, 0.0)))
        x += layer.width + 3.0 * style.size


def credits(scene: Scene) -> None:
    """Roles and names that roll up, centred."""
    rng = scene.rng
    if rng.random() < 0.35:
        scene.film()
        scene.layers.append(plate(scene.size, (0, 0, 0), 0.7).place((0, 0), (0, scene.frames), (0, 0)))
    width, height = scene.size
    style = style_over(rng, [np.zeros((1, 1, 3), np.uint8)], False)
    small, large = style.sized(scene.pixels(0.034, 0.04)), style.sized(scene.pixels(0.045, 0.055))
    upper = rng.random() < 0.4
    speed = float(rng.uniform(0.08, 0.14)) * height / scene.fps
    y = height + 0.02 * height
    for role, names in scene.writer.credits(16):
        rows = [(role.upper() if upper else role, small), *((name, large) for name in names)]
        for text, row_style in rows:
            layer = line_layer(text, "rolling", row_style, 0.9 * width)
            begin = int((y - height) / speed)
            end = min(scene.frames, begin + int((height + layer.height) / speed) + 1)
            if begin < scene.frames - int(1.5 * layer.height / speed):
                place = (width - layer.width) / 2, y - speed * begin
                scene.layers.append(layer.place(place, (begin, end), (0, 0)).moving((0.0, -speed)))
            y += layer.height * 1.12
        y += large.size * 0.9


def logo(scene: Scene) -> None:
    """A logo in a corner, and perhaps a watermark, all the time; lower thirds below it."""
    rng = scene.rng
    scene.film()
    width, height = scene.size
    whole = (0, scene.frames)
    margin = 0.04 * height
    layer = line_layer(
        pick(rng, LOGOS), "static", Style("Lato-Black", scene.pixels(0.04, 0.055), (255, 255, 255), 0), width
    )
    right = rng.random() < 0.6
    if rng.random() < 0.5:
        back = plate((layer.width + margin, layer.height + margin / 2), (150, 20, 30), 1.0)
        x = width - margin * 1.5 - layer.width if right else margin / 2
        scene.layers.append(back.place((x, margin * 0.75), whole, (0, 0)))
    scene.layers.append(layer.place((width - margin - layer.width if right else margin, margin), whole, (0, 0)))
    mark = scene.writer.fresh(MARKS)
    shade = Style("LiberationSans-Bold", scene.pixels(0.04, 0.05), (255, 255, 255), 1, (0, 0, 0))
    layer = line_layer(mark, "static", shade, width).fainter(0.6)
    scene.layers.append(layer.place(((width - layer.width) / 2, 0.45 * height), whole, (0, 0)))
    thirds(scene)


def clock(scene: Scene) -> None:
    """A clock or a score in a corner that changes all the time; lower thirds below it."""
    rng = scene.rng
    scene.any_ground()
    width, height = scene.size
    size = scene.pixels(0.045, 0.06)
    font = pick(rng, ["DejaVuSansMono-Bold", "LiberationSans-Bold", "Lato-Bold"])
    style = Style(font, size, (255, 255, 255), 0)
    shown = scene.writer.counter(SECONDS)
    margin = 0.05 * height
    layers = [line_layer(value, "counter", style, width) for _, value in shown]
    wide = max(layer.width for layer in layers)
    x = width - margin - wide if rng.random() < 0.6 else margin
    back = plate((wide + margin / 2, layers[0].height + margin / 3), (12, 16, 30), 0.85)
    scene.layers.append(back.place((x - margin / 4, margin * 5 / 6), (0, scene.frames), (0, 0)))
    states: list[tuple[int, float, Sequence[float]]] = []
    ends = [scene.at(at) for at, _ in shown[1:]] + [scene.frames]
    for (at, _), end, layer in zip(shown, ends, layers, strict=True):
        begin = scene.at(at)
        layer.place((x, margin), (begin, end), (0, 0))
        states += [(i, *layer.state(i, layer.lines[0])) for i in range(begin, min(end, scene.frames))]
    first = layers[0].lines[0]
    values = [value for (at, value) in shown if scene.at(at) < scene.frames]
    scene.note(Line(first.text, "counter", first.box, font, values=values), states)
    for layer in layers:
        layer.lines.clear()
    scene.layers += layers
    thirds(scene)


@dataclass
class Shots:
    """Grounds one after the other."""

    parts: list[tuple[int, Ground]] = field(default_factory=list)
    """The first frame of each, and what it shows."""

    def find(self, i: int) -> tuple[int, Ground]:
        return [part for part in self.parts if part[0] <= i][-1]

    def frame(self, i: int) -> Frame:
        start, ground = self.find(i)
        return ground.frame(i - start)

    def look(self, i: int, box: Sequence[float]) -> Frame:
        start, ground = self.find(i)
        return ground.look(i - start, box)


def signs(scene: Scene) -> None:
    """Three places with signs, seen by a moving camera."""
    shots = Shots()
    scene.ground = shots
    bounds = np.linspace(0, scene.frames, 4).astype(int)
    for start, end in pairwise(bounds):
        place = world(scene.rng, scene.size)
        place.travel(scene.rng, scene.fps, int(end - start), 0.1)
        for line in hang_signs(scene, place):
            states = [(int(start) + k, 1.0, line.seen(m)) for k, m in enumerate(place.matrices)]
            scene.note(line, states)
        shots.parts.append((int(start), place))


def hang_signs(scene: Scene, place: World) -> list[Line]:
    """Puts two or three boards into a world, side by side; returns their lines."""
    rng = scene.rng
    width, height = scene.size
    lines: list[Line] = []
    taken: list[tuple[float, float, float, float]] = []
    for _ in range(int(rng.integers(2, 4))):
        one = board(rng, scene.writer.sign(), scene.pixels(0.04, 0.085))
        w, h = one.size
        if w > 0.6 * width:
            continue
        for _ in range(60):
            x = place.picture.shape[1] / 2 + rng.uniform(-0.42, 0.42) * width
            y = place.picture.shape[0] / 2 + rng.uniform(-0.34, 0.34) * height
            if all(abs(x - a) > 0.6 * (w + b) or abs(y - c) > 0.65 * (h + d) for a, c, b, d in taken):
                taken.append((x, y, w, h))
                lines += one.hang(rng, place.picture, (x, y))
                break
    return lines


def textless(scene: Scene) -> None:
    """Nothing to read: the films as they are, and textures that resemble text."""
    number, kinds = scene.job.number, list(TEXTURES)
    seconds = scene.frames / scene.fps
    if number < 3:
        spans = [
            [(0, FILMS[0][1], FILMS[0][2] - FILMS[0][1]), (1, 0.0, 5.2), (2, 66.0, 4.0)],
            [(2, 0.0, seconds)],
            [(2, 33.0, seconds)],
        ]
        scene.ground = Film(spans[number], scene.size, scene.fps)
        return
    shots = Shots()
    length = scene.frames // 3
    for k in range(3):
        below = world(scene.rng, scene.size, kinds[(number * 3 + k) % len(kinds)])
        below.travel(scene.rng, scene.fps, scene.frames - 2 * length, 0.1)
        shots.parts.append((k * length, below))
    scene.ground = shots


BUILDERS: dict[str, Callable[[Scene], None]] = {
    "titles": titles,
    "cards": titles,
    "thirds": thirds,
    "signs": signs,
    "subtitles": subtitles,
    "tickers": tickers,
    "credits": credits,
    "logo": logo,
    "clock": clock,
    "none": textless,
}


# ---- encoding --------------------------------------------------------------------------------------------------------


def encoder_command(scene: Scene, part: Path) -> list[str]:
    width, height = scene.size
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(scene.fps), "-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-threads", "1"]
    if scene.quality == "low":
        rate = int(14_000 * (width * height) ** 0.5 * scene.fps / 480)  # 0.35 Mb/s at 360p and 25 Hz, 0.7 at 720p
        command += ["-b:v", str(rate), "-maxrate", str(rate), "-bufsize", str(rate)]
    else:
        command += ["-crf", "18" if scene.quality == "clean" else "25"]
    return [*command, "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(part)]


def save(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}.part.json")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1))
    part.rename(path)


def render_clip(job: TextJob) -> None:
    """Renders and encodes a clip, and writes its truth beside it."""
    scene = Scene(job)
    rng, (width, height) = scene.rng, scene.size
    grain = [rng.normal(0, rng.uniform(5, 11), (height, width, 1)).astype(np.int16) for _ in range(5)]
    part = job.path.with_suffix(f".{os.getpid()}.part.mp4")  # another run may work in the same folder
    with subprocess.Popen(encoder_command(scene, part), stdin=subprocess.PIPE) as encoder:
        pipe = encoder.stdin
        assert pipe is not None

        def write(frame: Frame) -> None:
            if scene.quality == "noise":
                noise = np.roll(pick(rng, grain), int(rng.integers(height)), 0)
                frame = (frame + noise).clip(0, 255).astype(np.uint8)
            pipe.write(frame.tobytes())

        scene.draw(write)
        pipe.close()
    if encoder.returncode:
        raise RuntimeError(f"ffmpeg failed on {job.path}")
    part.rename(job.path)
    truth = {
        "category": job.category,
        "size": scene.size,
        "quality": scene.quality,
        "fps": scene.fps,
        "seconds": scene.frames / scene.fps,
        "lines": scene.lines,
    }
    save(job.path.with_suffix(".json"), truth)
