"""What goes into a build: the commit, the crates, the compiler, ONNX Runtime and the models, and the C libraries."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dist import locks, roots
from dist.error import DistError
from dist.files import empty, jobs, log, output, run, sha256
from dist.paths import BASE, CRATES, LIBRARIES, LOCKS, PROGRAM, PROJECT, ROOTS, SOURCE, TOOLS
from dist.roots import Root

VENDOR = PROJECT / "vendor"


@dataclass(frozen=True)
class Commit:
    """The commit that is built. Nothing else of the clone goes into an artefact."""

    hash: str
    # Its time, which every file of an artefact gets.
    epoch: int
    # The one in Cargo.toml.
    version: str


def checkout() -> Commit:
    """Lays the commit out, without anything that the clone has besides."""
    head = output("git", "rev-parse", "HEAD", cwd=PROJECT).strip()
    epoch = int(output("git", "show", "-s", "--format=%ct", "HEAD", cwd=PROJECT))
    if output("git", "status", "--porcelain", "--untracked-files=no", cwd=PROJECT):
        log(f"the clone has changes that are not committed: they are not built, {head[:12]} is")
    empty(SOURCE)
    archive = BASE / "source.tar"
    run("git", "archive", "--format=tar", f"--output={archive}", "HEAD", cwd=PROJECT)
    run("tar", "-xf", archive, "-C", SOURCE)
    archive.unlink()
    text = (SOURCE / "Cargo.toml").read_text()
    version = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    if version is None:
        raise DistError("Cargo.toml has no version", "Add it.")
    return Commit(head, epoch, version[1])


def vendor_crates() -> None:
    """Fetches the crates. Cargo compares them with the hashes in Cargo.lock, here and when it builds."""
    log("fetching the crates")
    shutil.rmtree(CRATES, ignore_errors=True)
    command = ["cargo", "vendor", "-q", "--locked", "--versioned-dirs", str(CRATES)]
    if subprocess.run(command, cwd=SOURCE, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        raise DistError("the crates cannot be fetched", "See Cargo's message above.")


def compiler() -> Path:
    """The folder of the compiler that rust-toolchain.toml names."""
    folder = Path(output("rustc", "--print", "sysroot", cwd=PROJECT).strip())
    wanted = re.search(r'^channel = "([^"]+)"', (PROJECT / "rust-toolchain.toml").read_text(), re.MULTILINE)
    found = output(folder / "bin/rustc", "--version").split()[1]
    if wanted is None or found != wanted[1]:
        raise DistError(f"this is Rust {found}", f"Install the version of rust-toolchain.toml: {wanted and wanted[1]}")
    return folder


def build_root() -> Root:
    """The root that everything is built in."""
    tar = roots.locked_tar("build")
    folder = ROOTS / tar.stem
    if not (folder / "usr").is_dir():
        part = folder.with_name(folder.name + ".part")
        Root.unpack(tar, part)
        part.rename(folder)
    root = Root(folder, read_only=True)
    # Makes the folders for all steps.
    root.reads = dict.fromkeys(
        ["/src", "/crates", "/rust", "/sources", "/recipe", "/libraries", "/build", "/target"], folder
    )
    root.make_places()
    root.reads = {}
    return root


def source_files() -> Path:
    """The source packages of the libraries, in one folder."""
    folder = empty(BASE / "sources")
    for pin in locks.read("sources"):
        (folder / pin.name).hardlink_to(pin.fetch())
    return folder


def recipe() -> str:
    """Changes with everything that the libraries are made of."""
    files = [LOCKS / "sources.lock", LOCKS / "build.lock", TOOLS / "libraries.sh", *sorted(TOOLS.glob("patches/*"))]
    return " ".join(sha256(path) for path in files)


def build_libraries(root: Root, epoch: int) -> None:
    """Builds FFmpeg and what it needs, unless that is done already."""
    done = LIBRARIES / "recipe"
    if done.is_file() and done.read_text() == recipe():
        return
    log("building FFmpeg")
    root.reads = {"/sources": source_files(), "/recipe": TOOLS}
    work = empty(BASE / "libraries.build")
    root.writes = {"/build": work, "/libraries": empty(LIBRARIES)}
    root.environment = {"JOBS": str(jobs()), "SOURCE_DATE_EPOCH": str(epoch)}
    root.run("sh", "/recipe/libraries.sh")
    shutil.rmtree(work)
    done.write_text(recipe())


def build_program(root: Root, epoch: int) -> None:
    """Builds descry: for the archive, and for the package."""
    log("building descry")
    rust = compiler()
    root.reads = {"/src": SOURCE, "/crates": CRATES, "/rust": rust, "/libraries": LIBRARIES, "/recipe": TOOLS}
    # Not every machine has the sources of the standard library. Where they are, their paths would be in the program.
    root.hidden = [f"/rust/{name}" for name in ["lib/rustlib/src"] if (rust / name).is_dir()]
    PROGRAM.mkdir(parents=True, exist_ok=True)
    root.writes = {"/target": PROGRAM}
    root.environment = {"JOBS": str(jobs()), "SOURCE_DATE_EPOCH": str(epoch)}
    root.run("sh", "/recipe/program.sh")
    root.hidden = []


def onnxruntime() -> Path:
    """ONNX Runtime's library, which `make setup-dist` has taken from its wheel."""
    found = sorted((VENDOR / "onnxruntime").glob("libonnxruntime.so.*"))
    if not found or not (VENDOR / "onnxruntime/LICENSE").is_file():
        raise DistError("vendor/onnxruntime lacks ONNX Runtime or its licence", "Run `make setup-dist`.")
    return found[-1]


def text_model() -> Path:
    folder = VENDOR / "text-model"
    if not (folder / "recognizer.onnx").is_file():
        raise DistError("vendor/text-model lacks the model that reads text", "Run `make setup-dist`.")
    return folder


def check_machine() -> None:
    machine = os.uname().machine
    if machine != "x86_64":
        raise DistError(
            f"this machine is {machine}", "Build on x86_64: the archive, the package and the image are for that."
        )
