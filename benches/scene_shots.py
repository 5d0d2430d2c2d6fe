"""The shots that scene_clips.py joins: moving photographs, FFmpeg's sources, and stretches of real videos.

Every random number comes from the clip's generator; see there for the order of the draws.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from PIL import Image

W, H = 480, 270

Frame: TypeAlias = np.ndarray
Rng: TypeAlias = np.random.Generator


def smooth(x: Any) -> Any:
    """A smooth step from 0 to 1."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


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

    def __init__(self, rng: Rng, fps: int, images: Sequence[Path], videos: Sequence[str]) -> None:
        self.rng, self.fps, self.images, self.videos = rng, fps, images, videos
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
