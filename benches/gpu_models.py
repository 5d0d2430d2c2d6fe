#!/usr/bin/env python3
"""Makes the pictures and the models of gpu_check.py: seeded weights in the shapes of published models.

  gpu_models.py --size base --out DIR [--pictures 32]

It writes pictures/, clipcap-fp32/ and clipcap-half/ (CLIP ViT-B/32, MLP mapper, GPT-2 small) and smolvlm/
(SmolVLM-256M in fp32 and fp16). What is there already is not made again. It needs benches/requirements-gpu.txt.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

State = dict[str, Tensor]


@dataclass(frozen=True)
class ClipCapSize:
    """The shapes of a ClipCap: image tower, mapper, language model."""

    picture: int
    patch: int
    vision_width: int
    vision_layers: int
    embedding: int
    prefix: int
    width: int
    layers: int
    vocab: int
    context: int


SIZES = {
    "tiny": ClipCapSize(32, 16, 64, 1, 32, 4, 64, 2, 300, 100),
    "base": ClipCapSize(224, 32, 768, 12, 512, 10, 768, 12, 50257, 1024),
}
STOP = 13


# ---- weights ---------------------------------------------------------------------------------------------------------


def weight(dice: torch.Generator, *shape: int, inside: int = 0) -> Tensor:
    """Random weights of a product over `inside` numbers; by default all dimensions but the first."""
    fan = inside or int(np.prod(shape[1:]))
    return torch.randn(shape, generator=dice) * fan**-0.5


def vector(dice: torch.Generator, size: int, mean: float = 0.0) -> Tensor:
    return mean + 0.1 * torch.randn(size, generator=dice)


def norm(dice: torch.Generator, name: str, size: int) -> State:
    return {f"{name}.weight": vector(dice, size, 1.0), f"{name}.bias": vector(dice, size)}


def vision_tower(s: ClipCapSize, dice: torch.Generator) -> State:
    """A CLIP image tower in OpenAI's layout."""
    width = s.vision_width
    state = {
        "visual.conv1.weight": weight(dice, width, 3, s.patch, s.patch),
        "visual.class_embedding": vector(dice, width),
        "visual.positional_embedding": 0.1 * torch.randn((s.picture // s.patch) ** 2 + 1, width, generator=dice),
        "visual.proj": weight(dice, width, s.embedding, inside=width),
        **norm(dice, "visual.ln_pre", width),
        **norm(dice, "visual.ln_post", width),
    }
    for n in range(s.vision_layers):
        block = f"visual.transformer.resblocks.{n}."
        state |= {
            f"{block}attn.in_proj_weight": weight(dice, 3 * width, width),
            f"{block}attn.in_proj_bias": vector(dice, 3 * width),
            f"{block}attn.out_proj.weight": weight(dice, width, width),
            f"{block}attn.out_proj.bias": vector(dice, width),
            f"{block}mlp.c_fc.weight": weight(dice, 4 * width, width),
            f"{block}mlp.c_fc.bias": vector(dice, 4 * width),
            f"{block}mlp.c_proj.weight": weight(dice, width, 4 * width),
            f"{block}mlp.c_proj.bias": vector(dice, width),
            **norm(dice, f"{block}ln_1", width),
            **norm(dice, f"{block}ln_2", width),
        }
    return state


def clipcap(s: ClipCapSize, dice: torch.Generator) -> State:
    """An MLP mapper and a GPT-2 in the released layout."""
    width, hidden, out = s.width, s.prefix * s.width // 2, s.prefix * s.width
    g = "gpt.transformer."
    state = {
        "clip_project.model.0.weight": weight(dice, hidden, s.embedding),
        "clip_project.model.0.bias": vector(dice, hidden),
        "clip_project.model.2.weight": weight(dice, out, hidden),
        "clip_project.model.2.bias": vector(dice, out),
        # Logits of smaller words would be near ties, which no two devices break alike.
        f"{g}wte.weight": 0.2 * torch.randn(s.vocab, width, generator=dice),
        f"{g}wpe.weight": 0.1 * torch.randn(s.context, width, generator=dice),
        **norm(dice, f"{g}ln_f", width),
    }
    for n in range(s.layers):
        block = f"{g}h.{n}."
        for name, inside, outside in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ):
            state[f"{block}{name}.weight"] = weight(dice, inside, outside, inside=inside)
            state[f"{block}{name}.bias"] = vector(dice, outside)
        state |= {**norm(dice, f"{block}ln_1", width), **norm(dice, f"{block}ln_2", width)}
    state["gpt.lm_head.weight"] = state[f"{g}wte.weight"]
    return state


# ---- folders ---------------------------------------------------------------------------------------------------------


def once(folder: Path, make: Callable[[Path], None]) -> None:
    """Makes a folder under another name, unless it is there already."""
    if folder.exists():
        return
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    make(part)
    part.rename(folder)


def make_pictures(count: int, folder: Path) -> None:
    """Photographs of nothing: soft patches of colour and some grain."""
    folder.mkdir(parents=True)
    dice = np.random.default_rng(0)
    for n in range(count):
        patches = Image.fromarray(dice.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        soft = np.asarray(patches.resize((640, 480), Image.Resampling.BICUBIC), np.int16)
        grain = dice.integers(-12, 13, soft.shape, dtype=np.int16)
        Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(folder / f"{n:03}.png")


def make_clipcap(s: ClipCapSize, precision: str, binary: Path, folder: Path) -> None:
    from tokenizers import Tokenizer, models

    source = folder.with_suffix(".source")
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    dice = torch.Generator().manual_seed(0)
    torch.save(vision_tower(s, dice), source / "clip.pt")
    torch.save(clipcap(s, dice), source / "clipcap.pt")
    words = {"." if n == STOP else f"w{n}": n for n in range(s.vocab)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(source / "tokenizer.json"))
    command: list[str | Path] = ["--clipcap", source / "clipcap.pt", "--clip", source / "clip.pt"]
    command += ["--tokenizer", source / "tokenizer.json", "--out", folder, "--no-normalize-prefix", "--stop-token", "."]
    command += ["--heads", str(s.width // 64), "--precision", precision, "--name", f"clipcap-{precision}"]
    subprocess.run([binary, "model", "import", *command], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(source)


def make_smolvlm(size: str, folder: Path) -> None:
    from hub_model import SIZES as HUB_SIZES
    from hub_model import make

    weights = folder.with_suffix(".torch")
    make(folder, weights, 0, 0.0, {}, HUB_SIZES[size])
    shutil.rmtree(weights)
    for graph in sorted((folder / "onnx").glob("*.onnx")):
        halve(graph, graph.with_stem(f"{graph.stem}_fp16"))


def halve(graph: Path, to: Path) -> None:
    """Writes a graph whose weights, inputs and outputs are 16-bit floats, as the hub's fp16 ones are."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    from descry_models.export import NOT_HALF, sort_nodes

    block = [*DEFAULT_OP_BLOCK_LIST, *NOT_HALF]
    model = convert_float_to_float16(onnx.load(graph), keep_io_types=False, op_block_list=block)
    # Where two nodes that stay as they are read the same value, the converter casts it twice, under one name.
    nodes = list({node.name or node.output[0]: node for node in model.graph.node}.values())
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    sort_nodes(model.graph)
    onnx.save(model, to)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--size", choices=list(SIZES), default="base", help="shapes of the models (default: base)")
    p.add_argument("--pictures", type=int, default=32, help="how many pictures (default: 32)")
    p.add_argument(
        "--descry", type=Path, default=ROOT / "target/release/descry", metavar="FILE", help="descry's binary"
    )
    p.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write them to")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    once(a.out / "pictures", partial(make_pictures, a.pictures))
    for precision in ("fp32", "half"):
        once(a.out / f"clipcap-{precision}", partial(make_clipcap, SIZES[a.size], precision, a.descry))
    once(a.out / "smolvlm", partial(make_smolvlm, a.size))
    print(json.dumps({"made": sorted(f.name for f in a.out.iterdir())}))


if __name__ == "__main__":
    main()
