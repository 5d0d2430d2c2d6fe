"""Tries each artefact as a new user would, in a system with nothing else in it: what `make test-dist` does.

The systems are not pinned: they are what a user has today. apt verifies their signatures. Only root can run it, because
installing packages changes owners.
"""

import json
import math
import os
import shutil
import struct
import time
import wave
from dataclasses import dataclass
from pathlib import Path

from dist import artefacts, inputs, locks, parts, roots, wheel
from dist.error import DistError
from dist.files import empty, log, megabytes, output, run, sha256
from dist.inputs import Commit
from dist.paths import BASE, CACHE, OUT, PROJECT, ROOTS, SOURCE, STAGE, TOOLS
from dist.roots import USER, Root

FILMS = PROJECT / "samples"
RESULTS = BASE / "results"
# Systems for the archive, the oldest first. The package is for one of them.
SUITES = ("bullseye", "bookworm", "trixie")
PACKAGE_SUITE = "bookworm"
# Debian 11 has Python 3.9, for which there is no ONNX Runtime of today.
WHEEL_SUITES = ("bookworm", "trixie")
UBUNTU_SUITES = ("focal", "jammy", "noble")

# crates.io takes no larger crate.
CRATE_LIMIT = 10 << 20

# Films that every artefact must read: the decoder of each is another one.
CODECS = {
    "av1.mkv": "-c:v libsvtav1 -preset 12",
    "h263.3gp": "-c:v h263 -s 352x288",
    "hevc.mp4": "-c:v libx265 -preset ultrafast -x265-params log-level=error",
    "huffyuv.avi": "-c:v ffvhuff",
    "mjpeg.avi": "-c:v mjpeg -pix_fmt yuvj420p",
    "mpeg2.ts": "-c:v mpeg2video -b:v 2M",
    "mpeg4.avi": "-c:v mpeg4 -b:v 1M",
    "prores.mov": "-c:v prores",
    "theora.ogv": "-c:v libtheora -q:v 8",
    "vp8.webm": "-c:v libvpx -b:v 1M",
    "vp9.webm": "-c:v libvpx-vp9 -b:v 1M -deadline realtime -cpu-used 8",
    "wmv.asf": "-c:v wmv2 -b:v 1M",
}


@dataclass
class Row:
    """A line of the table that is printed at the end."""

    way: str
    system: str
    size: int
    # From the downloaded artefact, with nothing installed, to the WebVTT of `samples/bikes.mp4`, in seconds.
    first_cue: float


def system(suite: str, name: str) -> Root:
    """An empty system: what debootstrap installs, and the program that unpacks the archive."""
    extra: tuple[str, ...] = ("--include=zstd",)
    if suite in UBUNTU_SUITES:
        uri = os.environ["DIST_UBUNTU_MIRROR"]
        extra += (f"--keyring={roots.ubuntu_keyring()}", "--components=main,universe")
    else:
        uri = locks.mirror("debian")
    root = Root.unpack(roots.suite_tar(suite, uri, extra), ROOTS / f"trial-{name}")
    root.reads = {"/dist": OUT, "/films": FILMS, "/recipe": TOOLS}
    root.writes = {"/results": RESULTS}
    return root


def parse(name: str) -> list[list[object]]:
    """The cues of a result, read by the W3C's own parser."""
    parser = PROJECT / "tests/parsers/check_vtt.mjs"
    cues: list[list[object]] = json.loads(output("node", parser, "--cues", RESULTS / name))[0]
    if not cues:
        raise DistError(f"{RESULTS / name} has no cues", "Look at it.")
    return cues


class Trials:
    """All trials, with what they found."""

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self.rows: list[Row] = []
        self.cues: list[list[object]] | None = None
        self.described: dict[str, bytes] | None = None

    def finish(self, way: str, where: str, artefact: Path, began: float, result: str) -> None:
        """Notes how long a description took, and compares it."""
        self.rows.append(Row(way, where, artefact.stat().st_size, time.monotonic() - began))
        self.compare(result)

    def compare(self, result: str) -> None:
        """Reads what was described, which must be the same everywhere."""
        cues = parse(result)
        if self.cues is None:
            self.cues = cues
        if cues != self.cues:
            raise DistError(
                f"{RESULTS / result} has other cues than the first trial", f"Compare the files in {RESULTS}."
            )

    def archive(self, suite: str) -> None:
        log(f"the archive on {suite}")
        name = artefacts.archive_name(self.commit)
        root = system(suite, suite)
        (root.folder / "home").mkdir(exist_ok=True)
        home = root.folder / "home/user"
        home.mkdir()
        os.chown(home, USER, USER)
        root.environment = {"HOME": "/home/user", "PATH": f"/home/user/{name}/bin:/usr/bin:/bin"}
        result = f"archive-{suite}.vtt"
        began = time.monotonic()
        root.run_as_user(f"tar -xf /dist/{name}.tar.zst", cwd="/home/user")
        root.run_as_user(f"descry -q describe /films/bikes.mp4 -o - >/results/{result}")
        self.finish("archive", suite, OUT / f"{name}.tar.zst", began, result)
        self.exercise(root, f"archive-{suite}")
        shutil.rmtree(root.folder)

    def exercise(self, root: Root, name: str) -> None:
        """Tries the rest, and compares what is said of many films: FFmpeg must decode them alike everywhere."""
        root.run_as_user(f"sh /recipe/exercise.sh /films /results {name}")
        described = {path.name: path.read_bytes() for path in (RESULTS / name).iterdir()}
        if self.described is None:
            self.described = described
        if described != self.described:
            raise DistError(f"{RESULTS / name} differs from the first trial", f"Compare the folders in {RESULTS}.")

    def package(self) -> None:
        log(f"the package on {PACKAGE_SUITE}")
        name = artefacts.package_name(self.commit)
        run("lintian", "--fail-on=error,warning", "--no-cfg", OUT / name)
        root = system(PACKAGE_SUITE, "package")
        before = files_of(root)
        began = time.monotonic()
        root.install(f"/dist/{name}")
        result = "package.vtt"
        root.run_as_user(f"descry -q describe /films/bikes.mp4 -o - >/results/{result}")
        self.finish("package", PACKAGE_SUITE, OUT / name, began, result)
        self.exercise(root, "package")
        self.check_package(root, before)
        shutil.rmtree(root.folder)

    def check_package(self, root: Root, before: set[str]) -> None:
        """Whether the package says what it needs, its unit is valid, and nothing of it is left once it is purged."""
        listed = output(*root.command("dpkg-query", "-W", "-f", "${Depends}", "descry"))
        found = {dependency_name(one) for one in listed.split(",")}
        for library in parts.needed(STAGE / "package/usr/bin/descry") | parts.needed(inputs.onnxruntime()):
            owner = owner_of(root, library)
            if owner not in found:
                raise DistError(
                    f"the package needs {library} of {owner}, and does not depend on it", "Add it in Cargo.toml."
                )
        root.install("systemd", "man-db")
        root.run("systemd-analyze", "verify", "descry@door.service")
        # For root, man would keep the page that it made.
        root.run_as_user("man --warnings descry >/dev/null")
        root.run("dpkg", "--remove", "descry")
        root.run("dpkg", "--purge", "descry")
        if left := sorted(path for path in files_of(root) - before if "descry" in path):
            raise DistError(f"the purged package leaves {', '.join(left)}", "Remove it in tools/dist/package/postrm.")

    def image(self) -> None:
        log("the image, as an ordinary user with a read-only root")
        name = artefacts.image_name(self.commit)
        top = empty(BASE / "trial-image")
        result = "image.vtt"
        began = time.monotonic()
        layout = empty(top / "layout")
        run("tar", "-xf", OUT / name, "-C", layout)
        run("umoci", "unpack", "--image", f"{layout}:{self.commit.version}", top / "bundle")
        contain(top / "bundle", ["-q", "describe", "/films/bikes.mp4", "-o", "/results/" + result, "--force"])
        self.finish("image", "runc", OUT / name, began, result)
        shutil.rmtree(top)

    def wheel(self, suite: str) -> None:
        """`pip install` in an environment of Python: the program, and the module's own tests."""
        log(f"the wheel on {suite}")
        name = wheel.name(self.commit)
        root = system(suite, f"wheel-{suite}")
        root.reads["/project"] = SOURCE
        root.install("python3-venv")
        root.environment = {"PYTHONDONTWRITEBYTECODE": "1"}
        trust_certificates(root)
        (root.folder / "venv").mkdir()
        os.chown(root.folder / "venv", USER, USER)
        result = f"wheel-{suite}.vtt"
        root.network = True
        began = time.monotonic()
        root.run_as_user(f"python3 -m venv /venv && /venv/bin/pip install -q /dist/{name}")
        root.network = False
        root.run_as_user(f"/venv/bin/descry -q describe /films/bikes.mp4 -o - >/results/{result}")
        self.finish("wheel", suite, OUT / name, began, result)
        # The module that is installed, not the one beside the tests.
        root.run_as_user("/venv/bin/python -I /project/tools/test_wheel.py --installed")
        root.environment["PATH"] = "/venv/bin:/usr/bin:/bin"
        self.exercise(root, f"wheel-{suite}")
        shutil.rmtree(root.folder)

    def source(self) -> None:
        """`make build` and `make install` in a system with nothing but make and Rust: make installs the rest itself."""
        log(f"the sources on {PACKAGE_SUITE}")
        root = system(PACKAGE_SUITE, "source")
        root.install("make", "ca-certificates")
        shutil.copytree(SOURCE, root.folder / "descry")
        root.reads["/rust"] = inputs.compiler()
        root.environment = {"PATH": "/rust/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "CARGO_HOME": "/cargo"}
        trust_certificates(root)
        root.network = True
        result = "source.vtt"
        began = time.monotonic()
        root.run("make", "-s", "build", cwd="/descry")
        root.network = False
        describe = f"target/release/descry -q describe samples/bikes.mp4 -o - >/results/{result}"
        root.run("sh", "-c", describe, cwd="/descry")
        self.finish("source", PACKAGE_SUITE, root.folder / "descry/target/release/descry", began, result)
        root.run("make", "-s", "install", cwd="/descry")
        self.exercise(root, "source")
        # make has installed what Cargo's way asks for, and the crates are compiled.
        root.environment["CARGO_TARGET_DIR"] = "/descry/target"
        root.run("make", "-s", "uninstall", cwd="/descry")
        self.cargo(root)
        shutil.rmtree(root.folder)

    def cargo(self, root: Root) -> None:
        """`cargo install` of the packaged crate: the program runs, and names what it lacks with the commands for it."""
        log("the crate")
        crates = empty(BASE / "crate")
        options = ("--locked", "--no-verify", "--manifest-path", SOURCE / "Cargo.toml", "--target-dir", crates)
        run("cargo", "package", "-q", *options)
        crate = crates / f"package/descry-{self.commit.version}.crate"
        if crate.stat().st_size > CRATE_LIMIT:
            raise DistError(f"{crate} is larger than crates.io takes", "Leave out more of it in Cargo.toml.")
        run("tar", "-xf", crate, "-C", root.folder)
        root.install("python3-pip")
        root.environment["HOME"] = "/root"
        root.network = True
        root.run("cargo", "install", "-q", "--locked", "--path", f"/descry-{self.commit.version}")
        root.run("sh", "-c", "! /cargo/bin/descry doctor --json >/results/doctor.json")
        for command in fixes(RESULTS / "doctor.json"):
            root.run("sh", "-c", command, cwd="/descry")
        root.network = False
        root.run("/cargo/bin/descry", "doctor")
        result = "cargo.vtt"
        root.run("sh", "-c", f"/cargo/bin/descry -q describe /films/bikes.mp4 -o - >/results/{result}")
        self.compare(result)

    def reproducible(self) -> None:
        """Builds everything again: another clone, in another folder, with other settings of the user."""
        log("building everything a second time")
        again = BASE / "again"
        shutil.rmtree(again, ignore_errors=True)
        clone = again / "another/clone"
        run("git", "clone", "-q", PROJECT, clone)
        (clone / "vendor").symlink_to(inputs.VENDOR)
        environment = {
            **os.environ,
            "PYTHONPATH": str(clone / "tools"),
            "DIST_CACHE": str(CACHE),
            "TZ": "Pacific/Auckland",
            "LC_ALL": "C",
        }
        script = "umask 077; exec python3 -m dist build"
        run("sh", "-c", script, cwd=clone, env=environment)
        one, other = sums(OUT), sums(clone / "target/dist/out")
        if one != other:
            differ = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
            raise DistError(f"a second build makes other bytes: {', '.join(differ)}", f"Compare {OUT} with {clone}.")
        shutil.rmtree(again)


def trust_certificates(root: Root) -> None:
    """Lets pip and Cargo trust what pip trusts on this machine, where a proxy stands before their indexes."""
    if certificates := os.environ.get("PIP_CERT"):
        inside = "/certificates.pem"
        root.reads[inside] = Path(certificates)
        root.environment |= {"PIP_CERT": inside, "CARGO_HTTP_CAINFO": inside}


def fixes(path: Path) -> list[str]:
    """The commands that `descry doctor` prints for what is missing; of two, the one that needs no hub."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    lacking = {check["check"]: check["fix"] for check in found if check["state"] == "problem"}
    if lacking.keys() != {"ONNX Runtime", "model"}:
        raise DistError(f"descry doctor finds these problems: {', '.join(sorted(lacking))}", f"Look at {path}.")
    return [fix.rpartition("repository: ")[2] for fix in lacking.values()]


def contain(bundle: Path, arguments: list[str]) -> None:
    """Runs the image's program with runc, with the root read-only and no capability."""
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    process = config["process"]
    process["args"] = ["/usr/local/bin/descry", *arguments]
    process["terminal"] = False
    process["noNewPrivileges"] = True
    process["capabilities"] = {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")}
    config["root"]["readonly"] = True
    bind = {"type": "bind", "options": ["bind"]}
    config["mounts"] += [
        {**bind, "destination": "/films", "source": str(FILMS), "options": ["bind", "ro"]},
        {**bind, "destination": "/results", "source": str(RESULTS)},
    ]
    if process["user"]["uid"] != artefacts.IMAGE_USER:
        raise DistError(f"the image runs as user {process['user']['uid']}", "See write_image.")
    path.write_text(json.dumps(config))
    run("runc", "run", "--bundle", bundle, f"descry-trial-{os.getpid()}")


def dependency_name(dependency: str) -> str:
    return dependency.strip().split(" ")[0].split(":")[0]


def owner_of(root: Root, library: str) -> str:
    """The package of a system that a library is from."""
    found = output(*root.command("sh", "-c", f"dpkg-query -S '*/{library}' | head -n 1"))
    return found.split(":")[0]


def files_of(root: Root) -> set[str]:
    return {str(path.relative_to(root.folder)) for path in root.folder.rglob("*")}


def sums(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir()}


def write_voice() -> None:
    """A second of a tone, for a voice that needs nothing installed."""
    with wave.open(str(RESULTS / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        tone = (int(8000 * math.sin(i / 16000 * 2 * math.pi * 440)) for i in range(16000))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in tone))


def write_films() -> None:
    """Films of many codecs, which Debian's FFmpeg makes of a sample."""
    folder = empty(RESULTS / "films")
    base = ["ffmpeg", "-v", "error", "-i", str(FILMS / "bikes.mp4"), "-t", "4", "-an", "-vf", "scale=320:-2"]
    # The encoder of AV1 is loud.
    environment = {**os.environ, "SVT_LOG": "0"}
    for name, options in CODECS.items():
        run(*base, *options.split(), folder / name, env=environment)


def suites() -> list[str]:
    """The systems that can be had here."""
    found = list(SUITES)
    if os.environ.get("DIST_UBUNTU_MIRROR"):
        found += UBUNTU_SUITES
    else:
        log("Ubuntu is not tried: DIST_UBUNTU_MIRROR names no mirror of it")
    return found


def table(rows: list[Row]) -> str:
    lines = ["| way | system | size | to the first cue |", "|---|---|---|---|"]
    lines += [f"| {r.way} | {r.system} | {megabytes(r.size)} | {r.first_cue:.1f} s |" for r in rows]
    return "\n".join(lines)


def run_all() -> None:
    if os.geteuid() != 0:
        raise DistError(
            "the trials install packages, which only root can", "Run `make test-dist` as root, or in a container."
        )
    commit = artefacts.build()
    empty(RESULTS)
    RESULTS.chmod(0o777)
    write_voice()
    write_films()
    trials = Trials(commit)
    for suite in suites():
        trials.archive(suite)
    for suite in WHEEL_SUITES:
        trials.wheel(suite)
    trials.package()
    trials.image()
    trials.source()
    trials.reproducible()
    print(table(trials.rows))
