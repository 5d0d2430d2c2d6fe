#!/usr/bin/env python3
"""Tests the Ray package on a local cluster of several nodes, with the real binary.

    DESCRY_BINARY=target/debug/descry vendor/venv/bin/python tools/descry_ray/tests/test_ray.py

With --kill [--seed N], nodes die at random while the cluster works.

Films are synthesised with FFmpeg. One process describes them into one archive, and the cluster into another: both must
be the same, byte for byte.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools" / "descry_ray"))

import ray
from ray.cluster_utils import Cluster

from descry_ray import simulate
from descry_ray.job import Job, Options, read_manifest

BINARY = os.environ.get("DESCRY_BINARY", str(ROOT / "target" / "debug" / "descry"))
MODEL = ["--model", str(ROOT / "tests" / "models" / "tiny")]
# A run with --kill must kill so many nodes.
LEAST_KILLED = 3
# These differ between two archives of the same videos: claims of running processes, and derived files.
OWN = {"claims", "search"}


def ffmpeg(*args: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *args], check=True)


def clip(path: Path, seconds: float, seed: int, cuts: int = 4) -> None:
    """A film with cuts: life, patterns and gradients."""
    sources = [
        f"testsrc2=size=128x72:rate=25:duration={seconds / cuts},hue=h={seed * 37 % 360}",
        f"mandelbrot=size=128x72:rate=25:start_scale={1 + seed % 3},trim=duration={seconds / cuts}",
        f"gradients=size=128x72:rate=25:duration={seconds / cuts}:seed={seed}:speed=0.02",
        f"cellauto=size=128x72:rate=25:rule={30 + seed % 60}:random_seed={seed},trim=duration={seconds / cuts}",
    ]
    inputs, names = [], ""
    for n in range(cuts):
        inputs += ["-f", "lavfi", "-i", sources[(n + seed) % len(sources)]]
        names += f"[{n}:v]"
    joined = f"{names}concat=n={cuts},format=yuv420p"
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50"]
    ffmpeg(*inputs, "-filter_complex", joined, *codec, str(path))


def descry(*args: Any, code: int = 0) -> None:
    done = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, (args, done.returncode, done.stderr)


def files(folder: Path) -> set[str]:
    """The files that two archives of the same videos have in common."""
    names = {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()}
    return {n for n in names if n.split("/")[0] not in OWN}


def differences(a: Path, b: Path) -> list[str]:
    """Names of the files that differ between two archives."""
    both = files(a) & files(b)
    wrong = sorted(files(a) ^ files(b))
    return wrong + [n for n in sorted(both) if not filecmp.cmp(f"{a}/{n}", f"{b}/{n}", shallow=False)]


class Nodes:
    """A cluster on this machine. Its nodes declare their CPUs; the machine need not have as many."""

    def __init__(self, count: int, cpus: int = 2) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.cpus = cpus
        self.workers = [self.add() for _ in range(count)]
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level="ERROR")

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=self.cpus, memory=4_000_000_000, object_store_memory=80_000_000)

    def kill(self, node: Any) -> None:
        self.workers.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()


def options(into: Path, **more: Any) -> Options:
    env = {k: v for k, v in os.environ.items() if k.startswith("DESCRY_")}
    more = {"binary": BINARY, "env": env, "cpus": 1, "memory": 200_000_000, "part_minutes": 0, "descry": MODEL, **more}
    return Options(into=str(into), **more)


class Small(unittest.TestCase):
    """One cluster for all tests: starting one takes longer than the tests."""

    folder: tempfile.TemporaryDirectory[str]
    path: Path
    videos: list[Path]
    film: Path
    broken: Path
    nodes: Nodes
    one: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = Path(cls.folder.name)
        cls.videos = [cls.path / f"{n}.mp4" for n in range(4)]
        for n, video in enumerate(cls.videos):
            clip(video, 4, n, cuts=2)
        cls.film = cls.path / "film.mp4"
        clip(cls.film, 60, 5, cuts=15)
        cls.broken = cls.path / "broken.mp4"
        cls.broken.write_bytes(b"no film at all" * 50)
        cls.nodes = Nodes(2)
        cls.one = cls.path / "one"
        descry("index", *cls.videos, cls.film, cls.broken, "--into", cls.one, *MODEL, code=1)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.nodes.close()
        cls.folder.cleanup()

    def test_cluster_gives_what_one_machine_gives(self) -> None:
        into = self.path / "many"
        events: list[dict[str, Any]] = []
        job = Job(options(into, part_minutes=0.3, overlap=16, in_flight=3), events.append)
        manifest = self.path / "list.txt"
        manifest.write_text("# a list\n\n" + "\n".join(map(str, [self.film, self.broken, *self.videos])) + "\n")
        self.assertFalse(job.run(read_manifest(str(manifest))), "one of them is broken")
        failed = [e for e in events if e["event"] == "failed"]
        self.assertEqual([e["videos"] for e in failed], [[str(self.broken)]])
        self.assertIn("not a video", failed[0]["reason"])
        self.assertEqual((job.counts["done"], job.counts["failed"], job.counts["parts"]), (5, 1, 3))
        self.assertLessEqual(max(e["running"] for e in events if e["event"] == "progress"), 3)
        self.assertEqual(differences(self.one, into), [])
        # Again: nothing is described twice.
        before = {n: (into / n).stat().st_mtime_ns for n in files(into)}
        again = Job(options(into, part_minutes=0.3, overlap=16, videos=6))
        again.run([str(v) for v in [self.film, *self.videos]])
        self.assertEqual((again.counts["done"], again.counts["parts"]), (5, 0))
        self.assertEqual(before, {n: (into / n).stat().st_mtime_ns for n in files(into)})

    def test_bounded_however_long_the_list(self) -> None:
        taken = []

        def endless() -> Iterator[str]:
            for n in range(10_000):
                taken.append(n)
                if n == 40:
                    job.stop()
                yield f"/nowhere/{n}.mp4"

        job = Job(options(self.path / "none", binary="/bin/false", in_flight=4, tries=1))
        self.assertFalse(job.run(endless()))
        self.assertLessEqual(len(taken), 41 + 4)

    def test_what_dies_is_tried_again_and_not_for_ever(self) -> None:
        script = self.path / "dies"
        # Kills itself the first two times, then runs descry.
        script.write_text(
            "#!/bin/sh\n"
            f'echo x >>"{self.path}/tries"\n'
            f'[ $(wc -l <"{self.path}/tries") -gt 2 ] || kill -9 $$\n'
            f'exec "{BINARY}" "$@"\n'
        )
        script.chmod(0o755)
        events: list[dict[str, Any]] = []
        job = Job(options(self.path / "died", binary=str(script), in_flight=1), events.append)
        self.assertTrue(job.run([str(self.videos[0])]))
        self.assertEqual(job.counts["retries"], 2)
        script.write_text("#!/bin/sh\nkill -9 $$\n")
        job = Job(options(self.path / "died", binary=str(script), tries=3), events.append)
        self.assertFalse(job.run([str(self.videos[0])]))
        self.assertEqual((job.counts["retries"], job.counts["failed"]), (2, 1))
        self.assertIn("started 3 times", events[-2]["reason"] + events[-1].get("reason", ""))

    def test_a_wrong_option_ends_the_job(self) -> None:
        events: list[dict[str, Any]] = []
        job = Job(options(self.path / "wrong", descry=["--no-such-option"], tries=2), events.append)
        self.assertFalse(job.run(str(v) for v in self.videos * 100))
        self.assertTrue(job.stopped)
        self.assertTrue(any("no-such-option" in e.get("reason", "") for e in events))


class Simulated(unittest.TestCase):
    def test_simulation_is_sound(self) -> None:
        alone = simulate.World(
            nodes=1,
            slots=1,
            videos=50,
            films=0,
            spread=0.0,
            part_minutes=0,
            start=0,
            driver=0,
            listing=0,
            mtbf=0,
            slow=0,
        )
        result = simulate.simulate(alone)
        self.assertAlmostEqual(result["hours"], 50 * 600 / 12 / 3600, places=6)
        self.assertAlmostEqual(result["efficiency"], 1.0, places=6)
        # Half the storage takes twice the time.
        half = simulate.simulate(simulate.dataclasses.replace(alone, storage=12 * alone.bitrate / 2))
        self.assertAlmostEqual(half["hours"], 2 * result["hours"], places=6)
        dying = simulate.dataclasses.replace(alone, nodes=4, slots=4, videos=2000, mtbf=3.0)
        result = simulate.simulate(dying)
        self.assertGreater(result["retries"], 0)
        self.assertLess(result["efficiency"], 1.0)
        self.assertEqual(result, simulate.simulate(dying))


def kill_at_random(seed: int, count: int, seconds: float) -> None:
    """Describes films while nodes die and come back; the archive must equal that of one process."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = []
        for n in range(count):
            videos.append(folder / f"{n}.mp4")
            clip(videos[-1], dice.uniform(4, 12), n)
        for n in range(2):
            videos.append(folder / f"film{n}.mp4")
            clip(videos[-1], 90, n, cuts=22)
        dice.shuffle(videos)
        descry("index", *videos, "--into", folder / "one", *MODEL)
        nodes = Nodes(3)
        events: list[dict[str, Any]] = []
        over, busy, killed = threading.Event(), threading.Event(), 0

        def note(event: dict[str, Any]) -> None:
            events.append(event)
            if event["event"] == "progress" and event["running"]:
                busy.set()

        job = Job(options(folder / "many", part_minutes=0.4, overlap=16, tries=50), note)
        ran = []

        def drive() -> None:
            ran.append(job.run(map(str, videos)))
            over.set()

        # The driver has its own thread; this one kills nodes, because Ray must clean up in the thread that started it.
        driver = threading.Thread(target=drive)
        driver.start()
        # Tasks start late on a busy machine. Nodes that die before have nothing to lose.
        while not busy.wait(0.2) and driver.is_alive():
            pass
        while not over.wait(dice.uniform(0.3, 1.7) * seconds if killed else 0):
            # Sometimes one node is left, sometimes only the new one. The first node always dies.
            if len(nodes.workers) > 1 and (not killed or dice.random() < 0.7):
                nodes.kill(dice.choice(nodes.workers))
                killed += 1
            if len(nodes.workers) < 3:
                nodes.workers.append(nodes.add())
        driver.join()
        nodes.close()
        wrong = differences(folder / "one", folder / "many")
        left = [str(p) for p in (folder / "many").rglob("*.part")]
        report = {"seed": seed, "videos": len(videos), "killed": killed, **job.counts}
        print(json.dumps({**report, "differences": wrong, "left": left}))
        assert ran == [True] and not wrong, (ran, wrong, [e for e in events if e["event"] != "progress"])
        # A run in which no node died, or only idle ones, shows nothing.
        assert killed >= LEAST_KILLED, f"only {killed} nodes died: give more films with --count, or fewer --seconds"
        assert job.counts["retries"] > 0, f"{killed} nodes died, and none of them was at work"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    p = argparse.ArgumentParser()
    p.add_argument("--kill", action="store_true")
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--count", type=int, default=16)
    p.add_argument("--seconds", type=float, default=5.0, help="about how long a node lives")
    a, rest = p.parse_known_args()
    if a.kill:
        print(f"seed {a.seed}", flush=True)
        kill_at_random(a.seed, a.count, a.seconds)
    else:
        unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
