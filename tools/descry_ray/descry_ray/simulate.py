"""What limits a job on a cluster that nobody has here: python -m descry_ray.simulate

A discrete-event simulation of one job as `job` runs it. Each node has slots for tasks. A task costs the start of a process
and of the model, then the video's length over the speed of a slot; it reads the video as it goes. Shared by all:

* **listing**: names of the videos and of what is done, one after another, before the first task;
* **the driver**: one thread, so many seconds for each task that it begins and ends;
* **storage**: so many bytes a second in all, fairly shared by those who read;
* **the tail**: at the end slots are idle while the last tasks run, and long videos have no helpers but their parts.

Nodes die at random and come back; what they were at is done again. Some are slow. Efficiency is the time that the same work
would take if it were spread evenly over all slots and nothing else cost anything, over the time that the job took. What
limits it is found by taking the shared parts away, one at a time: the one without which the job is shortest.

Every number is an option. Those of a slot and of the driver are measured on two cores (README); those of storage and of
failures are assumptions, and are named so in what is printed.
"""

import argparse
import dataclasses
import heapq
import json
import math
import random
from collections import deque


@dataclasses.dataclass
class World:
    """A cluster, a job and what things cost; seconds and bytes."""

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
    """Longer ones are parted; 0: none."""
    overlap: float = 40.0
    per_task: int = 1
    speed: float = 12.0
    """Times real time, of a slot."""
    start: float = 1.0
    """Of a process and its model."""
    stitch: float = 3.0
    driver: float = 0.002
    """For each task."""
    flight: float = 2.0
    """Tasks under way at most, for each slot."""
    listing: float = 1e-5
    """For each video."""
    storage: float = 5e9
    """A second, in all; assumed."""
    bitrate: float = 5e6 / 8
    """Of a video's second."""
    mtbf: float = 500.0
    """Hours between two deaths of a node; assumed. 0: never."""
    repair: float = 600.0
    """Until a node that died is back; assumed."""
    slow: float = 0.02
    """Share of the nodes that are slow; assumed."""
    slowness: float = 3.0
    seed: int = 1


def lengths(w, dice):
    """Seconds of each video."""
    mean = w.minutes * 60
    for _ in range(w.videos):
        if dice.random() < w.films:
            yield 3 * 3600.0
        else:
            yield mean * math.exp(dice.gauss(-w.spread**2 / 2, w.spread))


def tasks(w, dice):
    """Tasks in the order of the list: seconds of video, and the film whose part it is (a list with what is left)."""
    some = []
    for length in lengths(w, dice):
        if w.part_minutes and length > 1.5 * w.part_minutes * 60:
            count = max(2, round(length / (w.part_minutes * 60)))
            film = [count]
            for _ in range(count):
                yield length / count + w.overlap * (count - 1) / count, film
            continue
        some.append(length)
        if len(some) == w.per_task:
            yield sum(some), None
            some = []
    if some:
        yield sum(some), None


def simulate(w):
    """Runs a job. Gives its time, its efficiency and what was lost.

    Readers share the storage, so that all work goes at one rate at a time, `share`; ends of tasks are kept in the units of
    the work done by a full-speed slot (`work`), which passes `share` times as fast as the clock.
    """
    # Dice of their own, so that what is taken away leaves the rest of the job as it was.
    dice = random.Random(f"nodes {w.seed}")
    fate = random.Random(f"deaths {w.seed}")
    todo = tasks(w, random.Random(f"videos {w.seed}"))
    again = deque()
    useful = 0.0
    seen = set()
    slow = [dice.random() < w.slow for _ in range(w.nodes)]
    free = [n for n in range(w.nodes) for _ in range(w.slots)]
    dice.shuffle(free)
    up = [True] * w.nodes
    running = [{} for _ in range(w.nodes)]
    limit = max(4, int(w.flight * w.nodes * w.slots))
    clock, work = w.listing * w.videos, 0.0
    driver_free = clock
    ends = []  # (work at the end, number, node)
    events = []  # (clock, order, kind, what)
    order = 0
    waiting = deque()
    flight = 0
    reading = 0
    retries = 0
    most_driver = 0.0
    over = False

    def later(at, kind, what=None):
        nonlocal order
        order += 1
        heapq.heappush(events, (at, order, kind, what))

    def die(node):
        if w.mtbf:
            later(clock + fate.expovariate(1 / (w.mtbf * 3600)), "die", node)

    def submit():
        """The driver begins tasks as long as it may, one after another."""
        nonlocal flight, driver_free, most_driver, over, useful
        while flight < limit:
            if again:
                item = again.popleft()
            else:
                try:
                    item = next(todo)
                except StopIteration:
                    over = True
                    return
                useful += item[0] / w.speed
            driver_free = max(driver_free, clock) + w.driver
            most_driver += w.driver
            flight += 1
            later(driver_free, "begin", item)

    def place():
        nonlocal reading, order
        while waiting and free:
            node = free.pop()
            if not up[node]:
                continue
            item = waiting.popleft()
            seconds = item[0]
            cost = w.stitch if seconds is None else w.start + seconds / w.speed
            order += 1
            running[node][order] = item
            heapq.heappush(ends, (work + cost * (w.slowness if slow[node] else 1), order, node))
            reading += 1

    for node in range(w.nodes):
        die(node)
    submit()
    while True:
        demand = reading * w.speed * w.bitrate
        share = min(1.0, w.storage / demand) if demand else 1.0
        while ends and ends[0][1] not in running[ends[0][2]]:
            heapq.heappop(ends)
        end_at = clock + (ends[0][0] - work) / share if ends else math.inf
        event_at = events[0][0] if events else math.inf
        if over and not flight and not again:
            break
        if end_at <= event_at:
            work += (end_at - clock) * share
            clock = end_at
            _, number, node = heapq.heappop(ends)
            item = running[node].pop(number)
            reading -= 1
            free.append(node)
            flight -= 1
            film = item[1]
            if film is not None and item[0] is not None:
                film[0] -= 1
                if film[0] == 0:
                    again.append((None, film))
            submit()
        else:
            work += (event_at - clock) * share
            clock = event_at
            _, _, kind, what = heapq.heappop(events)
            if kind == "begin":
                waiting.append(what)
            elif kind == "die" and up[what]:
                up[what] = False
                lost = running[what]
                reading -= len(lost)
                flight -= len(lost)
                retries += len(lost)
                again.extend(lost.values())
                running[what] = {}
                later(clock + w.repair, "back", what)
                submit()
            elif kind == "back":
                up[what] = True
                free[:] = [n for n in free if n != what]
                free.extend([what] * w.slots)
                die(what)
        place()
    ideal = useful / (w.nodes * w.slots)
    return {"hours": clock / 3600, "efficiency": ideal / clock, "retries": retries, "driver": most_driver / clock}


WITHOUT = {
    "listing": {"listing": 0.0},
    "driver": {"driver": 0.0},
    "storage": {"storage": math.inf},
    "deaths": {"mtbf": 0.0},
    "slow nodes": {"slow": 0.0},
    "starts": {"start": 0.0},
}


def limits(w):
    """The job, and what it would be without each of the shared parts."""
    told = simulate(w)
    told["without"] = {name: simulate(dataclasses.replace(w, **change))["efficiency"] for name, change in WITHOUT.items()}
    told["limit"] = max(told["without"], key=told["without"].get)
    if told["without"][told["limit"]] - told["efficiency"] < 0.01:
        told["limit"] = "the tail"
    return told


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m descry_ray.simulate", description=__doc__.split("\n\n")[0])
    p.add_argument("--sizes", default="1,2,10,30,100,300,1000", help="nodes, separated by commas")
    p.add_argument("--json", action="store_true", help="one JSON object a size")
    for f in dataclasses.fields(World):
        if f.name != "nodes":
            p.add_argument("--" + f.name.replace("_", "-"), type=type(f.default), default=f.default, help=f"[{f.default}]")
    p.add_argument("--videos-per-node", type=int, default=0, help="instead of --videos: the job grows with the cluster")
    a = vars(p.parse_args(argv))
    sizes, as_json, per_node = a.pop("sizes"), a.pop("json"), a.pop("videos_per_node")
    if not as_json:
        print(f"{'nodes':>6} {'slots':>6} {'hours':>8} {'efficiency':>10} {'retries':>8} {'driver':>7}  limited by")
    for nodes in map(int, sizes.split(",")):
        w = World(nodes=nodes, **{**a, **({"videos": per_node * nodes} if per_node else {})})
        told = limits(w)
        if as_json:
            print(json.dumps({"nodes": nodes, **told}))
        else:
            best = told["without"].get(told["limit"])
            why = told["limit"] + (f" ({best:.2f} without)" if best else "")
            print(
                f"{nodes:>6} {nodes * w.slots:>6} {told['hours']:>8.2f} {told['efficiency']:>10.3f} "
                f"{told['retries']:>8} {told['driver']:>7.2f}  {why}"
            )


if __name__ == "__main__":
    main()
