"""Roots: file systems of Debian and Ubuntu, and commands in them.

Commands run without network, see nothing of this machine but what is mounted for them, and end with this process.
"""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dist import locks
from dist.error import DistError
from dist.files import empty, log, run, sha256
from dist.locks import mirror
from dist.paths import BASE, LOCKS, ROOTS

# What the program and the libraries are built in: the oldest Debian that they are to run on.
BUILD_SUITE = "bullseye"
BUILD_PACKAGES = (
    "autoconf automake clang-11 cmake dpkg-dev g++ gcc libc6-dev libclang-11-dev libtool linux-libc-dev make meson "
    "nasm ninja-build patch perl pkg-config python3 xz-utils zstd"
).split()
# The number of an ordinary user and of its group.
USER = 1000
# The name of a repository that holds the packages of a lock.
OWN_SUITE = "locked"
# What a program for glibc needs at the least.
IMAGE_SUITE = "trixie"
IMAGE_PACKAGES = "base-files ca-certificates gcc-14-base libc6 libgcc-s1 libstdc++6 media-types netbase tzdata".split()


def lock_build() -> None:
    """Pins the packages of the build's root, with all that they need."""
    listed = BASE / "build.packages"
    BASE.mkdir(parents=True, exist_ok=True)
    query = f"chroot \"$1\" dpkg-query -W -f '${{Package}}\\n' >{listed}"
    run(
        *("mmdebstrap", "--variant=essential", "--format=null", f"--include={','.join(BUILD_PACKAGES)}"),
        *(f"--customize-hook={query}", BUILD_SUITE, "-", mirror("debian")),
    )
    comment = f"Packages of Debian {BUILD_SUITE} that everything is built with."
    locks.lock_packages("build", BUILD_SUITE, listed.read_text().split(), comment)


def lock_image() -> None:
    locks.lock_packages("image", IMAGE_SUITE, IMAGE_PACKAGES, f"Packages of Debian {IMAGE_SUITE} in the image.")


def lock_keyring() -> None:
    locks.lock_packages("keyring", IMAGE_SUITE, ["ubuntu-keyring"], "The keys that Ubuntu is signed with.")


def ubuntu_keyring() -> Path:
    """The keys that Ubuntu is signed with, from a package of Debian's."""
    folder = empty(BASE / "keyring")
    for pin in locks.read("keyring"):
        run("dpkg-deb", "-x", pin.fetch(), folder)
    return folder / "usr/share/keyrings/ubuntu-archive-keyring.gpg"


def repository(name: str) -> Path:
    """A folder with the packages of a lock, and the index that apt wants."""
    folder = empty(ROOTS / f"{name}.packages")
    for pin in locks.read(name):
        (folder / pin.name).hardlink_to(pin.fetch())
    index = folder / "Packages"
    done = subprocess.run(["dpkg-scanpackages", "--multiversion", "."], cwd=folder, capture_output=True, check=False)
    if done.returncode != 0:
        raise DistError(f"dpkg-scanpackages failed: {done.stderr.decode(errors='replace')}", "Run `make setup-dist`.")
    index.write_bytes(done.stdout)
    # mmdebstrap finds the essential packages of a suite by its name.
    release = f"Suite: {OWN_SUITE}\nCodename: {OWN_SUITE}\nSHA256:\n {sha256(index)} {index.stat().st_size} Packages\n"
    (folder / "Release").write_text(release)
    return folder


def locked_tar(name: str) -> Path:
    """The root whose packages a lock names, as an archive."""
    path = ROOTS / f"{name}-{sha256(LOCKS / f'{name}.lock')[:16]}.tar"
    if path.is_file():
        return path
    log(f"making the root of {name}.lock")
    packages = repository(name)
    names = [pin.name.split("_")[0] for pin in locks.read(name)]
    part = path.with_suffix(".part.tar")
    run(
        *("mmdebstrap", "-q", "--variant=essential", "--skip=cleanup/reproducible", f"--include={','.join(names)}"),
        *(OWN_SUITE, part, f"deb [trusted=yes] copy:{packages} ./"),
    )
    part.replace(path)
    return path


def suite_tar(suite: str, uri: str, extra: tuple[str, ...] = ()) -> Path:
    """A new system with nothing but what debootstrap installs, in today's versions."""
    path = ROOTS / f"{suite}.tar"
    if path.is_file():
        return path
    ROOTS.mkdir(parents=True, exist_ok=True)
    log(f"making a root of {suite}")
    part = path.with_suffix(".part.tar")
    run("mmdebstrap", "-q", "--variant=minbase", *extra, suite, part, uri)
    part.replace(path)
    return path


@dataclass
class Root:
    """A root, unpacked into a folder of its own."""

    folder: Path
    # Folders of this machine that commands see, by their path inside. Those of `reads` cannot be changed.
    reads: dict[str, Path] = field(default_factory=dict)
    writes: dict[str, Path] = field(default_factory=dict)
    # Folders that look empty.
    hidden: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    network: bool = False
    read_only: bool = False

    @staticmethod
    def unpack(tar: Path, folder: Path) -> "Root":
        empty(folder)
        # Device files are mounted anew, and only root could make them.
        run("tar", "-xf", tar, "-C", folder, "--exclude=./dev/*")
        return Root(folder)

    def command(self, *words: str, cwd: str = "/") -> list[str]:
        """The whole command that runs `words` inside."""
        bind = "--ro-bind" if self.read_only else "--bind"
        out = [
            "bwrap",
            bind,
            str(self.folder),
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--perms",
            "1777",
            "--tmpfs",
            "/tmp",
        ]
        out += ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
        out += ["--die-with-parent", "--new-session", "--clearenv", "--chdir", cwd]
        if self.network:
            out += ["--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf"]
        else:
            out += ["--unshare-net"]
        for inside, outside in self.reads.items():
            out += ["--ro-bind", str(outside), inside]
        for inside, outside in self.writes.items():
            out += ["--bind", str(outside), inside]
        for inside in self.hidden:
            out += ["--tmpfs", inside]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", **self.environment}
        for name, value in environment.items():
            out += ["--setenv", name, value]
        if os.geteuid() == 0:
            # What installs packages must be able to change owners, and what tries them to become somebody else.
            out += ["--cap-add", "ALL"]
        else:
            out += ["--unshare-user", "--uid", "0", "--gid", "0"]
        return [*out, *words]

    def run(self, *words: str, cwd: str = "/") -> None:
        run(*self.command(*words, cwd=cwd))

    def run_as_user(self, script: str, cwd: str = "/") -> None:
        """Runs a script of the shell as an ordinary user, who can never become another one."""
        words = [
            "setpriv",
            f"--reuid={USER}",
            f"--regid={USER}",
            "--clear-groups",
            "--no-new-privs",
            "sh",
            "-c",
            script,
        ]
        self.run(*words, cwd=cwd)

    def install(self, *packages: str) -> None:
        """Installs packages in today's versions, of the system or from a file. What goes wrong is shown."""
        self.network = True
        install = f"apt-get install -qq -y --no-install-recommends {' '.join(packages)} >/dev/null"
        self.run("sh", "-c", f"export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && {install}")
        self.network = False

    def make_places(self) -> None:
        """Makes the folders that others are mounted on, because a read-only root has no place for new ones."""
        for inside in [*self.reads, *self.writes]:
            (self.folder / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
