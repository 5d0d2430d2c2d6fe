#!/usr/bin/env python3
"""Measures how `descry describe --text` reads text on screen, and compares it with rapidocr at one frame a second.

Films are synthesised with text whose wording, place and time are exactly known (text_clips.py), encoded with libx264
and kept in --work, so that a second run only reads. It needs the ffmpeg binary, the fonts that `tools/setup.sh bench`
installs, and benches/requirements-text.txt.

For each kind of text it prints how many of the words were read, how many of the words that were read are there, the
errors in the characters of matched lines, how many lines start and end within a quarter of a second, and how often a
line was reported; then the lines that were read in films without text. text_scores.py defines all of these.

With the example text_looks (`cargo build --release --example text_looks`), it also prints for how many lines descry
looks at a frame while the line is there, whatever is read: the recall of what chooses the frames.

The cost of descry is that of a run with --text less that of a run without. That of rapidocr is its own: decoding and
loading its models are left out.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rapidfuzz.distance import Levenshtein

from text_clips import CATEGORIES, VERSION, TextJob, render_clip, save
from text_scores import COLUMNS, STAYS, Reading, Score, Truth, group_of, judge_readings, plain

ROWS = ["titles", "lower thirds", "signs", "subtitles", "tickers", "credits", "logos", "clocks"]
SAME = 0.8  # similarity of a line in two frames, from which rapidocr's readings are one


@dataclass
class Result:
    """What a system read in each film, and what that cost."""

    readings: list[list[Reading]]
    cpu: float
    """Seconds of user and system time."""
    wall_ratio: float | None = None
    """The time of the run with --text over that of the run without."""


# ---- descry ----------------------------------------------------------------------------------------------------------


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Runs a command; returns its CPU seconds and its wall-clock seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:3])} … failed:\n{errors.decode(errors='replace')[-2000:]}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - start


def descry(binary: str, films: Sequence[Path], threads: int, flags: Sequence[str]) -> Result:
    """Describes all films in one run, with --text and without."""
    limits = ["--decode-threads", str(threads), "--model-threads", str(threads), "--jobs", "1"]
    with tempfile.TemporaryDirectory() as folder:
        base = [binary, "describe", *map(str, films), "-f", "json", "-o", folder, "--force", *limits, *flags]
        cpu_without, wall_without = timed(base)
        cpu_with, wall_with = timed([*base, "--text"])
        texts = [json.loads((Path(folder) / f"{film.stem}.json").read_text())["text"] for film in films]
    readings = [[Reading(t["text"], t["start"], t["end"], t["kind"], t["box"]) for t in text] for text in texts]
    return Result(readings, cpu_with - cpu_without, wall_with / wall_without)


# ---- rapidocr --------------------------------------------------------------------------------------------------------

Box = list[float]
Lines = list[tuple[str, float, Box]]  # wordings with their scores and boxes
Reader = Callable[[np.ndarray], Lines]


def upright(corners: Any, picture: np.ndarray) -> Box:
    """The upright box around four corners, in fractions of the picture."""
    points = np.asarray(corners, float) / [picture.shape[1], picture.shape[0]]
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]


def reader_v6(threads: int) -> Reader:
    from rapidocr import RapidOCR

    engine = RapidOCR(params={"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": threads})

    def read(picture: np.ndarray) -> Lines:
        found = engine(picture)
        if not found.txts:
            return []
        boxes = [upright(corners, picture) for corners in found.boxes]
        return list(zip(found.txts, map(float, found.scores), boxes, strict=True))

    return read


def reader_v4(threads: int) -> Reader:
    from rapidocr_onnxruntime import RapidOCR

    engine = RapidOCR(intra_op_num_threads=threads)

    def read(picture: np.ndarray) -> Lines:
        found, _ = engine(picture)
        return [(text, float(score), upright(corners, picture)) for corners, text, score in found or []]

    return read


# By package: its models, and how to load them.
RIVALS: dict[str, tuple[str, Callable[[int], Reader]]] = {
    "rapidocr": ("PP-OCRv6 small", reader_v6),
    "rapidocr_onnxruntime": ("PP-OCRv4 mobile", reader_v4),
}


def pictures(film: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The first frame of every second."""
    width, height = size
    choose = "select='isnan(prev_selected_t)+gte(t,floor(prev_selected_t+0.001)+1-0.001)'"
    command = ["ffmpeg", "-nostdin"]
    command += ["-v", "error", "-threads", "1", "-i", str(film), "-vf", choose, "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "bgr24", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        while len(data := run.stdout.read(width * height * 3)) == width * height * 3:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def merged(frames: Sequence[Lines]) -> list[Reading]:
    """Lines of consecutive frames that are nearly the same are one, with the wording that scored highest."""
    done: list[Reading] = []
    open_lines: list[tuple[Reading, float]] = []
    for second, lines in enumerate(frames):
        following: list[tuple[Reading, float]] = []
        for text, score, box in lines:
            rates = [
                (Levenshtein.normalized_similarity(plain(text), plain(r.text)), k)
                for k, (r, _) in enumerate(open_lines)
            ]
            rate, i = max(rates, default=(0.0, -1))
            if rate < SAME:
                done.append(Reading(text, float(second), float(second), box=box))
                following.append((done[-1], score))
                continue
            line, best = open_lines.pop(i)
            line.end = float(second)
            if score > best:
                line.text, best = text, score
            following.append((line, best))
        open_lines = following
    return done


def rapidocr(package: str, films: Sequence[Path], metas: Sequence[Truth], threads: int) -> Result:
    """Reads one frame a second; what was read is kept beside the films."""
    reader: Reader | None = None
    cpu = 0.0
    readings = []
    for film, meta in zip(films, metas, strict=True):
        cache = film.with_suffix(f".{package}-{version(package)}-{threads}.json")
        if not cache.exists():
            reader = reader or RIVALS[package][1](threads)
            cv2.setNumThreads(threads)
            frames, spent = [], 0.0
            for picture in pictures(film, meta["size"]):
                start = time.process_time()
                lines = reader(picture)
                spent += time.process_time() - start
                frames.append(lines)
            save(cache, {"cpu": spent, "frames": frames})
            print(f"{package} read {film.name}", file=sys.stderr)
        kept = json.loads(cache.read_text())
        cpu += kept["cpu"]
        readings.append(merged(kept["frames"]))
    return Result(readings, cpu)


# ---- the bench -------------------------------------------------------------------------------------------------------


def render_missing(jobs: Sequence[TextJob]) -> None:
    """Renders the films that are not in the work folder yet."""
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        missing = [job for job in jobs if not job.path.with_suffix(".json").exists()]
        pending = {pool.submit(render_clip, job): job.path for job in missing}
        for future in concurrent.futures.as_completed(pending):
            future.result()
            print(f"made {pending[future].name}", file=sys.stderr)


def print_tables(name: str, result: Result, metas: Sequence[Truth], split: str | None) -> list[str]:
    """Prints the table of a system; returns all that was wrong, by film."""
    scores: dict[str, Score] = {}
    wrong: list[str] = []
    for readings, meta in zip(result.readings, metas, strict=True):
        rows, notes = judge_readings(readings, meta)
        wrong += [f"{name} {meta['name']} {meta['size'][1]}p {meta['quality']}: {note}" for note in notes]
        shown = str(meta["size"][1]) + "p" if split == "size" else meta.get(split or "", "")
        for row, score in rows.items():
            for key in [row, *([f"{row}, {shown}"] if split else [])]:
                scores[key] = scores.get(key, Score()) + score
    order = [key for row in ROWS for key in sorted(scores) if key == row or key.startswith(f"{row}, ")]
    print(f"\n{name}:\n\n| text | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for key in order:
        print(f"| {key} | {' | '.join(scores[key].cells())} |")
    minutes = sum(meta["seconds"] for meta in metas if meta["category"] == "none") / 60
    if minutes:
        false = scores.get("none", Score()).false
        print(f"\n{false} false lines in {minutes:.1f} minutes without text: {false / minutes:.2f} a minute")
    return wrong


def looked_at(line: Truth, looks: Sequence[dict[str, Any]]) -> bool:
    """Whether a look falls into the time of a line; of one that stays in its place, at that place."""

    def holds_line(region: Box) -> bool:
        x, y, w, h = line["rests"]
        across = min(x + w, region[0] + region[2]) - max(x, region[0])
        down = min(y + h, region[1] + region[3]) - max(y, region[1])
        return max(across, 0.0) * max(down, 0.0) >= 0.9 * w * h

    return any(
        line["start"] <= look["at"] <= line["end"]
        and (line["kind"] not in STAYS or any(map(holds_line, look["regions"])))
        for look in looks
    )


def print_looks(example: Path, films: Sequence[Path], metas: Sequence[Truth]) -> None:
    """How many lines descry looks at, by rows of the table, and how many looks that takes."""
    lines: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    count, seconds = 0, 0.0
    for film, meta in zip(films, metas, strict=True):
        done = subprocess.run([example, film], capture_output=True, text=True, check=True)
        looks = [json.loads(line) for line in done.stdout.splitlines()]
        count, seconds = count + len(looks), seconds + meta["seconds"]
        for line in meta["lines"]:
            if line["legible"]:
                row = group_of(line, meta["category"])
                lines[row] += 1
                seen[row] += looked_at(line, looks)
    print("\nLines for which a frame is looked at:\n\n| text | lines | looked at |\n|---|---|---|")
    for row in [row for row in ROWS if lines[row]]:
        print(f"| {row} | {lines[row]} | {seen[row] / lines[row]:.3f} |")
    print(f"| all | {lines.total()} | {seen.total() / max(1, lines.total()):.3f} |")
    print(f"\n{60 * count / seconds:.0f} looks a minute")


def print_costs(results: dict[str, Result], metas: Sequence[Truth]) -> None:
    seconds = sum(meta["seconds"] for meta in metas)
    own = results.get("descry")
    print(f"\nOver {seconds / 60:.1f} minutes of film:\n")
    print("| system | CPU seconds per minute of film | over descry's |\n|---|---|---|")
    for name, result in results.items():
        ratio = f"{result.cpu / own.cpu:.1f}" if own and own.cpu > 0 else "–"
        print(f"| {name} | {result.cpu * 60 / seconds:.1f} | {ratio} |")
    if own and own.wall_ratio:
        print(f"\nWith --text descry takes {own.wall_ratio:.2f} times as long as without.")


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=1, help="seed of the films (default: 1)")
    p.add_argument("--sets", type=int, default=1, help="how many times the usual number of films (default: 1)")
    p.add_argument("--categories", default=",".join(CATEGORIES), help=f"default: {','.join(CATEGORIES)}")
    p.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "descry-text",
        metavar="DIR",
        help="folder for the films (default: descry-text in the temporary folder)",
    )
    p.add_argument(
        "--descry",
        default=str(Path(__file__).parent.parent / "target/release/descry"),
        metavar="FILE",
        help="descry's binary, or none (default: target/release/descry)",
    )
    p.add_argument(
        "--looks",
        default=str(Path(__file__).parent.parent / "target/release/examples/text_looks"),
        metavar="FILE",
        help="the example text_looks, or none (default: target/release/examples/text_looks)",
    )
    p.add_argument("--flags", default="", help="more options for descry, separated by spaces")
    p.add_argument("--rivals", default=",".join(RIVALS), help=f"{','.join(RIVALS)}, or none (default: both)")
    p.add_argument("--threads", type=int, default=1, help="threads of every system (default: 1)")
    p.add_argument("--split", choices=["quality", "size"], help="show each kind of text by quality or size, too")
    p.add_argument("--dump", type=Path, metavar="FILE", help="list what was missed, invented or wrong in this file")
    return p.parse_args()


def main() -> None:
    a = arguments()
    folder = a.work / f"v{VERSION}-seed{a.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        TextJob(category, a.seed, n, folder / f"{category}{n}.mp4")
        for category in a.categories.split(",")
        for n in range(CATEGORIES[category] * a.sets)
    ]
    render_missing(jobs)
    films = [job.path for job in jobs]
    metas: list[dict[str, Any]] = [
        {**json.loads(film.with_suffix(".json").read_text()), "name": film.name} for film in films
    ]
    results: dict[str, Result] = {}
    if a.descry != "none":
        results["descry"] = descry(a.descry, films, a.threads, a.flags.split())
    for package in a.rivals.split(","):
        if package in RIVALS:
            name = f"{package} {version(package)} ({RIVALS[package][0]})"
            results[name] = rapidocr(package, films, metas, a.threads)
    wrong = [note for name, result in results.items() for note in print_tables(name, result, metas, a.split)]
    if results:
        print_costs(results, metas)
    if a.looks != "none":
        print_looks(Path(a.looks), films, metas)
    if a.dump:
        a.dump.write_text("".join(f"{note}\n" for note in wrong))


if __name__ == "__main__":
    main()
