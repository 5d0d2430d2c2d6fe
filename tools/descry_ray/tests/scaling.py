#!/usr/bin/env python3
"""Measures how much faster two workers are than one on this machine, where each has a core to itself.

    DESCRY_BINARY=target/release/descry vendor/venv/bin/python tools/descry_ray/tests/scaling.py

Rounds with one and two workers alternate. It prints the median times and the efficiency, which is the time of one
worker over twice that of two. It needs a quiet machine with two cores or more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import test_ray
from descry_ray.job import Job


def pinned_binary(folder: Path) -> Path:
    """A script that runs descry on one core: the first one running gets the first core, the other the second."""
    script = folder / "pinned"
    script.write_text(
        "#!/bin/sh\n"
        f'exec 9>"{folder}/first"\n'
        "flock -n 9 && core=0 || core=1\n"
        f'exec taskset -c $core "{test_ray.BINARY}" "$@"\n'
    )
    script.chmod(0o755)
    return script


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--videos", type=int, default=12, help="videos of a job (default: 12)")
    p.add_argument("--seconds", type=float, default=60, help="length of a video (default: 60)")
    p.add_argument("--rounds", type=int, default=3, help="measured rounds (default: 3)")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = [folder / f"{n}.mp4" for n in range(a.videos)]
        for n, video in enumerate(videos):
            test_ray.clip(video, a.seconds, n, cuts=12)
        binary = str(pinned_binary(folder))
        nodes = test_ray.Nodes(1, cpus=2)
        times: dict[int, list[float]] = {1: [], 2: []}
        for number in range(a.rounds + 1):
            for workers in (1, 2):
                into = folder / f"{number}-{workers}"
                job = Job(test_ray.options(into, binary=binary, cpus=2 / workers))
                started = time.monotonic()
                assert job.run(map(str, videos)), job.counts
                # The first round starts the workers, and is not measured.
                if number:
                    times[workers].append(time.monotonic() - started)
        nodes.close()
    one, two = (statistics.median(times[n]) for n in (1, 2))
    efficiency = round(one / two / 2, 3)
    print(json.dumps({"videos": a.videos, "one": round(one, 2), "two": round(two, 2), "efficiency": efficiency}))


if __name__ == "__main__":
    main()
