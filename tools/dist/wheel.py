"""The Python wheel: the program as a script, the module that runs it, the models, and FFmpeg.

maturin builds it in the root that everything is built in, and auditwheel puts FFmpeg's libraries into it. ONNX Runtime
is not in it: `pip` installs it from its own wheel.
"""

import os
import shutil
from pathlib import Path

from dist import inputs, parts, stage
from dist.error import DistError
from dist.files import empty, jobs, log, run, set_modes
from dist.inputs import Commit
from dist.paths import CRATES, LIBRARIES, OUT, PROGRAM, SOURCE, TOOLS
from dist.roots import Root

# What pip calls systems whose C library is that of the build's root, or newer.
PLATFORM = "manylinux_2_31_x86_64"
TOOLS_BIN = inputs.VENDOR / "venv/bin"


def name(commit: Commit) -> str:
    return f"descry-{commit.version}-py3-none-{PLATFORM}.whl"


def package(commit: Commit, sources: str) -> None:
    """Adds to the package in the sources what a checkout has elsewhere."""
    folder = SOURCE / "tools/wheel"
    stage.copy(SOURCE / "docs/python.md", folder / "README.md")
    own = folder / "descry"
    stage.models(own)
    terms = own / "licences"
    stage.terms(terms)
    for file in parts.library_terms():
        stage.copy(file, terms / file.name)
    for licence in ("LICENSE-APACHE", "LICENSE-MIT"):
        stage.copy(SOURCE / licence, terms / licence)
    text = stage.SOURCES_TEXT.format(sources=sources, version=commit.version, commit=commit.hash)
    (terms / "SOURCES.txt").write_text(text.replace("lib/descry", "descry.libs"))
    set_modes(folder)


def make_wheel(root: Root, commit: Commit, sources: str) -> None:
    log("making the wheel")
    package(commit, sources)
    plain = empty(PROGRAM / "wheel")
    root.reads = {
        "/src": SOURCE,
        "/crates": CRATES,
        "/rust": inputs.compiler(),
        "/libraries": LIBRARIES,
        "/recipe": TOOLS,
    }
    root.writes = {"/target": PROGRAM, "/build": maturin()}
    root.environment = {"JOBS": str(jobs()), "SOURCE_DATE_EPOCH": str(commit.epoch)}
    root.run("sh", "/recipe/wheel.sh")
    built = list(plain.glob("*.whl"))
    if len(built) != 1:
        raise DistError(f"maturin made {len(built)} wheels", "See its output above.")
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(LIBRARIES / "lib"),
        "PATH": f"{TOOLS_BIN}:{os.environ['PATH']}",
        "SOURCE_DATE_EPOCH": str(commit.epoch),
        "TZ": "UTC",
    }
    repaired = empty(PROGRAM / "repaired")
    command = (TOOLS_BIN / "auditwheel", "repair", "--plat", PLATFORM, "--only-plat", "-w", repaired, built[0])
    run("sh", "-c", 'umask 022; exec "$@"', "sh", *command, env=environment)
    shutil.move(repaired / name(commit), OUT / name(commit))


def maturin() -> Path:
    """A folder with maturin alone, which the build's root sees."""
    program = TOOLS_BIN / "maturin"
    if not program.is_file():
        raise DistError("maturin is missing", "Run `make setup-dist`.")
    folder = empty(PROGRAM / "maturin")
    shutil.copy(program, folder / "maturin")
    return folder
