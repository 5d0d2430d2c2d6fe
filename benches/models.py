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
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "tools")]
from hub_captions import PROMPT, Reference
from hub_export import quantize
from hub_model import SIZES, Size, make
from machine import machine_speed, shell

BATCH = 32


@dataclass
class Result:
    """Captions as tokens, and the seconds of all of them."""

    ids: list[list[int]]
    seconds: float


# ---- the limit -------------------------------------------------------------------------------------------------------


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
    speed = machine_speed(2048, 768, 3072)
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
