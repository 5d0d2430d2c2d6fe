"""Lists of pinned files of Debian: `tools/dist/locks/*.lock`.

A line is a SHA-256, the archive (`debian` or `security`) and the path in it. `make dist-lock` writes the lists anew,
for today's versions; a build downloads exactly what they name. Debian's mirrors drop versions that were replaced, but
its archive of snapshots keeps them for ever.
"""

import lzma
import os
import re
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dist.error import DistError
from dist.files import TIMEOUT, fetch, log, output
from dist.paths import BASE, CACHE, LOCKS

ARCHIVES = {"debian": ("Debian", "DIST_MIRROR"), "security": ("Debian-Security", "DIST_SECURITY_MIRROR")}


@dataclass(frozen=True)
class Pin:
    """A file of Debian."""

    sha256: str
    archive: str
    path: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[1]

    def fetch(self) -> Path:
        return fetch(f"{mirror(self.archive)}/{self.path}", self.sha256, CACHE)


def read(name: str) -> list[Pin]:
    path = LOCKS / f"{name}.lock"
    pins = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 3 or not re.fullmatch("[0-9a-f]{64}", words[0]) or words[1] not in ARCHIVES:
            raise DistError(f"{path}, line {number}, is no SHA-256, archive and path", "Write it anew: make dist-lock")
        pins.append(Pin(*words))
    return pins


def write(name: str, comment: str, pins: list[Pin]) -> None:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [f"# {comment} As of {today}; written by `make dist-lock`.\n"]
    lines += [f"{pin.sha256} {pin.archive} {pin.path}\n" for pin in pins]
    (LOCKS / f"{name}.lock").write_text("".join(lines))
    log(f"{name}.lock: {len(pins)} files")


@cache
def mirror(archive: str) -> str:
    """The mirror that DIST_MIRROR or DIST_SECURITY_MIRROR names, or else the one that apt uses on this machine."""
    label, variable = ARCHIVES[archive]
    if named := os.environ.get(variable):
        return named.rstrip("/")
    try:
        listed = output("apt-get", "indextargets", "--format", "$(LABEL)\t$(REPO_URI)")
    except DistError:
        listed = ""
    for line in sorted(set(listed.splitlines())):
        found, _, uri = line.partition("\t")
        if found == label and uri.startswith("http"):
            return uri.rstrip("/")
    raise DistError(f"apt on this machine knows no mirror of {label}", f"Name one: {variable}=http://HOST/PATH")


# What the libraries are made of. FFmpeg has the version that all tests use.
SOURCES = ["bzip2", "dav1d", "ffmpeg", "lame", "libvpx", "opus", "srt", "zlib"]
SOURCES_SUITE = "bookworm"
# Those that tools/dist/patches mends instead of Debian's security archive.
MENDED = {"srt"}


def paragraphs(archive: str, suite: str, index: str) -> list[str]:
    """The paragraphs of an index, whose hash the suite's signed release file has."""
    base = f"{mirror(archive)}/dists/{suite}"
    with urllib.request.urlopen(f"{base}/InRelease", timeout=TIMEOUT) as answer:
        signed = answer.read(4 << 20)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    checked = subprocess.run(["gpgv", "-q", "--keyring", keyring, "--output", "-"], input=signed, capture_output=True)
    if checked.returncode != 0:
        raise DistError(f"{base}/InRelease has no good signature", "Use another mirror.")
    release = checked.stdout.decode()
    hashes = release[release.index("\nSHA256:") :]
    entry = re.search(rf"^ ([0-9a-f]{{64}}) +\d+ {re.escape(index)}\.xz$", hashes, re.MULTILINE)
    if entry is None:
        raise DistError(f"{base}/InRelease does not list {index}.xz", "Use another mirror.")
    path = fetch(f"{base}/{index}.xz", entry[1], BASE / "indexes")
    return lzma.open(path, "rt", encoding="utf-8").read().split("\n\n")


def field(paragraph: str, name: str) -> str:
    found = re.search(rf"^{name}:[ \t]*(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
    return found[1] if found else ""


def newer(one: str, other: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0


def newest(suite: str, index: str, names: set[str]) -> dict[str, tuple[str, str]]:
    """The newest paragraph of each name, with its archive: that of Debian itself where both have the same version."""
    found: dict[str, tuple[str, str]] = {}
    for archive, of in (("debian", suite), ("security", f"{suite}-security")):
        for paragraph in paragraphs(archive, of, index):
            name = field(paragraph, "Package")
            if archive == "security" and name in MENDED:
                continue
            if name in names and (name not in found or newer(version(paragraph), version(found[name][0]))):
                found[name] = (paragraph, archive)
    if missing := sorted(names - found.keys()):
        raise DistError(f"{suite} has no {', '.join(missing)}", "Check the list in tools/dist.")
    return found


def version(paragraph: str) -> str:
    return field(paragraph, "Version")


def lock_sources() -> None:
    found = newest(SOURCES_SUITE, "main/source/Sources", set(SOURCES))
    pins = []
    for name in SOURCES:
        paragraph, archive = found[name]
        folder = field(paragraph, "Directory")
        lines = [line.split() for line in field(paragraph, "Checksums-Sha256").split("\n")]
        pins += [Pin(words[0], archive, f"{folder}/{words[2]}") for words in lines if words]
    write("sources", f"Source packages of Debian {SOURCES_SUITE} that the archive's libraries are built from.", pins)


def lock_packages(name: str, suite: str, packages: list[str], comment: str) -> None:
    """Pins the packages of a root: those named, with all that they need."""
    found = newest(suite, "main/binary-amd64/Packages", set(packages))
    pins = [Pin(field(p, "SHA256"), archive, field(p, "Filename")) for p, archive in found.values()]
    write(name, comment, sorted(pins, key=lambda pin: pin.name))
