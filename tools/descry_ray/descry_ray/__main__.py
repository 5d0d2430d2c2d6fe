"""The command line: python -m descry_ray --manifest list.txt --into archive/"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any

import ray

from .job import Job, Options, Reporter, read_manifest


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="python -m descry_ray",
        description="Describes every video of a list on a Ray cluster, into one archive. Videos that the archive holds "
        "already are skipped, so run it again after any interruption. Options after -- go to `descry index`.",
    )
    p.add_argument(
        "--manifest", required=True, help="list of videos, one per line, as every node can open them; - reads stdin"
    )
    p.add_argument("--into", required=True, help="archive: a folder that all nodes share, or an object store's address")
    p.add_argument("--descry", default="descry", metavar="PATH", help="the program on every node [descry]")
    p.add_argument("--address", default=None, help="address of the cluster [start one on this machine]")
    p.add_argument("--cpus", type=float, default=2, help="CPUs per task [2]")
    p.add_argument("--gpus", type=float, default=0, help="GPUs per task [0]; needs -- --device cuda too")
    p.add_argument("--memory", type=float, default=1.5, metavar="GB", help="memory per task [1.5]")
    p.add_argument("--tries", type=int, default=4, help="how often a task is started at most, if its node dies [4]")
    p.add_argument(
        "--in-flight",
        type=int,
        default=0,
        metavar="N",
        help="most tasks at a time [twice what the cluster has room for]",
    )
    p.add_argument("--videos", type=int, default=1, metavar="N", help="videos per task; more if they are short [1]")
    p.add_argument(
        "--part-minutes", type=float, default=20, help="split longer videos into parts of this length; 0: never [20]"
    )
    p.add_argument("--overlap", type=float, default=40, metavar="SECS", help="overlap of neighbouring parts [40]")
    p.add_argument("--report", metavar="FILE", help="append retries and failures with their reasons, as JSON lines")
    p.add_argument("options", nargs="*", metavar="-- OPTION", help="options of descry index")
    return p.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    a = arguments(argv)
    # Only descry's own variables: the nodes have their own environment.
    env = {k: v for k, v in os.environ.items() if k.startswith("DESCRY_")}
    # The driver handles Ctrl-C itself.
    ray.init(address=a.address, log_to_driver=False, configure_logging=True, logging_level="ERROR")
    reporter = Reporter(a.report)
    options = Options(
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
    )
    job = Job(options, reporter)

    def interrupt(*_: Any) -> None:
        # A second interrupt does not wait for the tasks.
        job.stop(force=job.stopped)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    complete = job.run(read_manifest(a.manifest))
    reporter.print_counts(job.counts)
    ray.shutdown()
    if job.stopped:
        return 130
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
