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
from typing import Any

import numpy as np

from scene_shots import Flat, Frame, H, Rng, Shot, ShotPicker, W, lavfi, smooth

VERSION = 5  # clips of another version are rendered again
CATEGORIES = ["cuts", "fades", "dissolves", "flashes", "pans", "motion", "noise", "vfr", "wipes", "mixed", "plain"]

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
        self.picker = ShotPicker(rng, self.fps, job.images, job.videos)
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
