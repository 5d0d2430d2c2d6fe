"""Shows what limits a job on a cluster that does not exist here: python -m descry_ray.simulate

This is a discrete-event simulation of one job as `job` runs it. Each node has slots for tasks. A task costs the start
of a process and of the model, then the video's length over the speed of a slot; it reads the video meanwhile. All tasks
share:

* **listing**: names of the videos and of finished ones, one after another, before the first task;
* **the driver**: one thread, with a cost for each task that it starts and ends;
* **storage**: a total of bytes per second, shared fairly by all readers;
* **the tail**: at the end slots are idle while the last tasks run, and only parts can spread a long video.

Nodes die at random and come back; their work is repeated. Some are slow. Efficiency is the time that the same work
would take if it were spread evenly over all slots and nothing else cost anything, over the time that the job takes. To
find what limits the job, the shared parts are removed one at a time; the one without which the job is shortest is the
limit.

Every number is an option. Those of a slot and of the driver were measured on two cores; those of storage and of
failures are assumptions, and their help texts say so.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import math
import random
from collections import deque
from collections.abc import Iterator
from typing import Any

FILM_SECONDS = 3 * 3600.0


@dataclasses.dataclass
class World:
    """A cluster, a job, and what things cost, in seconds and bytes unless noted."""

    nodes: int = 10
    slots: int = 4
    videos: int = 20_000
    minutes: float = 10.0
    """Mean length of a video; lengths are log-normal."""
    spread: float = 1.0
    """Deviation of the logarithm of the lengths."""
    films: float = 0.002
    """Share of the videos that are films of three hours."""
    part_minutes: float = 20.0
    """Length of the parts of long videos; 0 splits none."""
    overlap: float = 40.0
    """Seconds that neighbouring parts share."""
    per_task: int = 1
    """Videos per task."""
    speed: float = 12.0
    """Speed of a slot, times real time."""
    start: float = 1.0
    """Start of a process and its model."""
    stitch: float = 3.0
    """Putting the parts of a video together."""
    driver: float = 0.002
    """Cost of each task in the driver."""
    flight: float = 2.0
    """Most tasks at a time, per slot."""
    listing: float = 1e-5
    """Listing cost of each video."""
    storage: float = 5e9
    """Bytes per second of the storage in all; an assumption."""
    bitrate: float = 5e6 / 8
    """Bytes per second of a video."""
    mtbf: float = 500.0
    """Hours between two deaths of a node, 0 for never; an assumption."""
    repair: float = 600.0
    """Time until a dead node is back; an assumption."""
    slow: float = 0.02
    """Share of the nodes that are slow; an assumption."""
    slowness: float = 3.0
    """How many times slower they are."""
    seed: int = 1


# The parts of a film that are left, in a list so that its tasks share it.
FilmParts = list[int]


@dataclasses.dataclass
class Task:
    """A task: seconds of video (None: it stitches), and the film that it is a part of."""

    seconds: float | None
    film: FilmParts | None = None


def lengths(w: World, rng: random.Random) -> Iterator[float]:
    """Seconds of each video."""
    mean = w.minutes * 60
    for _ in range(w.videos):
        if rng.random() < w.films:
            yield FILM_SECONDS
        else:
            yield mean * math.exp(rng.gauss(-(w.spread**2) / 2, w.spread))


def tasks(w: World, rng: random.Random) -> Iterator[Task]:
    """Tasks in the order of the list."""
    some: list[float] = []
    for length in lengths(w, rng):
        if w.part_minutes and length > 1.5 * w.part_minutes * 60:
            count = max(2, round(length / (w.part_minutes * 60)))
            film = [count]
            for _ in range(count):
                yield Task(length / count + w.overlap * (count - 1) / count, film)
            continue
        some.append(length)
        if len(some) == w.per_task:
            yield Task(sum(some))
            some = []
    if some:
        yield Task(sum(some))


class Simulation:
    """One job.

    Readers share the storage, so that all work advances at one rate, `share`. Ends of tasks are counted in the work of
    a full-speed slot (`work`), which advances `share` times as fast as the clock.
    """

    def __init__(self, w: World) -> None:
        self.w = w
        # Separate generators, so that removing one cost leaves the rest of the job as it was.
        nodes = random.Random(f"nodes {w.seed}")
        self.deaths = random.Random(f"deaths {w.seed}")
        self.todo = tasks(w, random.Random(f"videos {w.seed}"))
        self.again: deque[Task] = deque()
        self.slow = [nodes.random() < w.slow for _ in range(w.nodes)]
        self.free = [n for n in range(w.nodes) for _ in range(w.slots)]
        nodes.shuffle(self.free)
        self.up = [True] * w.nodes
        self.running: list[dict[int, Task]] = [{} for _ in range(w.nodes)]
        self.limit = max(4, int(w.flight * w.nodes * w.slots))
        self.clock, self.work = w.listing * w.videos, 0.0
        self.driver_free = self.clock
        # (work at the end, number, node)
        self.ends: list[tuple[float, int, int]] = []
        # (clock, number, kind, node or task)
        self.events: list[tuple[float, int, str, Any]] = []
        self.number = 0
        self.waiting: deque[Task] = deque()
        self.in_flight = self.reading = self.retries = 0
        self.useful = self.driver_busy = 0.0
        self.exhausted = False

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def schedule(self, at: float, kind: str, what: Any) -> None:
        heapq.heappush(self.events, (at, self.next_number(), kind, what))

    def schedule_death(self, node: int) -> None:
        if self.w.mtbf:
            self.schedule(self.clock + self.deaths.expovariate(1 / (self.w.mtbf * 3600)), "die", node)

    def next_task(self) -> Task | None:
        if self.again:
            return self.again.popleft()
        item = next(self.todo, None)
        if item is None:
            self.exhausted = True
        elif item.seconds is not None:
            self.useful += item.seconds / self.w.speed
        return item

    def submit(self) -> None:
        """The driver starts tasks while it may, one after another."""
        while self.in_flight < self.limit:
            item = self.next_task()
            if item is None:
                return
            self.driver_free = max(self.driver_free, self.clock) + self.w.driver
            self.driver_busy += self.w.driver
            self.in_flight += 1
            self.schedule(self.driver_free, "begin", item)

    def place(self) -> None:
        """Gives waiting tasks to free slots."""
        w = self.w
        while self.waiting and self.free:
            node = self.free.pop()
            if not self.up[node]:
                continue
            item = self.waiting.popleft()
            cost = w.stitch if item.seconds is None else w.start + item.seconds / w.speed
            number = self.next_number()
            self.running[node][number] = item
            heapq.heappush(self.ends, (self.work + cost * (w.slowness if self.slow[node] else 1), number, node))
            self.reading += 1

    def end_task(self) -> None:
        """The next task ends."""
        _, number, node = heapq.heappop(self.ends)
        item = self.running[node].pop(number)
        self.reading -= 1
        self.free.append(node)
        self.in_flight -= 1
        if item.film is not None and item.seconds is not None:
            item.film[0] -= 1
            if item.film[0] == 0:
                self.again.append(Task(None, item.film))
        self.submit()

    def handle_event(self) -> None:
        """The next event happens."""
        _, _, kind, what = heapq.heappop(self.events)
        if kind == "begin":
            self.waiting.append(what)
        elif kind == "die" and self.up[what]:
            self.up[what] = False
            lost = self.running[what]
            self.reading -= len(lost)
            self.in_flight -= len(lost)
            self.retries += len(lost)
            self.again.extend(lost.values())
            self.running[what] = {}
            self.schedule(self.clock + self.w.repair, "back", what)
            self.submit()
        elif kind == "back":
            self.up[what] = True
            self.free[:] = [n for n in self.free if n != what]
            self.free.extend([what] * self.w.slots)
            self.schedule_death(what)

    def run(self) -> dict[str, float]:
        """Runs the job; returns its time, its efficiency, and what was lost."""
        w = self.w
        for node in range(w.nodes):
            self.schedule_death(node)
        self.submit()
        while True:
            demand = self.reading * w.speed * w.bitrate
            share = min(1.0, w.storage / demand) if demand else 1.0
            while self.ends and self.ends[0][1] not in self.running[self.ends[0][2]]:
                heapq.heappop(self.ends)
            end_at = self.clock + (self.ends[0][0] - self.work) / share if self.ends else math.inf
            event_at = self.events[0][0] if self.events else math.inf
            if self.exhausted and not self.in_flight and not self.again:
                break
            at = min(end_at, event_at)
            self.work += (at - self.clock) * share
            self.clock = at
            if end_at <= event_at:
                self.end_task()
            else:
                self.handle_event()
            self.place()
        ideal = self.useful / (w.nodes * w.slots)
        return {
            "hours": self.clock / 3600,
            "efficiency": ideal / self.clock,
            "retries": self.retries,
            "driver": self.driver_busy / self.clock,
        }


def simulate(w: World) -> dict[str, float]:
    """Runs a job; returns its time, its efficiency, and what was lost."""
    return Simulation(w).run()


# What removes each of the shared parts.
WITHOUT: dict[str, dict[str, Any]] = {
    "listing": {"listing": 0.0},
    "driver": {"driver": 0.0},
    "storage": {"storage": math.inf},
    "deaths": {"mtbf": 0.0},
    "slow nodes": {"slow": 0.0},
    "starts": {"start": 0.0},
}


def limits(w: World) -> dict[str, Any]:
    """The job, its efficiency without each of the shared parts, and the part that limits it."""
    result: dict[str, Any] = dict(simulate(w))
    without = {name: simulate(dataclasses.replace(w, **change))["efficiency"] for name, change in WITHOUT.items()}
    limit = max(without, key=lambda name: without[name])
    if without[limit] - result["efficiency"] < 0.01:
        limit = "the tail"
    return {**result, "without": without, "limit": limit}


def arguments(argv: list[str] | None) -> dict[str, Any]:
    description = (__doc__ or "").split("\n\n")[0]
    p = argparse.ArgumentParser(prog="python -m descry_ray.simulate", description=description)
    p.add_argument("--sizes", default="1,2,10,30,100,300,1000", help="numbers of nodes [1,2,10,30,100,300,1000]")
    p.add_argument("--json", action="store_true", help="print one JSON object per size")
    for f in dataclasses.fields(World):
        if f.name != "nodes":
            option = "--" + f.name.replace("_", "-")
            p.add_argument(option, type=type(f.default), default=f.default, help=f"[{f.default}]")
    p.add_argument(
        "--videos-per-node",
        type=int,
        default=0,
        metavar="N",
        help="instead of --videos: the job grows with the cluster",
    )
    return vars(p.parse_args(argv))


def main(argv: list[str] | None = None) -> None:
    a = arguments(argv)
    sizes, as_json, per_node = a.pop("sizes"), a.pop("json"), a.pop("videos_per_node")
    if not as_json:
        print(f"{'nodes':>6} {'slots':>6} {'hours':>8} {'efficiency':>10} {'retries':>8} {'driver':>7}  limited by")
    for nodes in map(int, sizes.split(",")):
        w = World(nodes=nodes, **{**a, **({"videos": per_node * nodes} if per_node else {})})
        result = limits(w)
        if as_json:
            print(json.dumps({"nodes": nodes, **result}))
            continue
        best = result["without"].get(result["limit"])
        why = result["limit"] + (f" ({best:.2f} without)" if best else "")
        print(
            f"{nodes:>6} {nodes * w.slots:>6} {result['hours']:>8.2f} {result['efficiency']:>10.3f} "
            f"{result['retries']:>8} {result['driver']:>7.2f}  {why}"
        )


if __name__ == "__main__":
    main()
