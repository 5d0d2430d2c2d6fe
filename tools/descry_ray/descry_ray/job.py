"""The driver: a list of videos in, an archive out, with a bounded number of tasks under way.

What is done is known from the archive alone: a video whose record is there is not done again, so that a job that was
stopped, or whose driver died, is simply run again. A task that dies with its worker or node is tried again, at most
`tries` times in all; a video that descry itself cannot describe is not, for the archive keeps that failure and its reason.

Memory: of the list one line at a time is held, and the videos of the tasks under way; never a task for each video.
"""

import itertools
import json
import sys
import time
from collections import deque
from dataclasses import dataclass, field

import ray

from . import task

# descry's exit codes.
DONE, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# So many tasks in a row that end with USAGE, and none that ended well, are no accident of one node.
HOPELESS = 8


@dataclass
class Options:
    """What a job is told."""

    into: str
    binary: str = "descry"
    """Where descry is on every node."""
    cpus: float = 2
    """CPUs that each task is given. Default: 2."""
    gpus: float = 0
    """GPUs that each task is given. Default: none."""
    memory: int = 1_500_000_000
    """Bytes that each task is given. Default: 1.5 GB."""
    tries: int = 4
    """How often a task is begun at most. Default: 4."""
    in_flight: int = 0
    """Tasks under way at most. Default: twice as many as the cluster has room for, at least 4."""
    videos: int = 1
    """Videos of one task; more where they are short, for each task loads the model. Default: 1."""
    part_minutes: float = 20
    """Length of the parts of long videos; 0 parts none. Default: 20 minutes."""
    overlap: float = 40
    """Seconds that neighbouring parts share. Default: 40."""
    descry: list = field(default_factory=list)
    """Options that are handed to descry."""
    env: dict = field(default_factory=dict)
    """Environment of descry, beside the node's own."""


@dataclass
class Film:
    """A long video that is watched in parts."""

    video: str
    of: int
    parts: dict = field(default_factory=dict)
    """Part files, by number: references, not bytes."""
    dropped: bool = False
    """Given up, or begun anew: what is still under way of it comes to nothing."""


@dataclass
class Work:
    """A task that is to be done: its kind, and how often it was begun."""

    kind: str
    videos: list
    film: Film = None
    number: int = 0
    tried: int = 0
    data: object = None
    parting: bool = True
    """Whether long ones are to be parted."""


class Job:
    """Runs one job; see the module. `hear` gets a dictionary for each thing that happens."""

    def __init__(self, options, hear=lambda event: None):
        self.options = options
        self.hear = hear
        self.queue = deque()
        self.running = {}
        self.counts = {"videos": 0, "done": 0, "failed": 0, "retries": 0, "parts": 0}
        self.stopped = False
        self.useless = 0
        cpus = max(1, int(options.cpus))
        threads = ["--model-threads", str(max(1, cpus // 2)), "--decode-threads", str(cpus)]
        resources = {"num_cpus": options.cpus, "num_gpus": options.gpus, "memory": options.memory}
        # Nodes need not have this package.
        ray.cloudpickle.register_pickle_by_value(task)
        # Tries are counted here, where they can be told of.
        remote = ray.remote(max_retries=0, **resources)
        self.tasks = {
            "describe": remote(task.describe),
            "part": ray.remote(max_retries=0, num_returns=2, **resources)(task.part),
            "stitch": remote(task.stitch),
        }
        self.threads = threads

    def limit(self):
        """Tasks under way at most."""
        if self.options.in_flight:
            return self.options.in_flight
        cpus = ray.cluster_resources().get("CPU", 1)
        return max(4, int(2 * cpus / max(self.options.cpus, 0.01)))

    def run(self, videos):
        """Works until all is done or [`stop`] was called. True: all was done."""
        videos = iter(videos)
        over = False
        while True:
            while not self.stopped and len(self.running) < self.limit():
                if self.queue:
                    self.begin(self.queue.popleft())
                    continue
                some = [] if over else list(itertools.islice(videos, max(1, self.options.videos)))
                if not some:
                    over = True
                    break
                self.counts["videos"] += len(some)
                self.begin(Work("describe", some))
            if not self.running:
                break
            ready, _ = ray.wait(list(self.running), num_returns=1, timeout=1.0)
            for reference in ready:
                self.end(reference, self.running.pop(reference))
            self.hear({"event": "progress", "running": len(self.running), **self.counts})
        return over and not self.stopped and not self.counts["failed"]

    def begin(self, work):
        o = self.options
        work.tried += 1
        call = self.tasks[work.kind].remote
        if work.kind == "describe":
            longest = o.part_minutes * 60 if work.parting else 0
            reference = call(o.binary, work.videos, o.into, o.descry, self.threads, longest, o.env)
        elif work.kind == "part":
            video = work.videos[0]
            reference, work.data = call(
                o.binary, video, work.number, work.film.of, o.overlap, o.descry, self.threads, o.env
            )
        else:
            parts = [work.film.parts[n] for n in range(1, work.film.of + 1)]
            reference = call(o.binary, work.videos[0], o.into, o.descry, self.threads, o.env, *parts)
        self.running[reference] = work

    def end(self, reference, work):
        """What a task that is over means for its videos."""
        if work.film and work.film.dropped:
            return None
        try:
            told = ray.get(reference)
        except ray.exceptions.RayError as error:
            # The worker, its node, or a part's bytes are gone.
            return self.again(work, f"{type(error).__name__}: {(str(error).strip() or 'no word').splitlines()[-1]}")
        code, reason = told["code"], told["reason"]
        if code == INTERRUPTED and self.stopped:
            return None
        if code == USAGE:
            self.useless += 1
            if self.useless >= HOPELESS and not self.counts["done"]:
                self.hear({"event": "hopeless", "reason": reason})
                self.stop()
        if code not in (DONE, SOME_FAILED):
            return self.again(work, reason or f"descry ended with {code}")
        if work.kind == "part":
            if code != DONE:
                # A film that cannot be parted can still be whole.
                return self.whole(work.film)
            self.counts["parts"] += 1
            work.film.parts[work.number] = work.data
            if len(work.film.parts) == work.film.of:
                self.queue.append(Work("stitch", [work.film.video], work.film))
            return None
        for video, length in told.get("long", {}).items():
            film = Film(video, max(2, round(length / (self.options.part_minutes * 60))))
            work.videos = [v for v in work.videos if v != video]
            self.queue.extend(Work("part", [video], film, n) for n in range(1, film.of + 1))
        if code == DONE:
            self.counts["done"] += len(work.videos)
        elif len(work.videos) == 1:
            self.fail(work, reason)
        else:
            # Which of them failed is in the archive; alone each tells it, and what is done is not done again.
            self.queue.extend(Work("describe", [video]) for video in work.videos)
        return None

    def drop(self, film):
        film.dropped = True
        self.queue = deque(w for w in self.queue if w.film is not film)

    def whole(self, film):
        """Gives up parting a film."""
        self.drop(film)
        self.queue.append(Work("describe", [film.video], parting=False))

    def again(self, work, reason):
        if self.stopped:
            return
        if work.tried >= self.options.tries:
            self.fail(work, f"begun {work.tried} times, at last: {reason}")
            return
        self.counts["retries"] += 1
        self.hear({"event": "retry", "videos": work.videos, "kind": work.kind, "tried": work.tried, "reason": reason})
        if work.kind == "stitch":
            # Bytes of a part may have been on the node that is gone, and nobody knows which.
            self.drop(work.film)
            film = Film(work.film.video, work.film.of)
            self.queue.extend(Work("part", work.videos, film, n, work.tried) for n in range(1, film.of + 1))
        else:
            self.queue.append(work)

    def fail(self, work, reason):
        if work.film:
            self.drop(work.film)
        self.counts["failed"] += len(work.videos)
        self.hear({"event": "failed", "videos": work.videos, "reason": reason})

    def stop(self, force=False):
        """Begins nothing more and interrupts what is under way: descry keeps what is complete."""
        self.stopped = True
        for reference in list(self.running):
            ray.cancel(reference, force=force)


def read_manifest(path):
    """Videos of a list, one a line; blank lines and those that begin with # are none."""
    file = sys.stdin if path == "-" else open(path, encoding="utf-8")
    with file:
        for line in file:
            line = line.rstrip("\r\n")
            if line.strip() and not line.lstrip().startswith("#"):
                yield line


class Told:
    """Tells a person of a job on standard error, and a program in a file of JSON lines."""

    def __init__(self, report=None, every=10.0):
        self.report = open(report, "a", encoding="utf-8") if report else None
        self.every, self.last, self.started = every, 0.0, time.monotonic()

    def __call__(self, event):
        if event["event"] != "progress":
            if self.report:
                print(json.dumps(event), file=self.report, flush=True)
            names = ", ".join(event.get("videos", [])[:3])
            print(f"{event['event']}: {names} {event['reason']}", file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self.line(event)

    def line(self, counts):
        hours = max(time.monotonic() - self.started, 1e-3) / 3600
        print(
            f"{counts['done']} of {counts['videos']} videos begun are done, {counts['failed']} failed, "
            f"{counts['retries']} retries, {counts.get('running', 0)} tasks under way, "
            f"{counts['done'] / hours:.0f} videos an hour",
            file=sys.stderr,
            flush=True,
        )
