"""What runs on a node: one process of descry, whose end is returned as plain values.

This module is sent to the nodes as it is, so that they need Ray and descry but not this package. It must not import
anything from the package.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The reason of a failure is the last lines of standard error, at most so many bytes.
TAIL = 4_000
# Seconds that an interrupted process may take to stop before it is killed.
STOP_TIMEOUT = 20
PR_SET_PDEATHSIG = 1
# A video is split if it is longer than so many parts.
SPLIT_ABOVE = 1.5


@dataclass
class Descry:
    """How to run the binary on a node."""

    binary: str
    options: list[str]
    """Options of the user."""
    threads: list[str]
    """Options for the threads of a task."""
    env: dict[str, str]
    """Environment, in addition to the node's own."""

    def run(self, *args: str) -> tuple[int, str, str]:
        """Runs a command; see `run`."""
        return run([self.binary, *args], self.env)


def _die_with_parent() -> Callable[[], Any] | None:
    """Makes a child die with the worker that started it: nobody would read the results of an orphan."""
    if not sys.platform.startswith("linux"):
        return None
    # Loaded here, because nothing between fork and exec may take a lock.
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(command: list[str], env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Runs a command to its end.

    Returns its exit code (negative: the signal that killed it), standard output, and the end of standard error. An
    interrupt is passed on to the process, which finishes what is complete, and is raised again.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(env or {})},
            preexec_fn=_die_with_parent(),
        )
        try:
            out, _ = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT)
            except BaseException:
                process.kill()
                process.wait()
            raise
        size = errors.seek(0, os.SEEK_END)
        errors.seek(max(0, size - TAIL))
        return process.returncode, out.decode(errors="replace"), errors.read().decode(errors="replace").strip()


def _length(descry: Descry, video: str) -> float | None:
    """Length of a video in seconds; None if descry cannot tell."""
    code, out, _ = descry.run("probe", "--json", video)
    if code != 0:
        return None
    try:
        return json.loads(out.splitlines()[0])["video"]["duration"]
    except (ValueError, KeyError, IndexError):
        return None


def _undone(descry: Descry, videos: list[str], into: str) -> list[str]:
    """The videos that the archive does not hold. All of them if descry cannot tell: describing reports the reason."""
    code, out, _ = descry.run("index", "--into", into, "--plan", *descry.options, "--", *videos)
    names = set(out.splitlines())
    return [v for v in videos if code != 0 or v in names or os.path.realpath(v) in names]


def describe(descry: Descry, videos: list[str], into: str, part_seconds: float) -> dict[str, Any]:
    """Describes videos into the archive, and returns exit code, reason, and `long`.

    A video much longer than `part_seconds` is skipped, and `long` holds its length: the driver splits it.
    """
    long = {}
    if part_seconds:
        for video in _undone(descry, videos, into):
            length = _length(descry, video)
            if length and length > SPLIT_ABOVE * part_seconds:
                long[video] = length
    rest = [v for v in videos if v not in long]
    code, reason = 0, ""
    if rest:
        code, _, reason = descry.run("index", "--into", into, *descry.threads, *descry.options, "--", *rest)
    return {"code": code, "reason": reason, "long": long}


def part(descry: Descry, video: str, part: tuple[int, int], overlap: float) -> tuple[dict[str, Any], bytes]:
    """Describes one part of a long video, given as its number and the count of parts.

    Returns exit code and reason, and the part's file as bytes.
    """
    number, count = part
    with tempfile.TemporaryDirectory(prefix="descry-part-") as folder:
        path = Path(folder, "part.watched")
        which = [f"--part={number}/{count}", f"--overlap={overlap}", "-o", str(path)]
        code, _, reason = descry.run("part", *which, *descry.threads, *descry.options, "--", video)
        data = path.read_bytes() if code == 0 else b""
        return {"code": code, "reason": reason}, data


def stitch(descry: Descry, video: str, into: str, *parts: bytes) -> dict[str, Any]:
    """Puts the parts of a long video together and into the archive. Returns exit code and reason."""
    with tempfile.TemporaryDirectory(prefix="descry-stitch-") as folder:
        paths = []
        for number, data in enumerate(parts, 1):
            path = Path(folder, f"{number:05}.watched")
            path.write_bytes(data)
            paths.append(str(path))
        command = ["stitch", "--into", into, *descry.threads, *descry.options, "--", video, *paths]
        code, _, reason = descry.run(*command)
        return {"code": code, "reason": reason}
