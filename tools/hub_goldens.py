#!/usr/bin/env python3
"""Regenerates the model and the golden results of the tests of models in the hub's layout.

  hub_goldens.py [--torch DIR] [--seed N] [--stop-gain X]

It writes the small model folder tests/models/hub/, pictures and expected pixels to tests/goldens/hub/, and what
`transformers` generates for them to tests/goldens/hub.json: a list of cases. `ids` and `text` have one entry per group
of `frames` pictures, and `generation` holds what a case changes in generation_config.json. And what ONNX Runtime makes
of the graphs with weights of 8 bits, one picture at a time, to tests/goldens/hub_uint8.json.

Rounding must not decide a test. So a case leaves out the pictures whose ids change with 64-bit floats or with pixels
that are off by one level. The script fails if too many are left out, if a case's settings change no id, or if the
graphs in ONNX Runtime disagree with PyTorch. It needs tools/requirements-hub.txt.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from hub_captions import PROMPT, Graphs, Json, Reference, check, groups, stop_tokens
from hub_model import SIZES, make, quantize

TESTS = Path(__file__).parent.parent / "tests"
SEED, STOP_GAIN = 2, 2.1
TOKENS = 24
TENSORS = ("landscape.png", "wide.png")
NOISES = 4  # how often pixels are changed by a level
OTHER_PROMPT = "Où est le chat nº 12?\nAnswer in 3 words…"


def waves(width: int, height: int, seed: int) -> Image.Image:
    """A picture of smooth and sharp parts, from integers only, so that every machine draws the same."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    planes = [(x * (3 + seed) * 255 // width + y * (2 + k) * 255 // height + 40 * k * seed) % 511 for k in range(3)]
    image = Image.fromarray(np.abs(np.stack(planes, -1) - 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    box = (width * (seed % 3) // 4, height // 5, width * (seed % 3 + 2) // 4, height * 4 // 5)
    draw.rectangle(box, fill=((90 * seed) % 256, (150 + 60 * seed) % 256, (20 + 110 * seed) % 256))
    return image


def pictures() -> dict[str, Image.Image]:
    """Pictures that readers and resizers get wrong."""
    alpha = waves(66, 50, 4).convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(alpha.size, Image.Resampling.NEAREST))
    tiny = Image.fromarray(
        np.array([[[250, 20, 10], [30, 90, 200], [0, 255, 40]], [[5, 5, 5], [255, 250, 245], [128, 0, 99]]], np.uint8)
    )
    return {
        "landscape.png": waves(97, 61, 0),
        "portrait.png": waves(45, 80, 1),
        "tiny.png": tiny,
        "grey.png": waves(52, 40, 3).convert("L"),
        "alpha.png": alpha,
        "wide.png": waves(400, 60, 5),
    }


def cases(names: Sequence[str], end: int, other: int) -> list[Json]:
    """What is tried. `other` is a token that serves as a second stop token."""

    def case(beams: int = 1, frames: int = 1, tokens: int = TOKENS, prompt: str = PROMPT, **generation: Any) -> Json:
        count = len(names) // frames * frames
        return {
            "pictures": list(names[:count]),
            "frames": frames,
            "prompt": prompt,
            "beams": beams,
            "max_tokens": tokens,
            "generation": generation,
        }

    plain = [case(beams) for beams in (1, 3, 5)]
    short = [case(beams, tokens=tokens) for beams in (1, 3) for tokens in (1, 3)]
    prompts = [case(beams, prompt=prompt) for beams in (1, 3) for prompt in (OTHER_PROMPT, "")]
    several = [case(beams, frames) for frames in (2, 3) for beams in (1, 3)]
    penalties: list[Json] = [
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 2},
        {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
        {"repetition_penalty": 0.8},
        {"no_repeat_ngram_size": 1},
        {"eos_token_id": [end, other]},
    ]
    changed = [case(beams, **generation) for generation in penalties for beams in (1, 3)]
    searches: list[Json] = [
        {"length_penalty": 0.5},
        {"length_penalty": 2.0},
        {"length_penalty": -1.0},
        {"early_stopping": True},
        {"early_stopping": "never"},
        {"early_stopping": True, "length_penalty": 2.0},
        {"early_stopping": "never", "length_penalty": 2.0},
        {"early_stopping": "never", "length_penalty": 0.0},
        {"early_stopping": "never", "length_penalty": 0.5, "repetition_penalty": 1.3},
    ]
    changed += [case(beams, **generation) for generation in searches for beams in (3, 5)]
    return plain + short + prompts + several + changed


def off_by_one(pixels: Tensor, seed: int) -> Tensor:
    """Pixels of which every tenth is one level off, as those of another resizer may be."""
    dice = torch.Generator().manual_seed(seed)
    step = torch.randint(-1, 2, pixels.shape, generator=dice) * (torch.rand(pixels.shape, generator=dice) < 0.15)
    return pixels + step * (2 / 255)


def is_steady(reference: Reference, case: Json, pixels: Tensor, ids: list[int]) -> bool:
    """Whether neither rounding nor another resizer changes the ids."""

    def same(pixels: Tensor) -> bool:
        return generate(reference, case, pixels) == ids

    reference.model.double()
    exact = same(pixels)
    reference.model.float()
    return exact and all(same(off_by_one(pixels, seed)) for seed in range(NOISES))


def generate(reference: Reference, case: Json, pixels: Tensor) -> list[int]:
    prompt, beams, tokens = case["prompt_ids"], case["beams"], case["max_tokens"]
    return reference.generate(prompt, pixels, beams, tokens, case["generation"])


def fill(reference: Reference, folder: Path, case: Json) -> int:
    """Adds the results to a case, and returns how many groups of pictures it left out."""
    kept: list[str] = []
    case["prompt_ids"] = reference.prompt_ids(case["prompt"], case["frames"])
    case["ids"], case["text"] = [], []
    some = groups([folder / name for name in case["pictures"]], case["frames"])
    for group in some:
        pixels = reference.pixels(group)
        ids = generate(reference, case, pixels)
        if is_steady(reference, case, pixels, ids):
            kept += [f.name for f in group]
            case["ids"].append(ids)
            case["text"].append(reference.text(ids))
    case["pictures"] = kept
    return len(some) - len(case["ids"])


def quantized(reference: Reference, folder: Path, names: Sequence[str]) -> list[Json]:
    """The captions of graphs with 8-bit weights, without pictures whose ids change with the last bits of a pixel."""
    graphs = Graphs(reference.folder, reference.config["image_token_id"], "_uint8")
    stops = stop_tokens(reference.generation)
    results: list[Json] = []
    for frames in (1, 2):
        case: Json = {"frames": frames, "prompt": PROMPT, "beams": 1, "max_tokens": TOKENS, "pictures": [], "ids": []}
        prompt = reference.prompt_ids(PROMPT, frames)
        for group in groups([folder / name for name in names], frames):
            pixels = reference.pixels(group)
            ids = graphs.greedy(prompt, pixels.numpy(), TOKENS, stops)[0]
            noisy = [
                pixels + 2e-7 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(k)) for k in range(8)
            ]
            if all(graphs.greedy(prompt, p.numpy(), TOKENS, stops)[0] == ids for p in noisy):
                case["pictures"] += [f.name for f in group]
                case["ids"].append(ids)
        results.append(case)
    return results


def effects(results: list[Json]) -> list[int]:
    """For each case with settings: how many captions differ from those of the same search without them."""

    def captions(case: Json) -> dict[str, list[int]]:
        firsts = case["pictures"][:: case["frames"]]
        return dict(zip(firsts, case["ids"], strict=True))

    def setting(case: Json) -> tuple[Any, ...]:
        return tuple(case[k] for k in ("frames", "prompt", "beams", "max_tokens"))

    plain = {setting(case): captions(case) for case in results if not case["generation"]}
    return [
        sum(plain[setting(case)].get(name, ids) != ids for name, ids in captions(case).items())
        for case in results
        if case["generation"]
    ]


def report(results: list[Json], left_out: int, stop: int) -> bool:
    """Prints what the cases hold. Returns whether they are good enough."""
    captions = [ids for case in results for ids in case["ids"]]
    changed: dict[str, int] = {}
    for case, count in zip((c for c in results if c["generation"]), effects(results), strict=True):
        setting = json.dumps(case["generation"])
        changed[setting] = changed.get(setting, 0) + count
    for setting, count in changed.items():
        print(f"{setting} changes {count} captions")
    print(
        f"{len(results)} cases, {len(captions)} captions, {len({tuple(ids) for ids in captions})} distinct, "
        f"{sum(ids[-1] == stop for ids in captions)} end with the stop token, {left_out} left out"
    )
    return min(changed.values()) > 0 and left_out < len(captions) / 5 and all(case["ids"] for case in results)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--torch",
        type=Path,
        default=Path("target/hub-torch"),
        metavar="DIR",
        help="PyTorch's weights (default: target/hub-torch)",
    )
    p.add_argument("--seed", type=int, default=SEED, help=f"seed of the weights (default: {SEED})")
    p.add_argument(
        "--stop-gain", type=float, default=STOP_GAIN, help=f"scales the stop token's logit (default: {STOP_GAIN})"
    )
    p.add_argument("--tests", type=Path, default=TESTS, metavar="DIR", help="folder to write to (default: tests/)")
    args = p.parse_args()
    torch.set_num_threads(1)
    model, goldens = args.tests / "models/hub", args.tests / "goldens/hub"
    make(SIZES["tiny"], model, args.torch, args.seed, args.stop_gain, {})
    reference = Reference(model, args.torch)
    goldens.mkdir(parents=True, exist_ok=True)
    drawn = pictures()
    for name, image in drawn.items():
        image.save(goldens / name, optimize=True)
    for name in TENSORS:
        np.save((goldens / name).with_suffix(".npy"), reference.pixels([goldens / name])[0, 0].numpy())
    end = reference.generation["eos_token_id"]
    first = reference.captions([goldens / "landscape.png"], 1, PROMPT, 3, TOKENS)[0]["ids"]
    results = cases(list(drawn), end, first[len(first) // 2])
    left_out = sum(fill(reference, goldens, case) for case in results)
    good = report(results, left_out, end)
    quantize(model, "uint8")
    rounded = quantized(reference, goldens, list(drawn))
    print(f"{sum(len(case['ids']) for case in rounded)} captions of graphs with 8-bit weights")
    for name, cases_of in (("hub", results), ("hub_uint8", rounded)):
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases_of)
        (args.tests / f"goldens/{name}.json").write_text(f"[\n{lines}\n]\n")
    files = [goldens / name for name in drawn]
    wrong = sum(check(reference, files, frames, PROMPT, TOKENS) for frames in (1, 2, 3))
    sys.exit(1 if wrong or not good else 0)


if __name__ == "__main__":
    main()
