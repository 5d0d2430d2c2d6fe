"""Renders clips with exact ground truth for scene_quality.py.

A clip is a list of shots joined by cuts, fades, dissolves or wipes: photographs under a moving camera, FFmpeg's
sources, and stretches of real one-shot videos. The same job gives the same clip. Every random number comes from one
generator, so the order of the draws is part of the format: raise VERSION when it changes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from PIL import Image

W, H = 480, 270
VERSION = 5  # clips of another version are rendered again
CATEGORIES = ["cuts", "fades", "dissolves", "flashes", "pans", "motion", "noise", "vfr", "wipes", "mixed", "plain"]

Frame: TypeAlias = np.ndarray
Rng: TypeAlias = np.random.Generator
Colour = tuple[int, ...]
# An event of the ground truth: kind, from, to and at. Frames while a clip is built, seconds at the end.
Event = dict[str, Any]


@dataclass(frozen=True)
class ClipJob:
    """One clip to render."""

    category: str
    seed: int
    number: int
    images: Sequence[Path]
    videos: Sequence[str]
    path: Path


def smooth(x: Any) -> Any:
    """A smooth step from 0 to 1."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


# ---- shots -----------------------------------------------------------------------------------------------------------


class Shot(Protocol):
    """Something with frames."""

    def frame(self, i: int) -> Frame: ...


@dataclass
class Patch:
    """A picture that moves through a shot: an actor, who turns round at the edges, or something that crosses once."""

    pixels: np.ndarray
    start: np.ndarray
    speed: np.ndarray
    begin: float
    """Seconds until it starts to move; 0: an actor."""

    def draw(self, frame: Frame, seconds: float) -> None:
        x, y = (self.start + self.speed * max(seconds, self.begin)).astype(int)
        if self.begin == 0.0:
            x, y = [int(abs((v + 2 * m) % (2 * m) - m)) - 60 for v, m in ((x, W), (y, H))]
        height, width = self.pixels.shape[:2]
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, W), min(y + height, H)
        if x0 < x1 and y0 < y1:
            frame[y0:y1, x0:x1] = self.pixels[y0 - y : y1 - y, x0 - x : x1 - x]


class Photo:
    """A photograph under a moving camera; mirrored at its edges, so that the camera may go anywhere."""

    def __init__(
        self, path: Path, rng: Rng, motion: str, length: tuple[float, int], extras: Sequence[str] = ()
    ) -> None:
        """`length` is the shot's seconds and frames per second."""
        seconds, self.fps = length
        photograph = Image.open(path).convert("RGB")
        scale = 640 / photograph.width
        photograph = photograph.resize((640, max(200, round(photograph.height * scale))), Image.Resampling.BICUBIC)
        a = np.asarray(photograph)
        pad_y, pad_x = a.shape[0] - 1, a.shape[1] - 1
        self.image = Image.fromarray(np.pad(a, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)), mode="reflect"))
        self.centre = np.array([pad_x + a.shape[1] / 2, pad_y + a.shape[0] / 2])
        self.size = np.array([a.shape[1], a.shape[0]], float)
        self.move(rng, motion, seconds)
        self.light(rng, extras, seconds)
        self.patches: list[Patch] = []
        for _ in range(int(rng.integers(1, 4)) if "actors" in extras else 0):
            self.patches.append(actor(photograph, rng))
        if "crossing" in extras:
            self.patches.append(crossing(photograph, rng, seconds))

    def move(self, rng: Rng, motion: str, seconds: float) -> None:
        """Position, zoom and angle of the camera in every frame."""
        n = int(seconds * self.fps) + 4
        t = np.arange(n) / self.fps
        self.zoom = np.full(n, rng.uniform(0.7, 1.1))
        self.angle = np.zeros(n)
        self.path = np.zeros((n, 2)) + rng.uniform(-0.15, 0.15, 2)
        direction = rng.normal(size=2) * [1.0, 0.5]
        direction /= np.linalg.norm(direction) + 1e-9
        if motion == "kenburns":
            self.path += np.outer(t, direction * rng.uniform(0.01, 0.06))
            self.zoom *= np.exp(rng.uniform(-0.06, 0.06) * t)
        elif motion == "handheld":
            self.path += np.outer(t, direction * rng.uniform(0.0, 0.04))
            shake = np.zeros((n, 2))
            for i in range(1, n):
                shake[i] = 0.85 * shake[i - 1] + rng.normal(size=2) * rng.uniform(0.002, 0.008)
            self.path += shake
            self.angle += np.cumsum(rng.normal(size=n)) * 0.002
        elif motion == "pan":
            speed = rng.uniform(0.2, 0.7)
            start, length = rng.uniform(0, 0.5) * seconds, rng.uniform(0.3, 1.0) * seconds
            self.path += np.outer(smooth((t - start) / length) * min(speed * length, 1.0), direction)
        elif motion == "whip":
            start, length = rng.uniform(0.2, 0.7) * seconds, rng.uniform(0.35, 0.7)
            self.path += np.outer(smooth((t - start) / length) * rng.uniform(0.5, 0.9), direction)
        elif motion == "zoom":
            eased = smooth((t - rng.uniform(0, 0.3) * seconds) / (0.5 * seconds))
            self.zoom *= np.exp(eased * rng.uniform(-0.9, 0.9))
        elif motion == "rotate":
            self.angle += t * rng.uniform(-0.6, 0.6)

    def light(self, rng: Rng, extras: Sequence[str], seconds: float) -> None:
        """Brightness of every frame."""
        t = np.arange(len(self.zoom)) / self.fps
        self.gain = np.ones(len(t))
        if "light" in extras:
            change = rng.uniform(-0.6, 0.6)
            start, length = rng.uniform(0, 0.5) * seconds, rng.uniform(0.3, 2.0)
            self.gain = 1 + change * smooth((t - start) / length)
        self.flicker = rng.uniform(0.02, 0.08) if "flicker" in extras else 0.0

    def frame(self, i: int) -> Frame:
        i = min(i, len(self.zoom) - 1)
        c = self.centre + self.path[i] * self.size
        c = np.clip(c, 0.25 * np.array(self.image.size), 0.75 * np.array(self.image.size))
        s = self.zoom[i] * 640 / W * 0.8
        cos, sin = np.cos(self.angle[i]) * s, np.sin(self.angle[i]) * s
        m = (cos, -sin, c[0] - cos * W / 2 + sin * H / 2, sin, cos, c[1] - sin * W / 2 - cos * H / 2)
        seen = self.image.transform((W, H), Image.Transform.AFFINE, m, Image.Resampling.BILINEAR)
        f = np.asarray(seen)
        if self.patches:
            f = f.copy()
        for patch in self.patches:
            patch.draw(f, i / self.fps)
        gain = self.gain[i] * (1 + self.flicker * np.sin(i * 2.1))
        return f if gain == 1 else (f * np.float32(gain)).clip(0, 255).astype(np.uint8)


def actor(photograph: Image.Image, rng: Rng) -> Patch:
    """A piece of the photograph, mirrored, that walks about."""
    w, h = rng.uniform(0.15, 0.4) * W, rng.uniform(0.3, 0.8) * H
    x, y = int(rng.uniform(0, photograph.width * 0.5)), int(rng.uniform(0, photograph.height * 0.4))
    box = (x, y, x + int(w * 0.8), min(photograph.height, y + int(h * 0.8)))
    piece = photograph.crop(box).resize((int(w), int(h)))
    speed = rng.normal(size=2) * [0.15 * W, 0.05 * H]
    return Patch(np.asarray(piece)[:, ::-1], rng.uniform(0, 0.7, 2) * [W, H], speed, 0.0)


def crossing(photograph: Image.Image, rng: Rng, seconds: float) -> Patch:
    """Something large and near that goes through the picture."""
    w, h = rng.uniform(0.3, 0.8) * W, rng.uniform(0.6, 1.0) * H
    tint = np.asarray(photograph.resize((int(w), int(h)))).astype(np.float32) * 0.3 + rng.uniform(0, 120, 3)
    length = rng.uniform(0.5, 1.5)
    start = rng.uniform(0.1, 0.6) * seconds
    speed = np.array([(W + w) / length, 0.0])
    return Patch(tint.clip(0, 255).astype(np.uint8), np.array([-w, H - h]) - speed * start, speed, start)


class Stream:
    """Frames that ffmpeg produces: from its own sources, or a stretch of a file."""

    def __init__(self, args: Sequence[str], fps: int, seconds: float) -> None:
        out = ["-frames:v", str(int(seconds * fps) + 4), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        run = subprocess.run(["ffmpeg", "-v", "error", *args, *out], capture_output=True, check=True)
        self.frames = np.frombuffer(run.stdout, np.uint8).reshape(-1, H, W, 3)

    def frame(self, i: int) -> Frame:
        return self.frames[min(i, len(self.frames) - 1)]


class Flat:
    """One colour."""

    def __init__(self, rng: Rng) -> None:
        self.colour = rng.integers(0, 256, 3).astype(np.uint8)

    def frame(self, i: int) -> Frame:
        return np.broadcast_to(self.colour, (H, W, 3))


def lavfi(rng: Rng, fps: int, seconds: float, kind: str | None = None) -> Stream:
    """One of FFmpeg's sources, at random unless `kind` names one."""
    r, size = f"r={fps}", f"s={W}x{H}"

    def pick(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    def colour() -> str:
        return f"0x{int(rng.integers(0x1000000)):06x}"

    seed = int(rng.integers(1, 2**31))
    hue = f"hue=h={int(rng.integers(360))}"
    sources = {
        "testsrc2": f"testsrc2={size}:{r},{hue}",
        "testsrc": f"testsrc={size}:{r},{hue}",
        "mandelbrot": f"mandelbrot={size}:{r}:start_scale={rng.uniform(0.3, 3):.3f}:end_scale=0.003:maxiter=500,{hue}",
        "gradients": f"gradients={size}:{r}:seed={seed}:speed={rng.uniform(0.002, 0.02):.4f}:n=4"
        f":c0={colour()}:c1={colour()}:c2={colour()}:c3={colour()}",
        "life": f"life=s=96x54:{r}:seed={seed}:mold=10:ratio=0.3:death_color={colour()}:life_color={colour()}"
        f":mold_color={colour()},scale={W}:{H}:flags=neighbor",
        "cellauto": f"cellauto=s={W // 4}x{H // 4 + 1}:{r}:seed={seed}:rule={pick(18, 30, 90, 110)},"
        f"scale={W}:{H}:flags=neighbor,{hue}",
        "sierpinski": f"sierpinski={size}:{r}:seed={seed}:jump={pick(10, 50)},{hue}",
        "bars": f"smptehdbars={size}:{r},scroll=h={rng.uniform(-0.01, 0.01):.4f}:v=0,{hue}",
        "rgbtest": f"rgbtestsrc={size}:{r},rotate=a={rng.uniform(-1, 1):.2f}*t:ow={W}:oh={H}",
        "turning": f"yuvtestsrc={size}:{r},rotate=a={rng.uniform(-2, 2):.2f}*t:ow={W}:oh={H},{hue}",
        "static": f"color=c=gray:{size}:{r},noise=alls={pick(40, 80)}:allf=t:all_seed={seed % 9999},{hue}",
    }
    if kind is None:
        kind = pick(*[k for k in sources if k != "static"], "testsrc2", "mandelbrot", "gradients")
    return Stream(["-f", "lavfi", "-i", f"{sources[kind]},scale={W}:{H},setsar=1"], fps, seconds + 1)


class ShotPicker:
    """Picks shots; four of five are photographs, if there are any."""

    def __init__(self, rng: Rng, fps: int, job: ClipJob) -> None:
        self.rng, self.fps, self.images, self.videos = rng, fps, job.images, job.videos
        self.last: str | None = None

    def shot(self, seconds: float, motions: Sequence[str], extras: Sequence[str]) -> Shot:
        rng = self.rng
        if self.videos and rng.random() < 0.12:
            video = self.video(seconds)
            if video:
                return video
        self.last = None
        if self.images and rng.random() < 0.8:
            path = self.images[int(rng.integers(len(self.images)))]
            some = [e for e in extras if rng.random() < 0.5]
            return Photo(path, rng, motions[int(rng.integers(len(motions)))], (seconds, self.fps), some)
        return lavfi(rng, self.fps, seconds)

    def video(self, seconds: float) -> Stream | None:
        """A stretch of a one-shot video; none if it is too short or was the last shot."""
        file, _, span = str(self.videos[int(self.rng.integers(len(self.videos)))]).partition("@")
        a, b = (float(v) for v in span.split("-")) if span else (0.0, 4.0)
        start = self.rng.uniform(a, max(a, b - seconds))
        if file == self.last or b - start < seconds:
            return None
        self.last = file
        crop = f"fps={self.fps},scale={W}:{H}:force_original_aspect_ratio=increase,crop={W}:{H}"
        return Stream(["-ss", f"{start:.3f}", "-t", f"{b - start:.3f}", "-i", file, "-vf", crop], self.fps, seconds)


# ---- transitions -----------------------------------------------------------------------------------------------------


def blank(colour: Colour) -> Frame:
    return np.broadcast_to(np.array(colour, np.uint8), (H, W, 3))


def mix(a: Frame, b: Frame, share: float) -> Frame:
    return (a.astype(np.float32) * (1 - share) + b.astype(np.float32) * share + 0.5).astype(np.uint8)


def wipe(a: Frame, b: Frame, share: float, style: int) -> Frame:
    """`b` replaces `a` from the left, from below, by sliding in, or in a growing circle."""
    if style == 0:
        x = int(share * W)
        return np.concatenate([b[:, :x], a[:, x:]], 1)
    if style == 1:
        y = int(share * H)
        return np.concatenate([a[: H - y], b[H - y :]], 0)
    if style == 2:
        x = int(share * W)
        return np.concatenate([a[:, x:], b[:, :x]], 1)
    yy, xx = np.mgrid[0:H, 0:W]
    inside = np.hypot(yy - H / 2, xx - W / 2) < share * np.hypot(H, W) / 2
    return np.where(inside[..., None], b, a)


@dataclass
class Join:
    """The transition after a shot; `frames` is its length, or that of a fade's first half."""

    kind: str | None
    frames: int = 0
    hold: int = 0
    """Blank frames in the middle of a fade."""
    frames_in: int = 0
    ease: bool = False
    colour: Colour = (0, 0, 0)

    @property
    def overlap(self) -> int:
        """Frames in which both shots are visible."""
        return self.frames if self.kind in ("dissolve", "wipe") else 0


def random_join(kind: str | None, rng: Rng, fps: int) -> Join:
    join = Join(kind)
    if kind in ("dissolve", "wipe"):
        join.frames = round(rng.uniform(0.3, 2.2 if kind == "dissolve" else 1.2) * fps)
        join.ease = bool(rng.random() < 0.3)
    elif kind == "fade":
        join.frames = round(rng.uniform(0.25, 1.2) * fps)
        join.frames_in = round(rng.uniform(0.25, 1.2) * fps)
        holds = [0.0, rng.uniform(0.04, 0.4), rng.uniform(0.04, 0.4), 1.2]
        join.hold = round(float(rng.choice(holds)) * fps)
        colours = [(0, 0, 0), (0, 0, 0), (255, 255, 255), tuple(int(c) for c in rng.integers(0, 256, 3))]
        join.colour = colours[int(rng.integers(4))]
    return join


# ---- clips -----------------------------------------------------------------------------------------------------------

MOTIONS = ["still", "kenburns", "kenburns", "handheld"]


def style_of(category: str) -> tuple[list[str], list[str], list[str]]:
    """The kinds of transitions, the motions, and the extras of a category."""
    kinds = {
        "fades": ["fade"],
        "dissolves": ["dissolve"],
        "wipes": ["wipe"],
        "vfr": ["cut", "cut", "dissolve", "fade"],
        "mixed": ["cut", "cut", "dissolve", "fade"],
    }.get(category, ["cut"])
    if category == "pans":
        return kinds, ["pan", "whip", "zoom", "rotate", "pan"], []
    if category == "motion":
        return kinds, ["handheld", "kenburns", "pan"], ["actors", "crossing", "light", "flicker"]
    if category in ("mixed", "noise"):
        return kinds, [*MOTIONS, "pan", "zoom"], ["actors", "crossing", "light"]
    if category in ("fades", "dissolves", "vfr"):
        return kinds, [*MOTIONS, "pan"], ["actors"]
    return kinds, MOTIONS, []


class Clip:
    """Builds one clip: a function for each frame, and the truth in frames."""

    def __init__(self, job: ClipJob) -> None:
        self.job, self.category = job, job.category
        self.rng = rng = np.random.default_rng([job.seed, CATEGORIES.index(job.category), job.number, VERSION])
        self.fps = int(rng.choice([24, 25, 25, 30, 30, 50])) if job.category != "vfr" else 60
        self.picker = ShotPicker(rng, self.fps, job)
        self.kinds, self.motions, self.extras = style_of(job.category)
        self.frames: list[Callable[[], Frame]] = []
        self.truth: list[Event] = []
        self.plan()
        self.build()

    def plan(self) -> None:
        """Lengths of the shots, and the transitions between them."""
        rng = self.rng
        self.count = {"plain": 8, "cuts": 12}.get(self.category, 8)
        self.lengths: list[int] = []
        self.joins: list[Join] = []
        for k in range(self.count):
            short = self.category in ("cuts", "plain")
            seconds = rng.uniform(0.9, 3.5) if short else rng.uniform(1.6, 4.0)
            kind = self.kinds[int(rng.integers(len(self.kinds)))] if k + 1 < self.count else None
            self.joins.append(random_join(kind, rng, self.fps))
            self.lengths.append(round(seconds * self.fps))
        self.opening = self.category == "fades" and rng.random() < 0.7
        self.ending = self.category == "fades" and rng.random() < 0.7

    def build(self) -> None:
        """Adds the frames of all shots and the events between them."""
        previous: Shot | None = None
        previous_end = 0  # frames of the previous shot before its overlap with the next
        for k in range(self.count):
            before = self.joins[k - 1] if k else Join(None)
            lead, trail = before.overlap, self.joins[k].overlap
            n = lead + self.lengths[k] + trail
            shot = self.shot(n / self.fps)
            if lead and previous:
                self.add_overlap(before, previous, previous_end, shot)
            self.add_body(k, before, shot, (lead, n - lead - trail))
            previous, previous_end = shot, n - trail

    def shot(self, seconds: float) -> Shot:
        if self.category == "plain" and self.rng.random() < 0.4:
            return Flat(self.rng)
        if self.category == "noise" and self.rng.random() < 0.15:
            return lavfi(self.rng, self.fps, seconds, "static")
        return self.picker.shot(seconds, self.motions, self.extras)

    def add_overlap(self, join: Join, old: Shot, offset: int, new: Shot) -> None:
        """A dissolve or a wipe from the frames of `old` after `offset` to the first ones of `new`."""
        length = join.frames
        style = int(self.rng.integers(4))

        def blended(j: int) -> Frame:
            share = (j + 1) / (length + 1)
            share = float(smooth(share)) if join.ease else share
            a, b = old.frame(offset + j), new.frame(j)
            return mix(a, b, share) if join.kind == "dissolve" else wipe(a, b, share, style)

        self.frames += [partial(blended, j) for j in range(length)]
        end = len(self.frames)
        self.truth.append({"kind": join.kind, "from": end - length - 1, "to": end, "at": end - length // 2})

    def add_body(self, k: int, before: Join, shot: Shot, span: tuple[int, int]) -> None:
        """The frames of a shot outside overlaps, from the first of `span` on, with the halves of its fades."""
        first, length = span
        after = self.joins[k]
        fade_in = before.frames_in if before.kind == "fade" else 0
        fade_out = after.frames if after.kind == "fade" else 0
        if k == 0 and self.opening:
            fade_in = self.fps // 2
        if k + 1 == self.count and self.ending:
            fade_out = self.fps
        fade_in, fade_out = min(fade_in, length // 2), min(fade_out, length // 2)
        start = len(self.frames)
        if before.kind == "fade":
            self.truth[-1]["to"] = start + fade_in
            self.truth[-1]["at"] = start
        elif before.kind == "cut":
            self.truth.append({"kind": "cut", "from": start, "to": start, "at": start})

        def faded(j: int) -> Frame:
            if j < fade_in:
                return mix(blank(before.colour), shot.frame(first + j), (j + 1) / (fade_in + 1))
            if j >= length - fade_out:
                level = 1 - (j - (length - fade_out) + 1) / (fade_out + 1)
                return mix(blank(after.colour), shot.frame(first + j), level)
            return shot.frame(first + j)

        self.frames += [partial(faded, j) for j in range(length)]
        if after.kind == "fade":
            most = 1 + (after.hold > 0.5 * self.fps)
            self.truth.append({"kind": "fade", "from": len(self.frames) - fade_out, "to": 0, "at": 0, "most": most})
            self.frames += [lambda: blank(after.colour)] * max(1, after.hold)

    @property
    def cuts(self) -> set[int]:
        return {e["at"] for e in self.truth if e["kind"] == "cut"}


# ---- disturbances and encoding ---------------------------------------------------------------------------------------

# Style and power of a flash: over the whole picture, by gain, or from one side.
Flash = tuple[int, float]


def random_flashes(clip: Clip) -> dict[int, Flash]:
    """Flashes by frame, at least half a second from any cut: closer ones are indistinguishable from it."""
    flashes: dict[int, Flash] = {}
    if clip.category != "flashes":
        return flashes
    rng, fps, cuts = clip.rng, clip.fps, clip.cuts
    for _ in range(2 * clip.count):
        at, style = int(rng.integers(len(clip.frames))), int(rng.integers(4))
        length = int(rng.integers(1, max(2, round(0.16 * fps))))
        if any(abs(at - c) < 0.5 * fps for c in cuts) or at + fps > len(clip.frames):
            continue
        power = rng.uniform(0.5, 1.0)
        if style == 3:  # decays
            for j in range(round(0.3 * fps)):
                flashes[at + j] = (0, power * 0.75**j)
        else:
            flashes.update({at + j: (style, power) for j in range(length)})
    return flashes


def flashed(frame: Frame, flash: Flash) -> Frame:
    style, power = flash
    f: Frame = frame.astype(np.float32)
    if style == 0:
        f = f * (1 - power) + 255 * power
    elif style == 1:
        f = f * (1 + 3 * power)
    else:
        f = f + 255 * power * np.linspace(1, 0.1, W)[None, :, None]
    return f.clip(0, 255).astype(np.uint8)


def random_noise(clip: Clip) -> list[np.ndarray]:
    """Seven planes of grain; none for most clips."""
    rng = clip.rng
    grain = 0.0
    if clip.category == "noise":
        grain = rng.uniform(8, 40)
    elif rng.random() < 0.3:
        grain = rng.uniform(2, 6)
    return [rng.normal(size=(H, W, 1)).astype(np.float32) * grain for _ in range(7)] if grain else []


def kept_frames(clip: Clip) -> list[int]:
    """Frames that are encoded: all of them, but some of a clip with a variable frame rate."""
    n = len(clip.frames)
    keep: np.ndarray = np.ones(n, bool)
    if clip.category == "vfr":
        i = np.arange(n)
        patterns = [clip.rng.random(n) < 0.5, np.where(i // 240 % 2, i % 2 == 0, i % 5 == 0), i % 2 == 0]
        keep = patterns[clip.job.number % 3]
        keep[0] = True
    return [i for i in range(n) if keep[i]]


def encoder_command(clip: Clip, kept: Sequence[int], crf: int, part: Path) -> list[str]:
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{W}x{H}"]
    command += ["-r", str(clip.fps), "-i", "-", "-fps_mode", "passthrough"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), "-threads", "2", "-pix_fmt", "yuv420p"]
    if clip.category == "vfr":  # each frame keeps its place on the 60 Hz clock
        expression = expression_of(np.array(kept), 0)
        command += ["-vf", f"setpts='({expression})/({clip.fps}*TB)'", "-enc_time_base", f"1/{clip.fps * 10}"]
    return [*command, "-movflags", "+faststart", str(part)]


def expression_of(values: np.ndarray, start: int) -> str:
    """A balanced expression that gives values[N - start]: FFmpeg's expressions have no lists."""
    if len(values) == 1:
        return str(int(values[0]))
    middle = len(values) // 2
    d = np.diff(values)
    if len(d) and (d == d[0]).all():
        return f"({int(values[0])}+{int(d[0])}*(N-{start}))"
    left, right = expression_of(values[:middle], start), expression_of(values[middle:], start + middle)
    return f"if(lt(N,{start + middle}),{left},{right})"


def write_frames(
    clip: Clip, kept: Sequence[int], flashes: dict[int, Flash], noise: list[np.ndarray], pipe: Any
) -> None:
    """Renders the frames and writes them to the encoder."""
    rng, cuts = clip.rng, clip.cuts
    on_twos = clip.category == "vfr" and clip.job.number % 3 == 2  # duplicate frames, as in animation on twos
    last: Frame | None = None
    for j, i in enumerate(kept):
        if on_twos and j % 2 and last is not None and not any(i - 2 <= c <= i for c in cuts):
            f = last
        else:
            f = clip.frames[i]()
        last = f
        if i in flashes:
            f = flashed(f, flashes[i])
        if noise:
            shift = int(rng.integers(0, H))
            f = (f + np.roll(noise[int(rng.integers(7))], shift, 0)).clip(0, 255).astype(np.uint8)
        pipe.write(np.ascontiguousarray(f).tobytes())


def render(job: ClipJob) -> dict[str, Any]:
    """Renders and encodes a clip; returns its truth in seconds, its length, and the usual distance of two frames."""
    clip = Clip(job)
    flashes = random_flashes(clip)
    noise = random_noise(clip)
    kept = kept_frames(clip)
    crf = int(clip.rng.choice([18, 23, 28, 33]))
    part = job.path.with_suffix(".part.mp4")
    with subprocess.Popen(encoder_command(clip, kept, crf, part), stdin=subprocess.PIPE) as encoder:
        write_frames(clip, kept, flashes, noise, encoder.stdin)
    if encoder.returncode:
        raise RuntimeError(f"ffmpeg failed on {job.path}")
    frames = np.array(kept)
    for event in clip.truth:  # the first kept frame that shows it
        for key in ("from", "to", "at"):
            event[key] = float(frames[min(np.searchsorted(frames, event[key]), len(frames) - 1)]) / clip.fps
    step = float(np.median(np.diff(frames))) / clip.fps
    part.rename(job.path)
    return {"truth": clip.truth, "step": step, "seconds": len(clip.frames) / clip.fps, "frames": len(kept)}
