"""The pictures under the text of text_clips.py, none with a text of its own: films of samples/, stills and textures.

Every random number comes from the clip's generator; see text_clips.py for the order of the draws.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeAlias

import cv2
import numpy as np

from text_words import Rng, pick

Frame: TypeAlias = np.ndarray
Size: TypeAlias = tuple[int, int]  # width, height

SAMPLES = Path(__file__).parent.parent / "samples"
# Stretches without text, in seconds.
FILMS = [("bigbuckbunny-opening.webm", 2.0, 18.0), ("bigbuckbunny.mp4", 0.0, 5.2), ("tears-of-steel.webm", 0.0, 70.0)]
SMALL: Size = (160, 90)


class Ground(Protocol):
    """What is under the text."""

    def frame(self, i: int) -> Frame:
        """A frame into which the caller may write. Frames are asked for in their order."""
        ...

    def look(self, i: int, box: Sequence[float]) -> Frame:
        """The pixels in a box, in fractions of the picture, of any frame; reduced in size."""
        ...


def cut(picture: Frame, box: Sequence[float]) -> Frame:
    height, width = picture.shape[:2]
    x, y, w, h = box
    x0, y0 = min(max(0, int(x * width)), width - 1), min(max(0, int(y * height)), height - 1)
    return picture[y0 : max(y0 + 1, int((y + h) * height) + 1), x0 : max(x0 + 1, int((x + w) * width) + 1)]


class Flat:
    """One colour."""

    def __init__(self, size: Size, colour: Sequence[int]) -> None:
        self.picture: Frame = np.full((size[1], size[0], 3), colour, np.uint8)

    def frame(self, i: int) -> Frame:
        return self.picture.copy()

    def look(self, i: int, box: Sequence[float]) -> Frame:
        return self.picture[:1, :1]


# ---- films -----------------------------------------------------------------------------------------------------------


def decode(file: Path, start: float, seconds: float, fps: int, size: Size) -> Iterator[Frame]:
    width, height = size
    fit = f"fps={fps},scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height}"
    command = ["ffmpeg", "-nostdin"]
    command += ["-v", "error", "-threads", "1", "-ss", f"{start:.3f}", "-t", f"{seconds:.3f}", "-i", str(file)]
    command += ["-vf", fit, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        try:
            while len(data := run.stdout.read(width * height * 3)) == width * height * 3:
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        finally:  # also when nobody asks for the rest
            run.kill()


# A stretch of a film: its number in FILMS, its start and its length in seconds.
Stretch: TypeAlias = tuple[int, float, float]


def stretches(rng: Rng, seconds: float) -> list[Stretch]:
    """What fills this time: one stretch of the longest film, or all films from the first on."""
    if rng.random() < 0.6:
        return [(2, float(rng.uniform(0, FILMS[2][2] - seconds)), seconds)]
    parts: list[Stretch] = []
    for k, (_, first, last) in enumerate(FILMS):
        parts.append((k, first, min(seconds, last - first)))
        seconds -= parts[-1][2]
        if seconds <= 0:
            break
    return parts


class Film:
    """Stretches of real films, one after the other, joined by cuts."""

    def __init__(self, parts: Sequence[Stretch], size: Size, fps: int) -> None:
        files = [(SAMPLES / FILMS[k][0], start, length) for k, start, length in parts]
        self.small = [frame for file in files for frame in decode(*file, fps, SMALL)]
        self.frames = chain.from_iterable(decode(*file, fps, size) for file in files)
        self.last: Frame = np.zeros((size[1], size[0], 3), np.uint8)

    def frame(self, i: int) -> Frame:
        self.last = next(self.frames, self.last)
        return self.last.copy()

    def look(self, i: int, box: Sequence[float]) -> Frame:
        return cut(self.small[min(i, len(self.small) - 1)], box)


@cache
def still(film: int, at: float) -> Frame:
    """One picture of a film, 1280 pixels wide."""
    command = ["ffmpeg", "-nostdin"]
    command += ["-v", "error", "-ss", f"{at:.3f}", "-i", str(SAMPLES / FILMS[film][0]), "-frames:v", "1"]
    command += ["-vf", "scale=1280:-2", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, 1280, 3)


# ---- worlds: large pictures under a moving camera --------------------------------------------------------------------


class World:
    """A picture that is larger than the frame, and the camera's way over it."""

    def __init__(self, picture: Frame, size: Size) -> None:
        self.picture, self.size = picture, size
        self.matrices: list[np.ndarray] = []

    def travel(self, rng: Rng, fps: int, frames: int, speed: float) -> None:
        """Draws the camera's way: a pan, a zoom, both, or a hand that shakes. `speed` is in widths a second."""
        t = np.arange(frames) / fps
        seconds = frames / fps
        angle = rng.uniform(-0.35, 0.35) + (np.pi if rng.random() < 0.5 else 0.0)
        pace = speed * rng.uniform(0.3, 1.0)
        growth = 0.0
        style = pick(rng, ["pan", "pan", "zoom", "both", "hand"])
        if style in ("zoom", "both"):
            growth = rng.uniform(-0.045, 0.06)
        if style in ("zoom", "hand"):
            pace *= 0.25
        path = np.outer(t - seconds / 2, [np.cos(angle), np.sin(angle)]) * pace * self.size[0]
        if style == "hand":
            shake = np.cumsum(rng.normal(size=(frames, 2)), 0)
            path += (shake - np.linspace(0, 1, frames)[:, None] * shake[-1]) * self.size[0] * 4e-4
        zoom = 1.0 * np.exp(growth * (t - seconds / 2))
        height, width = self.picture.shape[:2]
        centre = np.array([width / 2, height / 2])
        for k in range(frames):
            # From the world to the frame.
            s = zoom[k]
            dx, dy = np.array(self.size) / 2 - (centre + path[k]) * s
            self.matrices.append(np.array([[s, 0, dx], [0, s, dy]], np.float64))

    def frame(self, i: int) -> Frame:
        m = self.matrices[min(i, len(self.matrices) - 1)]
        return cv2.warpAffine(self.picture, m, self.size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def look(self, i: int, box: Sequence[float]) -> Frame:
        return cut(self.frame(i), box)[::4, ::4]


def photo(rng: Rng, size: Size) -> Frame:
    """A still of a film, enlarged, with some grain that replaces the detail that it lacks."""
    film = int(rng.choice([0, 1, 2, 2]))
    _, first, last = FILMS[film]
    picture = still(film, float(rng.uniform(first, last - 0.5)))
    width, height = int(size[0] * 1.7), int(size[1] * 1.7)
    scale = max(width / picture.shape[1], height / picture.shape[0])
    big = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    y, x = (big.shape[0] - height) // 2, (big.shape[1] - width) // 2
    big = big[y : y + height, x : x + width]
    detail = mottled(rng, (width, height), [2, 4, 9])[..., None]
    return (big * (1 + 0.25 * (detail - 0.5))).clip(0, 255).astype(np.uint8)


def mottled(rng: Rng, size: Size, cells: Sequence[int]) -> np.ndarray:
    """Noise of several scales, 0 to 1; `cells` are their sizes in pixels."""
    total: np.ndarray = np.zeros((size[1], size[0]), np.float32)
    for cell in cells:
        coarse = rng.random((size[1] // cell + 2, size[0] // cell + 2), np.float32)
        total += cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return total / len(cells)


def tinted(values: np.ndarray, dark: Sequence[int], light: Sequence[int]) -> Frame:
    share = values[..., None]
    return (np.array(dark) * (1 - share) + np.array(light) * share).clip(0, 255).astype(np.uint8)


def colours(rng: Rng) -> tuple[list[int], list[int]]:
    """A dark colour and a lighter one."""
    dark = [int(c) for c in rng.integers(10, 110, 3)]
    return dark, [min(255, c + int(rng.integers(50, 140))) for c in dark]


def gradient(rng: Rng, size: Size) -> Frame:
    w, h = int(size[0] * 1.6), int(size[1] * 1.6)
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    wave = np.sin((xx * np.cos(angle) + yy * np.sin(angle)) / w * rng.uniform(2, 9)) / 2 + 0.5
    return tinted(wave, *colours(rng))


def clouds(rng: Rng, size: Size) -> Frame:
    return tinted(mottled(rng, (int(size[0] * 1.6), int(size[1] * 1.6)), [3, 17, 60, 150]), *colours(rng))


def strewn(rng: Rng, size: Size, count: int, shape: Callable[[Frame, tuple[int, int], int], None]) -> Frame:
    """Many shapes over each other on a mottled picture; `shape` draws one at a place and in a size."""
    picture = clouds(rng, size)
    unit = size[1] / 100
    for x, y, r in zip(
        rng.integers(0, picture.shape[1], count),
        rng.integers(0, picture.shape[0], count),
        rng.uniform(1.0, 4.0, count) * unit,
        strict=True,
    ):
        shape(picture, (int(x), int(y)), max(2, int(r)))
    return picture


def foliage(rng: Rng, size: Size) -> Frame:
    def leaf(picture: Frame, at: tuple[int, int], r: int) -> None:
        green = int(rng.integers(40, 190))
        colour = (int(green * rng.uniform(0.2, 0.9)), green, int(green * rng.uniform(0.1, 0.5)))
        cv2.ellipse(picture, at, (r, max(1, r // 3)), float(rng.uniform(0, 360)), 0, 360, colour, -1, cv2.LINE_AA)

    return strewn(rng, size, 9000, leaf)


def crowd(rng: Rng, size: Size) -> Frame:
    def person(picture: Frame, at: tuple[int, int], r: int) -> None:
        grey = int(rng.integers(30, 200))
        shirt = [grey + int(c) for c in rng.integers(-25, 50, 3)]
        skin = int(rng.integers(70, 230))
        cv2.ellipse(picture, (at[0], at[1] + 2 * r), (r + r // 2, 2 * r), 0, 0, 360, shirt, -1, cv2.LINE_AA)
        cv2.circle(picture, at, r, (skin, int(skin * 0.75), int(skin * 0.6)), -1, cv2.LINE_AA)
        cv2.ellipse(picture, at, (r, r), 0, 180, 360, [int(c) for c in rng.integers(10, 90, 3)], -1, cv2.LINE_AA)

    return strewn(rng, size, 1500, person)


def pebbles(rng: Rng, size: Size) -> Frame:
    def stone(picture: Frame, at: tuple[int, int], r: int) -> None:
        grey = int(rng.integers(50, 220))
        axes = (2 * r, int(rng.uniform(1, 2) * r))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(picture, at, axes, angle, 0, 360, (grey, grey, int(grey * 0.9)), -1, cv2.LINE_AA)
        cv2.ellipse(picture, at, axes, angle, 0, 360, (grey // 3,) * 3, 1, cv2.LINE_AA)

    return strewn(rng, size, 2500, stone)


def bricks(rng: Rng, size: Size) -> Frame:
    w, h = int(size[0] * 1.6), int(size[1] * 1.6)
    picture = tinted(mottled(rng, (w, h), [2, 7]), (150, 145, 135), (190, 185, 178))
    tall = int(size[1] * rng.uniform(0.03, 0.08))
    wide, gap = int(tall * 2.6), max(1, tall // 9)
    for row, y in enumerate(range(0, h, tall)):
        for x in range(-wide + row % 2 * wide // 2, w, wide):
            base = rng.uniform(0.6, 1.1)
            colour = [int(c * base) for c in (150, 72, 55)]
            cv2.rectangle(picture, (x, y), (x + wide - gap, y + tall - gap), colour, -1)
    return (picture * (0.8 + 0.4 * mottled(rng, (w, h), [2, 5, 31])[..., None])).clip(0, 255).astype(np.uint8)


def railings(rng: Rng, size: Size) -> Frame:
    picture = clouds(rng, size)
    h, w = picture.shape[:2]
    step = int(size[0] * rng.uniform(0.02, 0.05))
    colour = [int(c) for c in rng.integers(10, 60, 3)] if rng.random() < 0.5 else [225, 225, 220]
    for x in range(0, w, step):
        cv2.rectangle(picture, (x, h // 5), (x + max(2, step // 4), h), colour, -1)
        cv2.circle(picture, (x + step // 8, h // 5), max(3, step // 4), colour, -1, cv2.LINE_AA)
    for y in (h // 4, h // 2, 3 * h // 4):
        cv2.rectangle(picture, (0, y), (w, y + max(2, step // 3)), colour, -1)
    return picture


def stripes(rng: Rng, size: Size) -> Frame:
    w, h = int(size[0] * 1.6), int(size[1] * 1.6)
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    angle, step = rng.uniform(0, np.pi), size[1] * rng.uniform(0.015, 0.06)
    wave = np.sin((xx * np.cos(angle) + yy * np.sin(angle)) / step)
    return tinted((wave > rng.uniform(-0.6, 0.6)).astype(np.float32), *colours(rng))


def facade(rng: Rng, size: Size) -> Frame:
    """A house front: windows with crossbars, ledges, shutters."""
    picture = clouds(rng, size)
    h, w = picture.shape[:2]
    tall, wide = int(size[1] * rng.uniform(0.14, 0.3)), int(size[0] * rng.uniform(0.06, 0.13))
    frame = [int(c) for c in rng.integers(170, 250, 3)]
    shutter = [int(c) for c in rng.integers(20, 140, 3)]
    for y in range(tall // 3, h, int(tall * 1.6)):
        cv2.rectangle(picture, (0, y + tall + 4), (w, y + tall + 8), frame, -1)
        for x in range(wide // 3, w, int(wide * 2.2)):
            glass = int(rng.integers(20, 120))
            cv2.rectangle(picture, (x, y), (x + wide, y + tall), (glass, glass, glass + 20), -1)
            cv2.rectangle(picture, (x, y), (x + wide, y + tall), frame, max(2, wide // 15))
            for k in (1, 2):
                cv2.line(picture, (x, y + k * tall // 3), (x + wide, y + k * tall // 3), frame, max(1, wide // 25))
            cv2.line(picture, (x + wide // 2, y), (x + wide // 2, y + tall), frame, max(1, wide // 25))
            for k in range(y, y + tall, max(3, tall // 14)):
                cv2.line(picture, (x - wide // 3, k), (x - wide // 12, k), shutter, max(1, tall // 40))
    return picture


def lattice(rng: Rng, size: Size) -> Frame:
    picture = clouds(rng, size)
    h, w = picture.shape[:2]
    step = int(size[1] * rng.uniform(0.04, 0.1))
    colour = [int(c) for c in rng.integers(0, 256, 3)]
    for k in range(-h, w + h, step):
        cv2.line(picture, (k, 0), (k + h, h), colour, max(2, step // 8), cv2.LINE_AA)
        cv2.line(picture, (k, h), (k + h, 0), colour, max(2, step // 8), cv2.LINE_AA)
    return picture


def scratches(rng: Rng, size: Size) -> Frame:
    """Short strokes at all angles, as of hatching, twigs or scratched walls: what most resembles letters."""

    def stroke(picture: Frame, at: tuple[int, int], r: int) -> None:
        turn = rng.uniform(0, np.pi)
        end = (at[0] + int(2 * r * np.cos(turn)), at[1] + int(2 * r * np.sin(turn)))
        shade = int(rng.integers(0, 255))
        cv2.line(picture, at, end, (shade, shade, shade), max(1, r // 4), cv2.LINE_AA)

    return strewn(rng, size, 1200, stroke)


TEXTURES: dict[str, Callable[[Rng, Size], Frame]] = {
    "foliage": foliage,
    "bricks": bricks,
    "crowd": crowd,
    "railings": railings,
    "facade": facade,
    "stripes": stripes,
    "pebbles": pebbles,
    "lattice": lattice,
    "scratches": scratches,
}


def world(rng: Rng, size: Size, kind: str | None = None) -> World:
    """A world, of a kind that is drawn unless `kind` names it; still without the camera's way."""
    makers = {**TEXTURES, "photo": photo, "gradient": gradient, "clouds": clouds}
    kind = kind or pick(rng, ["photo", "photo", "photo", "gradient", "clouds", "bricks", "foliage", "facade", "crowd"])
    return World(makers[kind](rng, size), size)
