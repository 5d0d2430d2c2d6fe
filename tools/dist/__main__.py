"""python3 -m dist build|test|lock"""

import sys
import time

from dist import artefacts, locks, roots, trials
from dist.error import DistError
from dist.files import log, megabytes
from dist.paths import OUT


def build() -> None:
    began = time.monotonic()
    artefacts.build()
    for path in sorted(OUT.iterdir()):
        print(f"{megabytes(path.stat().st_size):>10}  {path.name}")
    log(f"built in {time.monotonic() - began:.0f} s: {OUT}")


def lock() -> None:
    locks.lock_sources()
    roots.lock_build()
    roots.lock_image()
    roots.lock_keyring()


def main() -> int:
    commands = {"build": build, "test": trials.run_all, "lock": lock}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(f"usage: {__doc__}", file=sys.stderr)
        return 2
    try:
        commands[sys.argv[1]]()
    except DistError as e:
        print(f"dist: {e}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
