#!/usr/bin/env python3
"""Compares descry with `transformers` on a model folder in the hub's layout, token by token.

  hub_parity.py --dir DIR [--descry FILE] [--torch DIR] [--frames N] [--pictures PICTURE...]

Both read the same folder, with its generation_config.json. The pictures are those of tests/goldens/hub/ by default. It
exits with 1 if a caption differs, and needs tools/requirements-hub.txt.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from hub_captions import PROMPT, Json, add_run_options
from hub_florence import TASK
from hub_references import open_reference

ROOT = Path(__file__).parent.parent


def descry(args: argparse.Namespace, pictures: Sequence[Path], beams: int) -> list[Json]:
    """The captions of the descry binary."""
    command = [args.descry, "--quiet", "caption", *pictures, "--model", args.dir, "--prompt", args.prompt]
    command += ["--max-tokens", args.tokens, "--frames", args.frames, "--json"]
    command += ["--greedy"] if beams == 1 else ["--beam", beams]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(want: list[Json], got: list[Json]) -> int:
    """Prints the captions that differ, and returns how many."""
    if len(want) != len(got):
        raise SystemExit(f"descry printed {len(got)} captions of {len(want)}")
    wrong = 0
    for w, g in zip(want, got, strict=True):
        if w["ids"] == g["ids"]:
            continue
        wrong += 1
        pairs = zip(w["ids"], g["ids"], strict=False)
        first = next((k for k, (x, y) in enumerate(pairs) if x != y), min(len(w["ids"]), len(g["ids"])))
        print(f"    {w['image']} differs from token {first} on\n      want {w['ids']}\n      got  {g['ids']}")
    return wrong


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dir", required=True, type=Path, metavar="DIR", help="model folder")
    p.add_argument(
        "--descry", type=Path, default=ROOT / "target/release/descry", metavar="FILE", help="the descry binary"
    )
    p.add_argument("--beams", default="1,3,5", help="numbers of beams; 1 is greedy decoding (default: 1,3,5)")
    p.add_argument("--frames", type=int, default=1, metavar="N", help="pictures in one prompt, 1 to 8 (default: 1)")
    p.add_argument("--pictures", nargs="+", type=Path, metavar="PICTURE", help="default: those of tests/goldens/hub/")
    add_run_options(p)
    args = p.parse_args()
    torch.set_num_threads(1)
    pictures = args.pictures or sorted((ROOT / "tests/goldens/hub").glob("*.png"))
    reference = open_reference(args.dir, args.torch or args.dir / "torch")
    if args.prompt == PROMPT and reference.config["model_type"] == "florence2":
        args.prompt = TASK
    wrong = total = 0
    for beams in map(int, args.beams.split(",")):
        want = reference.captions(pictures, args.frames, args.prompt, beams, args.tokens)
        differ = compare(want, descry(args, pictures, beams))
        print(f"beams {beams}: {len(want) - differ} of {len(want)} captions agree", flush=True)
        wrong += differ
        total += len(want)
    print(f"{total - wrong} of {total} captions agree")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
