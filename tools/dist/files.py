"""Files: downloads that must have a hash, and archives that have the same bytes whenever they are made."""

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from dist.error import DistError

# Bytes that are copied at once.
BLOCK = 1 << 20
# Most bytes of a download. The largest pinned file has 80 MB.
MOST_BYTES = 500 << 20
TIMEOUT = 60
# The same options for every archive, so that its bytes depend on the content alone.
TAR = "--sort=name --owner=0 --group=0 --numeric-owner --format=posix --pax-option=delete=atime,delete=ctime".split()


def log(text: str) -> None:
    print(f"dist: {text}", file=sys.stderr, flush=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fetch(url: str, expected: str, cache: Path) -> Path:
    """Returns a file with this hash, from the cache or the network."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{expected[:16]}-{url.rsplit('/', 1)[1]}"
    if path.is_file() and sha256(path) == expected:
        return path
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("wb") as file:
            left = MOST_BYTES
            while block := answer.read(BLOCK):
                left -= len(block)
                if left < 0:
                    raise DistError(f"{url} has more than {MOST_BYTES} bytes", "Check the mirror.")
                file.write(block)
    except urllib.error.HTTPError as e:
        if e.code == 404:
            raise DistError(
                f"the mirror no longer has {url}",
                "Name a mirror that has old versions with DIST_MIRROR and DIST_SECURITY_MIRROR (an archive of Debian's "
                "snapshots, of the date at the top of the lock), or pin today's versions: make dist-lock",
            ) from e
        raise DistError(f"{url} cannot be fetched: {e}", "Check the network and the mirror.") from e
    except OSError as e:
        raise DistError(f"{url} cannot be fetched: {e}", "Check the network and the mirror.") from e
    found = sha256(part)
    if found != expected:
        part.unlink()
        raise DistError(
            f"{url} has the SHA-256 {found}, not {expected}", "The mirror is damaged or lies: use another one."
        )
    part.replace(path)
    return path


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Runs a command whose output is the user's to read, and raises if it fails."""
    try:
        done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, check=False)
    except FileNotFoundError as e:
        raise DistError(f"{command[0]} is missing", "Run `make setup-dist`.") from e
    if done.returncode != 0:
        raise DistError(
            f"{command[0]} failed with {done.returncode}: {' '.join(map(str, command))}", "See its output above."
        )


def output(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints."""
    try:
        done = subprocess.run([str(word) for word in command], cwd=cwd, check=False, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError as e:
        raise DistError(f"{command[0]} is missing", "Run `make setup-dist`.") from e
    if done.returncode != 0:
        raise DistError(
            f"{command[0]} failed with {done.returncode}: {' '.join(map(str, command))}", "See its output above."
        )
    return done.stdout


def empty(folder: Path) -> Path:
    """Makes a folder that holds nothing."""
    if folder.is_symlink() or folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def set_modes(folder: Path) -> None:
    """Gives a tree the modes that do not depend on the umask of who built it."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)


def tar(folder: Path, names: list[str], to: Path, epoch: int) -> None:
    """Archives what is in a folder, the same bytes for the same content."""
    run("tar", *TAR, f"--mtime=@{epoch}", "-C", folder, "-cf", to, *names)


def tar_zst(folder: Path, name: str, to: Path, epoch: int) -> None:
    """Archives a folder and compresses it, on one thread: the number of threads would change the bytes."""
    plain = to.with_suffix("")
    tar(folder, [name], plain, epoch)
    run("zstd", "-q", "-12", "--long=27", "--single-thread", "--rm", "-f", plain, "-o", to)


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def jobs() -> int:
    """How many compilers run at once: DIST_JOBS, or one for each core."""
    return int(os.environ.get("DIST_JOBS") or os.cpu_count() or 1)
