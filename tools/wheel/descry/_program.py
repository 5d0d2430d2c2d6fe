"""The program: where it is, and a run of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import threading
import warnings
from pathlib import Path
from typing import IO

# Exit codes of the program.
DONE, SOME_FAILED = 0, 1
# Of what a run writes to standard error, so many bytes are kept: the last ones.
TAIL = 16_000
# What `pip install` puts beside Python itself.
NAME = "descry.exe" if os.name == "nt" else "descry"


class DescryError(Exception):
    """The program failed. The message is its own: what is wrong, and what to do about it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """1: an input failed; 2: wrong options, model or library; negative: the signal that ended the program."""


class DescryWarning(UserWarning):
    """The program ended with a result and a warning, for example about damage in a film."""


def program() -> Path:
    """The program that the functions run: what `DESCRY_BINARY` names, or that of this environment, or that in `PATH`.

    Raises:
        FileNotFoundError: there is none.
    """
    named = os.environ.get("DESCRY_BINARY")
    if named:
        return Path(named)
    own = Path(sysconfig.get_path("scripts")) / NAME
    if own.is_file():
        return own
    found = shutil.which(NAME)
    if found is None:
        raise FileNotFoundError(
            f"There is no program {NAME} in {own.parent} or in PATH. Run `pip install --force-reinstall descry`, "
            "or name the program with the environment variable DESCRY_BINARY."
        )
    return Path(found)


class _Tail(threading.Thread):
    """Reads a pipe to its end and keeps what came last, so that the program never waits for a reader."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._pipe, self._kept = pipe, b""
        self.start()

    def run(self) -> None:
        while read := self._pipe.read1(4096):  # type: ignore[attr-defined]
            self._kept = (self._kept + read)[-TAIL:]

    def text(self) -> str:
        self.join()
        return self._kept.decode("utf-8", "replace").strip()


def run(arguments: list[str], text: str | None = None, partial: bool = False) -> bytes:
    """Runs the program to its end and returns its standard output.

    `text` is its standard input. `partial` says that a result counts even if an input was read only in part.

    If the caller is interrupted, the program is, too.
    """
    source = subprocess.DEVNULL if text is None else subprocess.PIPE
    command = [str(program()), "--log", "json", *arguments]
    with subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        errors = _Tail(process.stderr)
        feeder = _feed(process, text)
        try:
            out = process.stdout.read()
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
        if feeder is not None:
            feeder.join()
    message = _message(errors.text())
    if code != DONE and not (partial and code == SOME_FAILED and out):
        raise DescryError(message or f"descry ended with exit code {code}", code)
    if message:
        warnings.warn(message, DescryWarning, stacklevel=3)
    return out


def _message(log: str) -> str:
    """The errors and warnings in a log of `--log json`. Other lines, such as those of the system's loader, are kept."""
    texts = (_text(line) for line in log.splitlines())
    return "\n".join(text for text in texts if text)


def _text(line: str) -> str:
    try:
        event = json.loads(line)
        return str(event["message"]) if event["level"] in ("error", "warning") else ""
    except (ValueError, TypeError, KeyError):
        return line


def _feed(process: subprocess.Popen[bytes], text: str | None) -> threading.Thread | None:
    """Writes the program's standard input beside the thread that reads its output."""
    if text is None:
        return None
    pipe = process.stdin
    assert pipe is not None

    def write() -> None:
        # The program may end before it has read everything. Its exit code then says why.
        try:
            with pipe:
                pipe.write(text.encode())
        except (BrokenPipeError, ConnectionResetError):
            pass

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread
