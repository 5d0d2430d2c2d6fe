#!/usr/bin/env python3
"""Checks descry on a GPU: whether it computes what the CPU computes, and how fast.

  gpu_check.py [--device cuda:0] [--size base] [--pictures 32]

Without a GPU it prints why there is none and "skipped", and exits with 0. With one, it installs what is missing
(`tools/setup.sh gpu`), builds descry with the feature `cuda`, makes models with seeded weights in the shapes of
published ones (gpu_models.py), runs them on the CPU and on the device, and prints a table in Markdown. It exits with 1
if the device differs from the CPU by more than rounding explains.

Where nothing can be installed or built, name what is there: --descry, --onnxruntime, --python. With --device cpu it
goes the whole way without a GPU, to try the check itself. It needs no package to start.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BATCH = 32
PROMPT = "Describe this picture in one sentence."
FAILED = 1


# ---- the device ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """What was found: its name, or why there is none."""

    name: str = ""
    absence: str = ""


def find_gpu(proc: Path = Path("/proc/driver/nvidia")) -> Gpu:
    """Asks the driver's program, and else the driver itself."""
    program = shutil.which("nvidia-smi")
    if program:
        query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True)
        names = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        if done.returncode == 0 and names:
            return Gpu(name=names[0])
    cards = sorted(proc.glob("gpus/*/information"))
    for line in cards[0].read_text().splitlines() if cards else []:
        if line.startswith("Model:"):
            return Gpu(name=line.removeprefix("Model:").strip())
    missing = "nvidia-smi lists none" if program else "there is no nvidia-smi"
    return Gpu(absence=f"{missing}, and {proc}/gpus has none")


# ---- what descry computes --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A model, as the command line names it."""

    name: str
    folder: str
    precision: str
    options: tuple[str, ...]
    embeds: bool
    """Whether it has an image tower whose embeddings are compared."""

    @property
    def exact(self) -> bool:
        """Whether it computes in 32-bit floats."""
        return self.precision == "fp32"


CLIPCAP = ("--max-tokens", "20")
SMOLVLM = ("--prompt", PROMPT, "--greedy", "--max-tokens", "32")
MODELS = (
    Model("ClipCap", "clipcap-fp32", "fp32", CLIPCAP, True),
    Model("ClipCap", "clipcap-half", "half", CLIPCAP, True),
    Model("SmolVLM-256M", "smolvlm", "fp32", (*SMOLVLM, "--precision", "fp32"), False),
    Model("SmolVLM-256M", "smolvlm", "fp16", (*SMOLVLM, "--precision", "fp16"), False),
)


@dataclass(frozen=True)
class Measured:
    """What a model computed on a device. Rates are pictures a second, and 0 where they could not be measured."""

    ids: list[list[int]]
    logprobs: list[float]
    embeddings: list[list[float]]
    encode_rate: float
    caption_rate: float
    batch_alike: int
    """Captions that are the same in batches of one."""
    repeats: bool
    """Whether a second run gave the same bytes."""


class Descry:
    """The program on one device."""

    def __init__(self, a: argparse.Namespace, device: str, environment: dict[str, str]) -> None:
        self.a, self.device, self.environment = a, device, environment

    def run(self, command: str, pictures: Sequence[Path], model: Model, *more: str) -> tuple[str, dict[str, float]]:
        """Standard output and the statistics of a command."""
        folder = self.a.work / model.folder
        line = [self.a.descry, "--quiet", command, *pictures, "--model", folder, "--device", self.device, "--stats"]
        # The built-in model, which would embed for one that does not, may not be installed where only this is checked.
        other = () if model.embeds else ("--embedder", self.a.work / MODELS[0].folder)
        words = [str(x) for x in (*line, *other, *more)]
        done = subprocess.run(words, capture_output=True, text=True, env=self.environment)
        if done.returncode:
            raise SystemExit(f"descry {command} on {self.device}, {model.folder} {model.precision}:\n{done.stderr}")
        stats = next(text for text in reversed(done.stderr.splitlines()) if text.startswith("{"))
        return done.stdout, json.loads(stats)

    def caption(self, pictures: Sequence[Path], model: Model, batch: int) -> tuple[str, dict[str, float]]:
        options = ["--json", "--min-score", "0", "--batch", str(batch), *model.options]
        return self.run("caption", pictures, model, *options)

    def measure(self, model: Model, pictures: Sequence[Path]) -> Measured:
        """Runs a model over the pictures twice, over a longer list, and one at a time."""
        out, once = self.caption(pictures, model, BATCH)
        again, _ = self.caption(pictures, model, BATCH)
        # A GPU is done with as many pictures again too soon to be timed.
        more = len(pictures) * (1 if self.device == "cpu" else 8)
        _, longer = self.caption([*pictures, *islice(cycle(pictures), more)], model, BATCH)
        alone, _ = self.caption(pictures[:BATCH], model, 1)
        rows = [json.loads(line) for line in out.splitlines()]
        embeddings = self.run("embed", pictures, model)[0] if model.embeds else ""
        return Measured(
            ids=[row["ids"] for row in rows],
            logprobs=[row["mean_logprob"] for row in rows],
            embeddings=[json.loads(line)["embedding"] for line in embeddings.splitlines()],
            encode_rate=rate(more, once["encode"], longer["encode"]) if model.embeds else 0.0,
            caption_rate=rate(more, once["caption"], longer["caption"]),
            batch_alike=equal(ids_of(out)[:BATCH], ids_of(alone)),
            repeats=again == out,
        )


def ids_of(out: str) -> list[list[int]]:
    return [json.loads(line)["ids"] for line in out.splitlines()]


def rate(more: int, once: float, longer: float) -> float:
    """Pictures a second, from the seconds of a run and of one with so many pictures more: loading and the first batch
    cancel out."""
    return more / (longer - once) if longer > once else 0.0


# ---- comparison ------------------------------------------------------------------------------------------------------


def equal(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]]) -> int:
    """How many captions are the same."""
    return sum(list(x) == list(y) for x, y in zip(a, b, strict=True))


def opening(a: Sequence[int], b: Sequence[int]) -> float:
    """The share of the longer caption before the first token that differs."""
    longest = max(len(a), len(b))
    same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return same / longest if longest else 1.0


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    sizes = math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    return dot / sizes if sizes else 0.0


@dataclass(frozen=True)
class Parity:
    """How near two results are."""

    captions: int
    equal: int
    opening: float
    logprob: float
    """Greatest difference of a mean log-probability, among equal captions."""
    cosine: float
    """The least one; 1 where nothing is embedded."""
    apart: float
    """Greatest difference of a value of an embedding."""


def compare(want: Measured, got: Measured) -> Parity:
    same = [x == y for x, y in zip(want.ids, got.ids, strict=True)]
    drift = [abs(x - y) for x, y, s in zip(want.logprobs, got.logprobs, same, strict=True) if s]
    pairs = list(zip(want.embeddings, got.embeddings, strict=True))
    return Parity(
        captions=len(same),
        equal=sum(same),
        opening=sum(opening(x, y) for x, y in zip(want.ids, got.ids, strict=True)) / max(len(same), 1),
        logprob=max(drift, default=0.0),
        cosine=min((cosine(x, y) for x, y in pairs), default=1.0),
        apart=max((abs(p - q) for x, y in pairs for p, q in zip(x, y, strict=True)), default=0.0),
    )


@dataclass(frozen=True)
class Limit:
    """The least that rounding explains. Seeded weights give near ties, so captions of 16-bit floats part early."""

    cosine: float
    opening: float


EXACT, HALF = Limit(0.99999, 0.95), Limit(0.999, 0.3)


def faults(model: Model, parity: Parity, got: Measured) -> list[str]:
    """What is wrong with a result."""
    limit = EXACT if model.exact else HALF
    who = f"{model.name} {model.precision}"
    found = []
    if not parity.captions:
        found.append(f"{who}: no captions")
    if parity.cosine < limit.cosine:
        found.append(
            f"{who}: an embedding has a cosine of {parity.cosine:.6f} with the CPU's, less than {limit.cosine}"
        )
    if parity.opening < limit.opening:
        found.append(f"{who}: captions agree with the CPU's for {parity.opening:.0%}, less than {limit.opening:.0%}")
    if not got.repeats:
        found.append(f"{who}: a second run gave other bytes")
    return found


# ---- the table -------------------------------------------------------------------------------------------------------

HEADER = ("model", "precision", "what", "CPU, fp32", "device", "speed-up", "compared with the CPU in fp32")


def table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def figures(cpu: float, device: float) -> tuple[str, str, str]:
    """Two rates and their ratio."""
    a, b = (f"{r:.4g} a second" if r else "–" for r in (cpu, device))
    return a, b, f"{device / cpu:.3g} ×" if cpu and device else "–"


def table_rows(model: Model, want: Measured, got: Measured, parity: Parity) -> list[str]:
    rows = []
    if model.embeds:
        near = f"least cosine {parity.cosine:.7f}, values within {parity.apart:.1e}"
        tower = f"pictures through CLIP ViT-B/32, batch {BATCH}"
        rows.append(table_row(model.name, model.precision, tower, *figures(want.encode_rate, got.encode_rate), near))
    near = f"{parity.equal} of {parity.captions} captions equal, {parity.opening:.1%} before the first other token"
    near += f", mean log-probability within {parity.logprob:.1e}; in batches of one {got.batch_alike} equal"
    captions = f"captions, batch {BATCH}"
    rows.append(table_row(model.name, model.precision, captions, *figures(want.caption_rate, got.caption_rate), near))
    return rows


# ---- set-up ----------------------------------------------------------------------------------------------------------


def run_step(*command: object) -> str:
    """Runs a step whose progress goes to standard error; its failure ends the check."""
    done = subprocess.run([str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"gpu-check: failed with {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


def packages_of(python: str) -> list[Path]:
    """The folders of an interpreter's packages."""
    ask = "import json, sys; print(json.dumps([p for p in sys.path if p.endswith('-packages')]))"
    return [Path(p) for p in json.loads(run_step(python, "-c", ask))]


def library_folders(packages: Sequence[Path]) -> list[Path]:
    """Folders of NVIDIA's libraries in Python packages: nvidia/cu13/lib, nvidia/cudnn/lib."""
    return [folder for p in packages for folder in sorted(p.glob("nvidia/**/lib")) if any(folder.glob("lib*.so*"))]


def gpu_runtime(packages: Sequence[Path]) -> Path | None:
    """ONNX Runtime's library in the package that has its CUDA provider, too."""
    for folder in (p / "onnxruntime/capi" for p in packages):
        found = sorted(folder.glob("libonnxruntime.so.*"))
        if found and (folder / "libonnxruntime_providers_cuda.so").exists():
            return found[-1]
    return None


def prepare(a: argparse.Namespace) -> dict[str, str]:
    """Installs and builds what is not named, makes the models, and returns the environment of the program."""
    on_cpu = a.device == "cpu"
    if a.python is None:
        run_step("sh", "tools/setup.sh", "gpu")
        a.python = str(ROOT / "vendor/gpu/bin/python")
    if a.descry is None:
        run_step("cargo", "build", "--release", "--locked", *([] if on_cpu else ["--features", "cuda"]))
        a.descry = ROOT / "target/release/descry"
    models = ["--size", a.size, "--pictures", a.pictures, "--descry", a.descry, "--out", a.work]
    run_step(a.python, ROOT / "benches/gpu_models.py", *models)
    packages = packages_of(a.python)
    library = a.onnxruntime or (None if on_cpu else gpu_runtime(packages))
    if library is None and not on_cpu:
        raise SystemExit(f"gpu-check: {a.python} has no onnxruntime-gpu: install it, or use --onnxruntime FILE")
    folders = [str(f) for f in library_folders(packages)] + os.environ.get("LD_LIBRARY_PATH", "").split(":")
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(f for f in folders if f)}
    if library:
        environment["DESCRY_ONNXRUNTIME"] = str(library.resolve())
    return environment


def arguments(line: Sequence[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda:0", help="device to check (default: cuda:0)")
    p.add_argument("--size", choices=["tiny", "base"], default="base", help="shapes of the models (default: base)")
    p.add_argument("--pictures", type=int, default=BATCH, help=f"how many pictures (default: {BATCH})")
    p.add_argument("--descry", type=Path, metavar="FILE", help="binary to check instead of building one")
    p.add_argument("--onnxruntime", type=Path, metavar="FILE", help="ONNX Runtime's library, instead of installing it")
    p.add_argument("--python", metavar="FILE", help="Python that makes the models, instead of installing packages")
    p.add_argument("--work", type=Path, metavar="DIR", help="folder of the models (default: target/bench/gpu-SIZE)")
    a = p.parse_args(line)
    a.work = (a.work or ROOT / f"target/bench/gpu-{a.size}").resolve()
    return a


def check(a: argparse.Namespace, name: str) -> list[str]:
    """Runs everything and prints the table; returns what is wrong."""
    environment = prepare(a)
    cpu, device = Descry(a, "cpu", environment), Descry(a, a.device, environment)
    pictures = sorted((a.work / "pictures").glob("*.png"))[: a.pictures]
    print(f"{name}; {os.cpu_count()} cores of {platform.machine()}; {a.size} models, {len(pictures)} pictures\n")
    print(table_row(*HEADER))
    print(table_row(*(["---"] * len(HEADER))), flush=True)
    found: list[str] = []
    exact: dict[str, Measured] = {}
    for model in MODELS:
        if model.exact:
            exact[model.name] = cpu.measure(model, pictures)
        want, got = exact[model.name], device.measure(model, pictures)
        parity = compare(want, got)
        print("\n".join(table_rows(model, want, got, parity)), flush=True)
        found += faults(model, parity, got)
    return found


def main() -> int:
    a = arguments()
    gpu = Gpu(name="the CPU in place of a GPU") if a.device == "cpu" else find_gpu()
    if gpu.absence:
        print(f"gpu-check: no NVIDIA GPU was found: {gpu.absence}: skipped")
        return 0
    found = check(a, gpu.name)
    for fault in found:
        print(f"gpu-check: {fault}", file=sys.stderr)
    return FAILED if found else 0


if __name__ == "__main__":
    sys.exit(main())
