"""What an artefact is made of: its list of parts (SBOM, CycloneDX) and their licences."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from dist import inputs, locks
from dist.error import DistError
from dist.files import output, run, sha256
from dist.inputs import Commit
from dist.paths import CRATES, LIBRARIES, SOURCE

# The licence of each library, as its terms in Debian's package state it.
LICENCES = {
    "bzip2": "bzip2-1.0.6",
    "dav1d": "BSD-2-Clause",
    "ffmpeg": "LGPL-3.0-or-later",
    "lame": "LGPL-2.0-or-later",
    "libvpx": "BSD-3-Clause",
    "opus": "BSD-3-Clause",
    "srt": "MPL-2.0",
    "zlib": "Zlib",
}
TRIPLE = "x86_64-unknown-linux-gnu"
OFFLINE = [
    *("--config", 'source.crates-io.replace-with="vendored"'),
    *("--config", f'source.vendored.directory="{CRATES}"'),
]
# Names of files with terms in a crate.
CODE = (".rs", ".c", ".h", ".py", ".sh")
TERMS = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)

Component = dict[str, Any]


def linked_crates() -> list[dict[str, Any]]:
    """The crates that are part of the program: what only builds or tests it is not."""
    arguments = ["metadata", "--format-version=1", "--locked", "--offline", f"--filter-platform={TRIPLE}"]
    metadata = json.loads(output("cargo", *OFFLINE, *arguments, cwd=SOURCE))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    start = next(p["id"] for p in packages.values() if p["name"] == "descry")
    reached = {start}
    waiting = [start]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_linked and dependency["pkg"] not in reached:
                reached.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    reached.remove(start)
    return sorted((packages[p] for p in reached), key=lambda p: (p["name"], p["version"]))


def crate_terms() -> str:
    """The licences of all crates in one text. A text that several crates have occurs once."""
    texts: dict[str, list[str]] = {}
    bare = []
    for package in linked_crates():
        name = f"{package['name']} {package['version']} ({package['license'] or 'see below'})"
        folder = Path(package["manifest_path"]).parent
        # Also of sources in C, which are one folder further down.
        inside = [*folder.glob("*"), *folder.glob("*/*")]
        files = sorted(f for f in inside if f.is_file() and TERMS.match(f.name) and f.suffix not in CODE)
        if not files:
            bare.append(name)
        for file in files:
            text = file.read_text(errors="replace").strip()
            texts.setdefault(text, []).append(name)
    out = ["descry contains these crates of Rust, under these terms.\n"]
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        out.append("\n" + "=" * 78 + "\n" + "\n".join(dict.fromkeys(names)) + "\n" + "-" * 78 + "\n" + text + "\n")
    if bare:
        out.append("\n" + "=" * 78 + "\nCrates without a text of their own; the texts of these licences are above:\n")
        out += [f"{name}\n" for name in bare]
    return "".join(out)


def pool_version(name: str) -> str:
    """The version of a source package, from the name of its description."""
    for pin in locks.read("sources"):
        if found := re.fullmatch(rf"{re.escape(name)}_(.+)\.dsc", pin.name):
            return found[1]
    raise DistError(f"sources.lock has no {name}", "Write it anew: make dist-lock")


def component(kind: str, name: str, version: str, licence: str, more: Component) -> Component:
    one: Component = {"type": kind, "name": name, "version": version, **more}
    one.setdefault("bom-ref", one.get("purl", f"{name}@{version}"))
    if licence:
        one["licenses"] = [{"expression": licence}]
    return one


def library_components() -> list[Component]:
    """FFmpeg and what is in it."""
    found = []
    for name in locks.SOURCES:
        version = pool_version(name)
        files = [p for p in locks.read("sources") if p.name.startswith(f"{name}_")]
        references = [
            {"type": "source-distribution", "url": p.path, "hashes": [{"alg": "SHA-256", "content": p.sha256}]}
            for p in files
        ]
        purl = f"pkg:deb/debian/{name}@{version}?arch=source"
        found.append(
            component("library", name, version, LICENCES[name], {"purl": purl, "externalReferences": references})
        )
    return found


def own_components() -> list[Component]:
    """What every artefact has besides crates: ONNX Runtime and the models."""
    library = inputs.onnxruntime()
    hashes = [{"alg": "SHA-256", "content": sha256(library)}]
    version = library.name.removeprefix("libonnxruntime.so.")
    found = [
        component(
            "library", "onnxruntime", version, "MIT", {"purl": f"pkg:pypi/onnxruntime@{version}", "hashes": hashes}
        )
    ]
    manifest = json.loads((SOURCE / "models/builtin/model.json").read_text())
    found.append(component("machine-learning-model", manifest["name"], manifest["version"], "", {}))
    graph = SOURCE / "models/silero-vad/silero_vad_16k_sequence.onnx"
    hashes = [{"alg": "SHA-256", "content": sha256(graph)}]
    found.append(component("machine-learning-model", "silero-vad", "6.2.3", "MIT", {"hashes": hashes}))
    for file in sorted(inputs.text_model().glob("*.onnx")):
        hashes = [{"alg": "SHA-256", "content": sha256(file)}]
        name = f"PP-OCRv6-{file.stem}"
        found.append(component("machine-learning-model", name, "6", "Apache-2.0", {"hashes": hashes}))
    return found


def image_components() -> list[Component]:
    """Debian's packages in the image."""
    found = []
    for pin in locks.read("image"):
        name, version, architecture = pin.name.removesuffix(".deb").split("_")
        purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
        hashes = [{"alg": "SHA-256", "content": pin.sha256}]
        found.append(component("library", name, version, "", {"purl": purl, "hashes": hashes}))
    return found


def crates_bom(commit: Commit) -> Component:
    """The list of crates, by cargo-cyclonedx."""
    name = "descry-parts"
    # Without a mirror's name, in case Cargo has one.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(commit.epoch), "CARGO_NET_OFFLINE": "true"}
    run(
        *(inputs.VENDOR / "cargo-cyclonedx/bin/cargo-cyclonedx", "cyclonedx", "--format=json", "--spec-version=1.5"),
        *(
            "--no-build-deps",
            f"--target={TRIPLE}",
            f"--override-filename={name}",
            "--manifest-path",
            SOURCE / "Cargo.toml",
        ),
        env=environment,
        cwd=SOURCE,
    )
    made = SOURCE / f"{name}.json"
    # Paths of this machine.
    bom: Component = json.loads(made.read_text().replace(str(SOURCE), "/src"))
    for path in SOURCE.rglob(f"{name}.json"):
        path.unlink()
    return bom


def bom(base: Component, components: list[Component]) -> str:
    """A list of parts: the crates, and these components."""
    whole = json.loads(json.dumps(base))
    whole["components"] += components
    root = whole["metadata"]["component"]["bom-ref"]
    names = [one["bom-ref"] for one in components]
    for dependency in whole["dependencies"]:
        if dependency["ref"] == root:
            dependency["dependsOn"] = sorted({*dependency.get("dependsOn", []), *names})
    whole["dependencies"] += [{"ref": name} for name in names]
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def library_terms() -> list[Path]:
    return sorted((LIBRARIES / "licences").iterdir())


def shared_libraries() -> list[Path]:
    """FFmpeg's libraries, under the names that programs ask for."""
    found = [p for p in sorted((LIBRARIES / "lib").glob("lib*.so.*")) if p.is_symlink()]
    if len(found) != 6:
        raise DistError(
            f"{LIBRARIES / 'lib'} has {len(found)} libraries, not 6", f"Remove {LIBRARIES} and build again."
        )
    return found


def needed(file: Path) -> set[str]:
    """The shared libraries that a file asks for."""
    shown = subprocess.run(["objdump", "-p", file], check=True, stdout=subprocess.PIPE, text=True).stdout
    return set(re.findall(r"NEEDED\s+(\S+)", shown))
