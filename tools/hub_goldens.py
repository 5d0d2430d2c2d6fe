#!/usr/bin/env python3
"""Regenerates the models and the golden results of the tests of models in the hub's layout.

  hub_goldens.py [--kind KIND] [--torch DIR] [--seed N] [--stop-gain X]

It writes the small model folders hub/ (SmolVLM), llava/ and florence/ to tests/models/, pictures and expected pixels to
tests/goldens/hub/, and what `transformers` generates for them to hub.json, llava.json and florence.json in
tests/goldens/: lists of cases. `ids` and `text` have one entry per group of `frames` pictures, and `generation` holds
what a case changes in generation_config.json. And what ONNX Runtime makes of SmolVLM's graphs with weights of 8 bits,
one picture at a time, to hub_uint8.json; and what pictures give that are split into tiles, to hub_split.json.

Rounding must not decide a test. So a case leaves out the pictures whose ids change with 64-bit floats or with pixels
that are off by one level. The script fails if too many are left out, if a case's settings change no id, or if the
graphs in ONNX Runtime disagree with PyTorch. It needs tools/requirements-hub.txt.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import hub_florence
import hub_llava
import hub_model
from hub_captions import PROMPT, Graphs, Json, Reference, check, groups, stop_tokens
from hub_export import quantize
from hub_references import open_reference

TESTS = Path(__file__).parent.parent / "tests"
TOKENS = 24
TENSORS = ("landscape.png", "wide.png")
NOISES = 4  # how often pixels are changed by a level
REGION = "<REGION_TO_DESCRIPTION><loc_0><loc_1><loc_2><loc_3>"
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


def llava_cases(names: Sequence[str], end: int, other: int) -> list[Json]:
    """The same for a model whose decoder is of the same form: what concerns its prompt and its pictures."""
    rules: list[Json] = [{}, {"repetition_penalty": 1.3}]
    return [case for case in cases(names, end, other) if case["generation"] in rules and case["frames"] < 3]


def florence_cases(names: Sequence[str], end: int, other: int) -> list[Json]:
    """The same for a model with tasks, an encoder and forced tokens."""

    def case(beams: int = 3, tokens: int = TOKENS, prompt: str = hub_florence.TASK, **generation: Any) -> Json:
        return {
            "pictures": list(names),
            "frames": 1,
            "prompt": prompt,
            "beams": beams,
            "max_tokens": tokens,
            "generation": generation,
        }

    plain = [case(beams) for beams in (1, 3, 5)]
    short = [case(beams, tokens=tokens) for beams in (1, 3) for tokens in (1, 2, 3, 6)]
    tasks = ("<DETAILED_CAPTION>", "What is the text in the image?", REGION)
    asked = [case(beams, prompt=task) for beams in (1, 3) for task in tasks]
    rules: list[Json] = [
        {"no_repeat_ngram_size": 0},
        {"no_repeat_ngram_size": 1},
        {"repetition_penalty": 1.3},
        {"forced_bos_token_id": None},
        {"forced_bos_token_id": other},
        {"forced_eos_token_id": None},
        {"eos_token_id": [end, other]},
        {"decoder_start_token_id": other},
        {"suppress_tokens": [other]},
    ]
    changed = [case(beams, **generation) for generation in rules for beams in (1, 3)]
    searches: list[Json] = [
        {"length_penalty": 0.5},
        {"length_penalty": 0.5, "early_stopping": False},
        {"length_penalty": 2.0, "early_stopping": False},
        {"length_penalty": 2.0, "early_stopping": "never"},
        {"forced_eos_token_id": None, "early_stopping": False, "no_repeat_ngram_size": 0},
    ]
    changed += [case(beams, **generation) for generation in searches for beams in (3, 5)]
    return plain + short + asked + changed


def off_by_one(pixels: Tensor, seed: int, level: Tensor) -> Tensor:
    """Pixels of which every tenth is one level off, as those of another resizer may be."""
    dice = torch.Generator().manual_seed(seed)
    step = torch.randint(-1, 2, pixels.shape, generator=dice) * (torch.rand(pixels.shape, generator=dice) < 0.15)
    return pixels + step * level


def is_steady(reference: Reference, case: Json, pixels: Tensor, ids: list[int]) -> bool:
    """Whether neither rounding nor another resizer changes the ids."""

    def same(pixels: Tensor) -> bool:
        return generate(reference, case, pixels) == ids

    level = 1 / 255 / torch.tensor(reference.processor.image_std)[:, None, None]
    reference.model.double()
    exact = same(pixels)
    reference.model.float()
    return exact and all(same(off_by_one(pixels, seed, level)) for seed in range(NOISES))


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


def split(reference: Reference, folder: Path, names: Sequence[str]) -> list[Json]:
    """The captions of pictures that are split into tiles, one at a time and in pairs."""
    reference.processor.do_image_splitting = True
    results: list[Json] = []
    for beams, frames in ((1, 1), (3, 1), (1, 2)):
        case: Json = {"frames": frames, "prompt": PROMPT, "beams": beams, "max_tokens": TOKENS}
        case |= {"generation": {}, "pictures": [], "ids": [], "text": []}
        for group in groups([folder / name for name in names], frames):
            case["prompt_ids"] = reference.prompt_ids(PROMPT, frames, reference.grids(group))
            pixels = reference.pixels(group)
            ids = generate(reference, case, pixels)
            if is_steady(reference, case, pixels, ids):
                case["pictures"] += [f.name for f in group]
                case["ids"].append(ids)
                case["text"].append(reference.text(ids))
        del case["prompt_ids"]
        results.append(case)
    reference.processor.do_image_splitting = False
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


@dataclass(frozen=True)
class Kind:
    """A kind of model, and where its files go."""

    name: str
    seed: int
    stop_gain: float
    make: Callable[[Path, Path, int, float, Json], None]
    cases: Callable[[Sequence[str], int, int], list[Json]]
    prompt: str
    most_frames: int


KINDS = {
    "smolvlm": Kind("hub", 2, 2.1, hub_model.make, cases, PROMPT, 3),
    "llava": Kind("llava", 1, 2.0, hub_llava.make, llava_cases, PROMPT, 2),
    "florence2": Kind("florence", 2, 1.8, hub_florence.make, florence_cases, hub_florence.TASK, 1),
}


def write_cases(path: Path, cases: Sequence[Json]) -> None:
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    path.write_text(f"[\n{lines}\n]\n")


def write(kind: Kind, args: argparse.Namespace) -> bool:
    """Writes a kind's model and results. Returns whether they are good enough."""
    model, goldens, torch_folder = args.tests / "models" / kind.name, args.tests / "goldens/hub", args.torch / kind.name
    seed = kind.seed if args.seed is None else args.seed
    kind.make(model, torch_folder, seed, args.stop_gain or kind.stop_gain, {})
    reference = open_reference(model, torch_folder)
    goldens.mkdir(parents=True, exist_ok=True)
    drawn = pictures()
    for name, image in drawn.items():
        image.save(goldens / name, optimize=True)
    suffix = ".npy" if kind.name == "hub" else f".{kind.name}.npy"
    for name in TENSORS:
        np.save((goldens / name).with_suffix(suffix), reference.pixels([goldens / name])[0, 0].numpy())
    end = reference.generation["eos_token_id"]
    first = reference.captions([goldens / "landscape.png"], 1, kind.prompt, 3, TOKENS)[0]["ids"]
    results = kind.cases(list(drawn), end, first[len(first) // 2])
    left_out = sum(fill(reference, goldens, case) for case in results)
    good = report(results, left_out, end)
    write_cases(args.tests / f"goldens/{kind.name}.json", results)
    if kind.name == "hub":
        quantize(model, "uint8")
        rounded = quantized(reference, goldens, list(drawn))
        print(f"{sum(len(case['ids']) for case in rounded)} captions of graphs with 8-bit weights")
        write_cases(args.tests / "goldens/hub_uint8.json", rounded)
        tiles = split(reference, goldens, list(drawn))
        print(f"{sum(len(case['ids']) for case in tiles)} captions of pictures that are split into tiles")
        write_cases(args.tests / "goldens/hub_split.json", tiles)
    files = [goldens / name for name in drawn]
    frames = range(1, kind.most_frames + 1)
    wrong = sum(check(reference, files, count, kind.prompt, TOKENS) for count in frames)
    return good and not wrong


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kind", choices=list(KINDS), help="write this kind only (default: all)")
    p.add_argument(
        "--torch",
        type=Path,
        default=Path("target/hub-torch"),
        metavar="DIR",
        help="folder for PyTorch's weights (default: target/hub-torch)",
    )
    p.add_argument("--seed", type=int, help="seed of the weights (default: the kind's own)")
    p.add_argument("--stop-gain", type=float, help="scales the stop token's logit (default: the kind's own)")
    p.add_argument("--tests", type=Path, default=TESTS, metavar="DIR", help="folder to write to (default: tests/)")
    args = p.parse_args()
    torch.set_num_threads(1)
    kinds = [KINDS[args.kind]] if args.kind else list(KINDS.values())
    good = [write(kind, args) for kind in kinds]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
