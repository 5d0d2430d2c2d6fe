"""The tree that artefacts hold, in the layout of `make install`."""

import shutil
from pathlib import Path

from dist import inputs, parts
from dist.files import empty, set_modes
from dist.inputs import Commit
from dist.paths import LIBRARIES, PROGRAM, SOURCE
from dist.roots import Root

# Scripts for shells, where each looks for them.
COMPLETIONS = {
    "bash": "share/bash-completion/completions/descry",
    "zsh": "share/zsh/site-functions/_descry",
    "fish": "share/fish/vendor_completions.d/descry.fish",
}


def copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)


def common(root: Root, prefix: Path) -> None:
    """What every artefact has: ONNX Runtime, the models, manual pages, completions and documentation."""
    library = inputs.onnxruntime()
    copy(library, prefix / "lib/descry" / library.name)
    models(prefix / "share/descry")
    generated(root, prefix)
    documentation(prefix / "share/doc/descry")


def models(folder: Path) -> None:
    """The built-in model, and the one that reads text."""
    for file in sorted((SOURCE / "models/builtin").iterdir()):
        if file.is_file():
            copy(file, folder / "models/builtin" / file.name)
    for file in sorted(inputs.text_model().glob("*.onnx")):
        copy(file, folder / "text-model" / file.name)


def generated(root: Root, prefix: Path) -> None:
    """Manual pages and completions, which the program itself writes."""
    made = empty(PROGRAM / "made")
    root.reads = {"/libraries": LIBRARIES}
    root.writes = {"/target": PROGRAM}
    root.environment = {"LD_LIBRARY_PATH": "/libraries/lib"}
    root.run("/target/package/descry", "man", "--out", "/target/made/man")
    for shell, path in COMPLETIONS.items():
        script = f"/target/package/descry completions {shell} >/target/made/{shell}"
        root.run("sh", "-c", script)
        copy(made / shell, prefix / path)
    for page in sorted((made / "man").rglob("*.1")):
        copy(page, prefix / "share/man/man1" / page.name)


def documentation(folder: Path) -> None:
    for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-APACHE", "LICENSE-MIT"):
        copy(SOURCE / name, folder / name)
    for page in sorted((SOURCE / "docs").glob("*.md")):
        copy(page, folder / "docs" / page.name)
    copy(SOURCE / "examples/service/streams.toml", folder / "examples/streams.toml")
    terms(folder / "licences")
    copy(inputs.VENDOR / "onnxruntime/LICENSE", folder / "licences/onnxruntime.txt")
    copy(inputs.VENDOR / "onnxruntime/ThirdPartyNotices.txt", folder / "licences/onnxruntime-third-party.txt")


def terms(folder: Path) -> None:
    """The licences of what is part of the program, and of the models."""
    folder.mkdir(parents=True)
    (folder / "crates.txt").write_text(parts.crate_terms())
    copy(SOURCE / "models/silero-vad/README.md", folder / "silero-vad.md")
    copy(inputs.VENDOR / "text-model/MODEL_LICENSES.md", folder / "text-model.md")


SOURCES_TEXT = """\
The sources of the libraries in lib/descry
==========================================

libavcodec, libavdevice, libavformat, libavutil, libswresample and libswscale are FFmpeg, under the GNU Lesser General
Public License, version 3 or later (licences/LGPL-3.txt). They were built from Debian's source packages of FFmpeg and of
the libraries that are part of them: bzip2, dav1d, LAME, libvpx, Opus, SRT and zlib.

The complete corresponding source, with the script that builds it, is the file

    {sources}

which is offered wherever this archive is. descry {version} itself was built from the commit {commit}.

You may replace these libraries with your own: build FFmpeg 5.1 with shared libraries, and put them into lib/descry.
"""


def bundled(prefix: Path, commit: Commit, sources: str) -> None:
    """FFmpeg, with its terms and the offer of its source."""
    for library in parts.shared_libraries():
        copy(library.resolve(), prefix / "lib/descry" / library.name)
    folder = prefix / "share/doc/descry"
    for terms in parts.library_terms():
        copy(terms, folder / "licences" / terms.name)
    text = SOURCES_TEXT.format(sources=sources, version=commit.version, commit=commit.hash)
    (folder / "SOURCES.txt").write_text(text)


def make_archive(root: Root, commit: Commit, folder: Path, sources: str) -> None:
    """The tree of the archive and of the image: all that the program needs, but for the C library."""
    empty(folder)
    copy(PROGRAM / "archive/descry", folder / "bin/descry")
    (folder / "bin/descry").chmod(0o755)
    common(root, folder)
    bundled(folder, commit, sources)
    set_modes(folder)
