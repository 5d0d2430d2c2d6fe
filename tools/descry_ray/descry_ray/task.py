"""What runs on a node: one process of descry, with its end told in plain values.

Sent to the nodes as it is, so that they need Ray and descry and nothing of this package; so nothing here may import from it.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile

# The last lines of standard error are the reason; a gigabyte of them is nobody's.
TAIL = 4_000
# How long a process that was asked to stop may take before it is killed, in seconds.
PATIENCE = 20
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def _dies_with_parent():
    """Lets a child die with the worker that began it: what is left of a killed one would describe for nobody."""
    if not sys.platform.startswith("linux"):
        return None
    # Loaded here: between fork and exec nothing may be that takes a lock.
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(DIES_WITH_PARENT, signal.SIGKILL)


def run(command, env=None):
    """Runs a command to its end: its exit code (negative: the signal that killed it), standard output and the end of
    standard error. An interrupt goes to the process, which finishes what is complete, and then on."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, **(env or {})},
            preexec_fn=_dies_with_parent(),
        )
        try:
            out, _ = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE)
            except BaseException:
                process.kill()
                process.wait()
            raise
        size = said.seek(0, os.SEEK_END)
        said.seek(max(0, size - TAIL))
        return process.returncode, out.decode(errors="replace"), said.read().decode(errors="replace").strip()


def _length(binary, video, env):
    """Length of a video in seconds; none where descry cannot tell."""
    code, out, _ = run([binary, "probe", "--json", video], env)
    if code != 0:
        return None
    try:
        return json.loads(out.splitlines()[0])["video"]["duration"]
    except (ValueError, KeyError, IndexError):
        return None


def _undone(binary, videos, into, options, env):
    """Those of the videos that the archive does not have; all where descry cannot tell, which it will say why itself."""
    code, out, _ = run([binary, "index", "--into", into, "--plan", *options, "--", *videos], env)
    names = set(out.splitlines())
    return [v for v in videos if code != 0 or v in names or os.path.realpath(v) in names]


def describe(binary, videos, into, options, threads, part_secs, env):
    """Describes videos into the archive. Where one of them is longer than a part and a half, it is left, and its length is
    told: the driver parts it. Gives exit code, reason, and the lengths of those that were left."""
    long = {}
    if part_secs:
        for video in _undone(binary, videos, into, options, env):
            length = _length(binary, video, env)
            if length and length > 1.5 * part_secs:
                long[video] = length
    rest = [v for v in videos if v not in long]
    code, reason = 0, ""
    if rest:
        code, _, reason = run([binary, "index", "--into", into, *threads, *options, "--", *rest], env)
    return {"code": code, "reason": reason, "long": long}


def part(binary, video, number, of, overlap, options, threads, env):
    """Watches one part of a long video. Gives exit code, reason, and the part's file as bytes."""
    with tempfile.TemporaryDirectory(prefix="descry-part-") as folder:
        path = os.path.join(folder, "part.watched")
        command = [binary, "part", f"--part={number}/{of}", f"--overlap={overlap}", "-o", path, *threads, *options, "--", video]
        code, _, reason = run(command, env)
        data = b""
        if code == 0:
            with open(path, "rb") as file:
                data = file.read()
        return {"code": code, "reason": reason}, data


def stitch(binary, video, into, options, threads, env, *parts):
    """Puts the parts of a long video together and into the archive. Gives exit code and reason."""
    with tempfile.TemporaryDirectory(prefix="descry-stitch-") as folder:
        paths = []
        for number, data in enumerate(parts, 1):
            path = os.path.join(folder, f"{number:05}.watched")
            with open(path, "wb") as file:
                file.write(data)
            paths.append(path)
        code, _, reason = run([binary, "stitch", "--into", into, *threads, *options, "--", video, *paths], env)
        return {"code": code, "reason": reason}
