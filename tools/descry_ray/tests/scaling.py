#!/usr/bin/env python3
"""How much faster two workers are than one, on this machine: each has a core to itself.

    DESCRY_BINARY=target/release/descry vendor/venv/bin/python tools/descry_ray/tests/scaling.py [--videos 12] [--rounds 3]

Rounds take turns. Prints the median times and the efficiency, which is the time of one worker over twice that of two. Give it
a quiet machine of two cores or more.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import test_ray
from descry_ray.job import Job


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--videos", type=int, default=12)
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = [folder / f"{n}.mp4" for n in range(a.videos)]
        for n, video in enumerate(videos):
            test_ray.clip(video, a.seconds, n, cuts=12)
        # Whoever comes first has the first core, the other the second.
        pinned = folder / "pinned"
        pinned.write_text(
            f'#!/bin/sh\nexec 9>"{folder}/first"\nflock -n 9 && core=0 || core=1\nexec taskset -c $core "{test_ray.BINARY}" "$@"\n'
        )
        pinned.chmod(0o755)
        nodes = test_ray.Nodes(1, cpus=2)
        times = {1: [], 2: []}
        for number in range(a.rounds + 1):
            for workers in (1, 2):
                into = folder / f"{number}-{workers}"
                job = Job(test_ray.options(into, binary=str(pinned), cpus=2 / workers))
                began = time.monotonic()
                assert job.run(map(str, videos)), job.counts
                # The first round begins the workers.
                if number:
                    times[workers].append(time.monotonic() - began)
        nodes.close()
    one, two = (statistics.median(times[n]) for n in (1, 2))
    print(json.dumps({"videos": a.videos, "one": round(one, 2), "two": round(two, 2), "efficiency": round(one / two / 2, 3)}))


if __name__ == "__main__":
    main()
