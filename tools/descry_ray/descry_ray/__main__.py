"""python -m descry_ray --manifest list.txt --into archive/"""

import argparse
import os
import signal
import sys

import ray

from .job import Job, Options, Told, read_manifest


def arguments(argv=None):
    p = argparse.ArgumentParser(
        prog="python -m descry_ray",
        description="Describes every video of a list on a Ray cluster, into one archive. What is done already is not done "
        "again: run it again after any end. What follows -- is handed to descry.",
    )
    p.add_argument("--manifest", required=True, help="videos, one a line, as every node can open them; - reads standard input")
    p.add_argument("--into", required=True, help="the archive: a folder that all nodes share, or an object store's address")
    p.add_argument("--descry", default="descry", metavar="PATH", help="the program on every node [descry]")
    p.add_argument("--address", default=None, help="the cluster; none begins one on this machine")
    p.add_argument("--cpus", type=float, default=2, help="CPUs a task [2]")
    p.add_argument("--gpus", type=float, default=0, help="GPUs a task [0]; also say -- --device cuda")
    p.add_argument("--memory", type=float, default=1.5, metavar="GB", help="memory a task [1.5]")
    p.add_argument("--tries", type=int, default=4, help="how often a task is begun at most, should its node die [4]")
    p.add_argument("--in-flight", type=int, default=0, metavar="N", help="tasks under way at most [twice what there is room for]")
    p.add_argument("--videos", type=int, default=1, metavar="N", help="videos a task; more where they are short [1]")
    p.add_argument("--part-minutes", type=float, default=20, help="longer videos are watched in parts of so much; 0: never [20]")
    p.add_argument("--overlap", type=float, default=40, metavar="SECS", help="what neighbouring parts share [40]")
    p.add_argument("--report", metavar="FILE", help="retries and failures with their reasons, as JSON lines, appended")
    p.add_argument("options", nargs="*", metavar="-- OPTION", help="options of descry index")
    return p.parse_args(argv)


def main(argv=None):
    a = arguments(argv)
    # Only what descry itself reads; the nodes have their own environment.
    env = {k: v for k, v in os.environ.items() if k.startswith("DESCRY_")}
    # The driver hears of Ctrl-C itself.
    ray.init(address=a.address, log_to_driver=False, configure_logging=True, logging_level="ERROR")
    told = Told(a.report)
    job = Job(
        Options(
            into=a.into,
            binary=a.descry,
            cpus=a.cpus,
            gpus=a.gpus,
            memory=int(a.memory * 1e9),
            tries=max(1, a.tries),
            in_flight=max(0, a.in_flight),
            videos=max(1, a.videos),
            part_minutes=a.part_minutes,
            overlap=a.overlap,
            descry=a.options,
            env=env,
        ),
        told,
    )

    def interrupted(*_):
        # The second time nobody waits.
        job.stop(force=job.stopped)

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    whole = job.run(read_manifest(a.manifest))
    told.line(job.counts)
    ray.shutdown()
    if job.stopped:
        return 130
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
