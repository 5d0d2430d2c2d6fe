#!/usr/bin/env python3
"""Measures the speed of a SmolVLM in the layout of the Hugging Face hub.

  models.py [--size base] [--pictures 32] [--tokens 64] --images DIR [--js DIR]

It makes a model with seeded weights in the shapes of SmolVLM-256M, and captions the same pictures with the same number
of tokens in one run: with descry in fp32 and int8, with the batched `generate` of `transformers` in fp32, and with
transformers.js in int8, one picture at a time. The time of descry includes the start of the program and the loading of
the model, the times of the others do not.

It first measures what the machine can do, and at the end prints how near descry comes to it. It needs
tools/requirements-hub.txt, and transformers.js for --js (see models.mjs).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from hub_captions import PROMPT, Reference
from hub_export import quantize
from hub_model import SIZES, Size, make

BATCH = 32


@dataclass
class Result:
    """Captions as tokens, and the seconds of all of them."""

    ids: list[list[int]]
    seconds: float


# ---- what the machine can do -----------------------------------------------------------------------------------------


def best_time(times: int, run: Callable[[], Any]) -> float:
    """The shortest of several runs, in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def machine_speed() -> dict[str, float]:
    """GFLOP/s of products of floats and of integers, each by the fastest library here, and GB/s of reading memory."""
    rows, inner, columns = 2048, 768, 3072
    a, b = torch.randn(rows, inner), torch.randn(columns, inner)
    count = 2 * rows * inner * columns / 1e9
    big = torch.ones(64 << 20)
    integers = integer_product(inner, columns)
    levels = {"rows": np.random.randint(0, 255, (rows, inner)).astype(np.uint8)}
    return {
        "fp32": count / best_time(10, lambda: torch.nn.functional.linear(a, b)),
        "int8": count / best_time(10, lambda: integers.run(None, levels)),
        "bandwidth": big.numel() * 4 / best_time(10, big.sum) / 1e9,
    }


def integer_product(inner: int, columns: int) -> Any:
    """A session that multiplies rows of 8-bit numbers by a matrix of them."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.randint(-63, 64, (inner, columns)).astype(np.int8)
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.uint8(128), "zero")]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["rows", "weight", "zero"], ["sums"])],
        "product",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, ["n", inner])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, ["n", columns])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


@dataclass(frozen=True)
class Work:
    """Billions of floating-point operations of a picture, and the bytes that a step of decoding reads for a batch."""

    weights: float
    attention: float
    read: float


def work(size: Size, prompt: int, tokens: int, weight_bytes: int) -> Work:
    """The arithmetic of one picture: products with weights, which may be integers, and those of attention."""
    patches = (size.picture // size.patch) ** 2
    block = 4 * size.vision_width**2 + 2 * size.vision_width * size.vision_mlp
    vision = patches * (size.vision_layers * block + 3 * size.patch**2 * size.vision_width)
    looks = 2 * size.vision_layers * patches**2 * size.vision_width
    head = size.width // size.heads
    layer = 2 * size.width**2 + 2 * size.width * size.key_heads * head + 3 * size.width * size.mlp
    vocabulary = size.width * size.vocab
    steps = tokens - 1
    words = (prompt + steps) * size.layers * layer + tokens * vocabulary
    pairs = prompt**2 / 2 + steps * (prompt + tokens / 2)
    looks += int(2 * size.layers * pairs * size.width)
    read = tokens * (size.layers * layer + vocabulary) * weight_bytes / BATCH
    return Work(2 * (vision + words) / 1e9, 2 * looks / 1e9, read / 1e9)


# ---- descry and its rivals -------------------------------------------------------------------------------------------


def shell(command: Sequence[object], cwd: Path | None = None) -> tuple[str, str]:
    """Runs a command; returns its standard output and standard error."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:6]))} …\n{done.stderr}")
    return done.stdout, done.stderr


def descry(a: argparse.Namespace, precision: str, pictures: Sequence[Path]) -> Result:
    command = [a.descry, "--quiet", "caption", *pictures, "--model", a.dir, "--precision", precision]
    command += ["--prompt", PROMPT, "--greedy", "--max-tokens", a.tokens, "--batch", BATCH, "--json"]
    start = time.perf_counter()
    out, _ = shell(command)
    return Result([json.loads(line)["ids"] for line in out.splitlines()], time.perf_counter() - start)


@torch.no_grad()
def transformers(a: argparse.Namespace, attention: str, pictures: Sequence[Path]) -> Result:
    """What a person who knows the library would write."""
    from transformers import SmolVLMForConditionalGeneration

    reference = Reference(a.dir, a.torch)
    model: Any = SmolVLMForConditionalGeneration.from_pretrained(
        a.torch, dtype=torch.float32, attn_implementation=attention
    ).eval()
    prompt = reference.prompt_ids(PROMPT, 1)
    ids: list[list[int]] = []
    start = time.perf_counter()
    for k in range(0, len(pictures), BATCH):
        pixels = torch.cat([reference.pixels([f]) for f in pictures[k : k + BATCH]])
        out = model.generate(
            input_ids=torch.tensor([prompt] * len(pixels)),
            attention_mask=torch.ones(len(pixels), len(prompt), dtype=torch.long),
            pixel_values=pixels,
            pixel_attention_mask=torch.ones(*pixels.shape[:2], *pixels.shape[3:], dtype=torch.bool),
            max_new_tokens=a.tokens,
            do_sample=False,
        )
        ids += [row[len(prompt) :] for row in out.tolist()]
    return Result(ids, time.perf_counter() - start)


def javascript(a: argparse.Namespace, precision: str, pictures: Sequence[Path]) -> Result:
    files = [f.resolve() for f in pictures]
    command = ["node", Path(__file__).with_suffix(".mjs").resolve(), a.dir.resolve(), precision, a.tokens, PROMPT]
    out, err = shell([*command, *files], cwd=a.js)
    seconds = json.loads(err.strip().splitlines()[-1])["seconds"]
    return Result([json.loads(line)["ids"] for line in out.splitlines()], seconds)


# ---- results ---------------------------------------------------------------------------------------------------------


def alike(a: Result, b: Result) -> str:
    equal = sum(x == y for x, y in zip(a.ids, b.ids, strict=True))
    return f"{equal} of {len(a.ids)} captions equal"


def print_row(name: str, result: Result, more: str = "") -> None:
    count, tokens = len(result.ids), sum(map(len, result.ids))
    print(f"{name:28} {result.seconds / count:6.3f} s a picture, {tokens / count:5.1f} tokens   {more}", flush=True)


def measure(a: argparse.Namespace, pictures: Sequence[Path]) -> None:
    size, prompt = SIZES[a.size], len(Reference(a.dir, a.torch).prompt_ids(PROMPT, 1))
    speed = machine_speed()
    print(f"{speed['fp32']:.0f} GFLOP/s, {speed['int8']:.0f} Gop/s of integers, {speed['bandwidth']:.0f} GB/s")
    for precision, weight_bytes in (("fp32", 4), ("int8", 1)):
        least = work(size, prompt, a.tokens, weight_bytes)
        arithmetic = least.weights / speed[precision] + least.attention / speed["fp32"]
        memory = least.read / speed["bandwidth"]
        ours = descry(a, precision, pictures)
        each = ours.seconds / len(pictures)
        print_row(f"descry {precision}", ours)
        limit = f"{arithmetic:.3f} s of arithmetic and {memory:.3f} s of reading weights"
        print(f"{'':28} limit {limit}: {(arithmetic + memory) / each:.2f} of it", flush=True)
        if precision == "fp32":
            for attention in ("sdpa", "eager"):
                rival = transformers(a, attention, pictures)
                ratio = rival.seconds / ours.seconds
                print_row(f"transformers fp32, {attention}", rival, f"{ratio:.2f} × descry's; {alike(ours, rival)}")
        elif a.js:
            some = pictures[: a.slow]
            rival = javascript(a, precision, some)
            ratio = rival.seconds / len(some) / each
            same = alike(Result(ours.ids[: a.slow], 0), rival)
            print_row(f"transformers.js {precision}", rival, f"{ratio:.2f} × descry's; {same}, with other pixels")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of JPEG photographs")
    p.add_argument("--pictures", type=int, default=32, help="photographs to caption (default: 32)")
    p.add_argument("--slow", type=int, default=8, help="photographs for transformers.js (default: 8)")
    p.add_argument("--tokens", type=int, default=64, help="tokens of a caption (default: 64)")
    p.add_argument("--size", choices=list(SIZES), default="base", help="shapes of the model (default: base)")
    p.add_argument("--js", type=Path, metavar="DIR", help="folder in which transformers.js is installed")
    p.add_argument("--descry", type=Path, default=ROOT / "target/release/descry", metavar="FILE", help="the binary")
    p.add_argument(
        "--dir",
        type=Path,
        default=ROOT / "target/bench/hub",
        metavar="DIR",
        help="model folder (default: target/bench/hub)",
    )
    a = p.parse_args()
    a.torch = a.dir / "torch"
    if not (a.dir / "onnx/decoder_model_merged_int8.onnx").exists():
        make(a.dir, a.torch, 0, 0.0, {}, SIZES[a.size])
        quantize(a.dir, "int8")
    pictures = sorted(a.images.rglob("*.jpg"))[: a.pictures]
    measure(a, pictures)


if __name__ == "__main__":
    main()
