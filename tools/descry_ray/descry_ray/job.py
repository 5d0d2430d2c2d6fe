"""The driver: a list of videos in, an archive out, with a bounded number of tasks at a time.

Only the archive says what is done. A video whose record exists is skipped, so that a job that was stopped, or whose
driver died, is simply run again. A task that dies with its worker or node is retried, up to `tries` starts in all. A
video that descry itself cannot describe is not retried; the archive records that failure and its reason.

Memory: one line of the list at a time, and the videos of the tasks in flight; never a task for each video.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from . import task

# descry's exit codes.
DONE, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# The job stops after so many tasks that end with USAGE while none has ended well: all of them would.
HOPELESS = 8

Event = dict[str, Any]


@dataclass
class Options:
    """What to do, and with which resources."""

    into: str
    binary: str = "descry"
    """Path of descry on every node. Default: found on PATH."""
    cpus: float = 2
    """CPUs per task. Default: 2."""
    gpus: float = 0
    """GPUs per task. Default: none."""
    memory: int = 1_500_000_000
    """Bytes per task. Default: 1.5 GB."""
    tries: int = 4
    """How often a task is started at most. Default: 4."""
    in_flight: int = 0
    """Most tasks at a time. Default: twice as many as the cluster has room for, at least 4."""
    videos: int = 1
    """Videos per task; more if they are short, because each task loads the model. Default: 1."""
    part_minutes: float = 20
    """Length of the parts of long videos; 0 splits none. Default: 20 minutes."""
    overlap: float = 40
    """Seconds that neighbouring parts share. Default: 40."""
    descry: list[str] = field(default_factory=list)
    """Options for descry."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment of descry, in addition to the node's own."""


@dataclass
class Film:
    """A long video that is described in parts."""

    video: str
    count: int
    """Number of its parts."""
    parts: dict[int, Any] = field(default_factory=dict)
    """Part files by number: references, not bytes."""
    dropped: bool = False
    """Given up or restarted: results of its running tasks are ignored."""


@dataclass
class Work:
    """A task: its kind, its videos, and how often it was started."""

    kind: str
    videos: list[str]
    film: Film | None = None
    number: int = 0
    """Number of the film's part."""
    tried: int = 0
    data: Any = None
    """Reference to the part's bytes."""
    split: bool = True
    """Whether long videos are split."""


class Job:
    """Runs one job; see the module. `emit` gets a dictionary for each event."""

    def __init__(self, options: Options, emit: Callable[[Event], Any] = lambda event: None) -> None:
        self.options = options
        self.emit = emit
        self.queue: deque[Work] = deque()
        self.running: dict[Any, Work] = {}
        self.counts = {"videos": 0, "done": 0, "failed": 0, "retries": 0, "parts": 0}
        self.stopped = False
        self.usage_errors = 0
        cpus = max(1, int(options.cpus))
        threads = ["--model-threads", str(max(1, cpus // 2)), "--decode-threads", str(cpus)]
        self.descry = task.Descry(options.binary, options.descry, threads, options.env)
        resources = {"num_cpus": options.cpus, "num_gpus": options.gpus, "memory": options.memory}
        # Nodes need not have this package.
        ray.cloudpickle.register_pickle_by_value(task)
        # The job counts and reports retries itself.
        remote = ray.remote(max_retries=0, **resources)
        self.tasks = {
            "describe": remote(task.describe),
            "part": ray.remote(max_retries=0, num_returns=2, **resources)(task.part),
            "stitch": remote(task.stitch),
        }

    def limit(self) -> int:
        """Most tasks at a time."""
        if self.options.in_flight:
            return self.options.in_flight
        cpus = ray.cluster_resources().get("CPU", 1)
        return max(4, int(2 * cpus / max(self.options.cpus, 0.01)))

    def run(self, videos: Iterable[str]) -> bool:
        """Works until everything is done or `stop` was called. Returns whether everything was done."""
        videos = iter(videos)
        exhausted = False
        while True:
            while not self.stopped and len(self.running) < self.limit():
                if self.queue:
                    self.start(self.queue.popleft())
                    continue
                some = [] if exhausted else list(itertools.islice(videos, max(1, self.options.videos)))
                if not some:
                    exhausted = True
                    break
                self.counts["videos"] += len(some)
                self.start(Work("describe", some))
            if not self.running:
                break
            ready, _ = ray.wait(list(self.running), num_returns=1, timeout=1.0)
            for reference in ready:
                self.finish(reference, self.running.pop(reference))
            self.emit({"event": "progress", "running": len(self.running), **self.counts})
        return exhausted and not self.stopped and not self.counts["failed"]

    def start(self, work: Work) -> None:
        """Starts a task."""
        o = self.options
        work.tried += 1
        call = self.tasks[work.kind].remote
        if work.film is None:
            part_seconds = o.part_minutes * 60 if work.split else 0
            reference = call(self.descry, work.videos, o.into, part_seconds)
        elif work.kind == "part":
            part = (work.number, work.film.count)
            reference, work.data = call(self.descry, work.videos[0], part, o.overlap)
        else:
            parts = [work.film.parts[n] for n in range(1, work.film.count + 1)]
            reference = call(self.descry, work.videos[0], o.into, *parts)
        self.running[reference] = work

    def finish(self, reference: Any, work: Work) -> None:
        """Handles the end of a task."""
        if work.film and work.film.dropped:
            return
        try:
            outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            # The worker, its node, or a part's bytes are gone.
            self.retry(work, f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[-1]}")
            return
        code, reason = outcome["code"], outcome["reason"]
        if code == INTERRUPTED and self.stopped:
            return
        if code == USAGE:
            self.usage_errors += 1
            if self.usage_errors >= HOPELESS and not self.counts["done"]:
                self.emit({"event": "hopeless", "reason": reason})
                self.stop()
        if code not in (DONE, SOME_FAILED):
            self.retry(work, reason or f"descry ended with {code}")
        elif work.kind == "part":
            self.finish_part(work, code)
        else:
            self.finish_videos(work, code, outcome)

    def finish_part(self, work: Work, code: int) -> None:
        film = work.film
        assert film is not None
        if code != DONE:
            # A film that cannot be described in parts may still be described as a whole.
            self.describe_whole(film)
            return
        self.counts["parts"] += 1
        film.parts[work.number] = work.data
        if len(film.parts) == film.count:
            self.queue.append(Work("stitch", [film.video], film))

    def finish_videos(self, work: Work, code: int, outcome: dict[str, Any]) -> None:
        for video, length in outcome.get("long", {}).items():
            film = Film(video, max(2, round(length / (self.options.part_minutes * 60))))
            work.videos = [v for v in work.videos if v != video]
            self.queue.extend(Work("part", [video], film, n) for n in range(1, film.count + 1))
        if code == DONE:
            self.counts["done"] += len(work.videos)
        elif len(work.videos) == 1:
            self.fail(work, outcome["reason"])
        else:
            # Describes each video alone: the one that failed reports its reason, and the others are skipped.
            self.queue.extend(Work("describe", [video]) for video in work.videos)

    def drop(self, film: Film) -> None:
        """Forgets the tasks of a film."""
        film.dropped = True
        self.queue = deque(w for w in self.queue if w.film is not film)

    def describe_whole(self, film: Film) -> None:
        """Gives up splitting a film."""
        self.drop(film)
        self.queue.append(Work("describe", [film.video], split=False))

    def retry(self, work: Work, reason: str) -> None:
        """Queues a task again, or fails it after its last try."""
        if self.stopped:
            return
        if work.tried >= self.options.tries:
            self.fail(work, f"started {work.tried} times, without success; last reason: {reason}")
            return
        self.counts["retries"] += 1
        self.emit({"event": "retry", "videos": work.videos, "kind": work.kind, "tried": work.tried, "reason": reason})
        if work.kind == "stitch" and work.film:
            # The bytes of a part may have been on the lost node, and no one knows which.
            self.drop(work.film)
            film = Film(work.film.video, work.film.count)
            self.queue.extend(Work("part", work.videos, film, n, work.tried) for n in range(1, film.count + 1))
        else:
            self.queue.append(work)

    def fail(self, work: Work, reason: str) -> None:
        if work.film:
            self.drop(work.film)
        self.counts["failed"] += len(work.videos)
        self.emit({"event": "failed", "videos": work.videos, "reason": reason})

    def stop(self, force: bool = False) -> None:
        """Starts no more tasks and interrupts the running ones; descry saves what is complete."""
        self.stopped = True
        for reference in list(self.running):
            ray.cancel(reference, force=force)


def read_manifest(path: str) -> Iterator[str]:
    """The videos of a list, one per line, without blank lines and those that begin with #."""
    file = sys.stdin if path == "-" else Path(path).open(encoding="utf-8")  # noqa: SIM115 - closed below
    with file:
        for line in file:
            line = line.rstrip("\r\n")
            if line.strip() and not line.lstrip().startswith("#"):
                yield line


class Reporter:
    """Reports a job to a person on standard error, and to programs in a file of JSON lines."""

    def __init__(self, report: str | None = None, every: float = 10.0) -> None:
        """`report` is the file that events are appended to, `every` the seconds between lines of progress."""
        self.report = Path(report) if report else None
        self.every, self.last, self.started = every, 0.0, time.monotonic()
        if self.report:
            # Fails at the start, not at the first event, if the file cannot be written.
            self.report.open("a", encoding="utf-8").close()

    def __call__(self, event: Event) -> None:
        if event["event"] != "progress":
            if self.report:
                with self.report.open("a", encoding="utf-8") as file:
                    print(json.dumps(event), file=file)
            names = ", ".join(event.get("videos", [])[:3])
            print(f"{event['event']}: {names} {event['reason']}", file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self.print_counts(event)

    def print_counts(self, counts: dict[str, int]) -> None:
        hours = max(time.monotonic() - self.started, 1e-3) / 3600
        print(
            f"{counts['done']} of {counts['videos']} started videos done, {counts['failed']} failed, "
            f"{counts['retries']} retries, {counts.get('running', 0)} tasks running, "
            f"{counts['done'] / hours:.0f} videos per hour",
            file=sys.stderr,
            flush=True,
        )
