"""The folders that the build uses: all of them below target/dist."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / "tools/dist"
LOCKS = TOOLS / "locks"
BASE = PROJECT / "target/dist"
# Downloads have hashes, so clones may share them.
CACHE = Path(os.environ.get("DIST_CACHE") or BASE / "cache").absolute()

ROOTS = BASE / "roots"
SOURCE = BASE / "source"
CRATES = BASE / "crates"
LIBRARIES = BASE / "libraries"
PROGRAM = BASE / "program"
STAGE = BASE / "stage"
OUT = BASE / "out"
