#!/usr/bin/env python3
"""Measures the speed of a ClipCap of published size (CLIP ViT-B/32, MLP mapper, GPT-2, beam 5).

It compares descry, a plain PyTorch reference, and `transformers`' batched `generate`, on the same weights in one run.
The reference is a script with `make`, which writes seeded weights in the published layout, and `run`, which prints one
JSON object per picture with its ids and seconds.

It first prints the floor: how long the arithmetic and the reading of weights take by themselves on this machine. At the
end it prints how near each stage comes to it. It needs benches/requirements-clipcap.txt.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benches"))
from machine import machine_speed, shell

BEAM, TOKENS, SIZE = 5, 67, 224
# GPT-2 small: twelve layers of width 768, and its table of 50,257 tokens as the head.
LAYERS, WIDTH, VOCAB = 12, 768, 50257
GPT2 = LAYERS * 12 * WIDTH * WIDTH + WIDTH * VOCAB  # multiplications per token
# A picture through ViT-B/32; the last layer computes only the class vector.
VIT = 12 * (12 * 768 * 768 * 50 + 2 * 50 * 50 * 768) - 49 * 9 * 768 * 768 + 3 * 32 * 32 * 768 * 49
WEIGHT_BYTES = {"fp32": 4, "int8": 1}


# ---- the floor -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floor:
    """Milliseconds that a stage takes at least: a picture's encoding, a token, and reading the weights for it."""

    encode: float
    token: float
    read: float


def measure_floor(batch: int) -> dict[str, Floor]:
    """Measures and prints the floor of each precision."""
    speed = machine_speed(400, 3072, 3072)
    floors = {}
    for precision, weight_bytes in WEIGHT_BYTES.items():
        floor = Floor(
            encode=2 * VIT / speed[precision] / 1e6,
            token=2 * GPT2 * BEAM / speed[precision] / 1e6,
            read=GPT2 * weight_bytes / speed["bandwidth"] / 1e6 / batch,
        )
        floors[precision] = floor
        print(
            f"floor {precision}: {speed[precision]:.0f} GFLOP/s; a picture through ViT-B/32 {floor.encode:.1f} ms; a "
            f"token of one picture ({BEAM} beams) {floor.token:.2f} ms, and {floor.read:.2f} ms of reading weights at "
            f"{speed['bandwidth']:.0f} GB/s in a batch of {batch}"
        )
    return floors


# ---- descry ----------------------------------------------------------------------------------------------------------


def import_model(a: argparse.Namespace, precision: str) -> Path:
    out = a.work / precision
    if not (out / "model.json").exists():
        reference = a.work / "reference"
        command = ["--clipcap", reference / "clipcap.pt", "--clip", reference / "clip", "--tokenizer", a.tokenizer]
        command += ["--out", out, "--stop-token", "13", "--no-normalize-prefix", "--precision", precision]
        command += ["--images", a.images, "--limit", "32", "--heads", "12"]
        shell([a.binary, "model", "import", *command])
    return out


def descry(a: argparse.Namespace, *command: object) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """What a command of the binary prints, an object per picture, and its statistics."""
    out, err = shell([a.binary, "--quiet", *command, "--stats", "--model-threads", torch.get_num_threads()])
    stats = json.loads(next(line for line in err.splitlines() if line.startswith("{")))
    return [json.loads(line) for line in out.splitlines()], stats


# ---- rivals ----------------------------------------------------------------------------------------------------------


class Generate:
    """What a person who knows the libraries would write."""

    def __init__(self, a: argparse.Namespace) -> None:
        spec: Any = importlib.util.spec_from_file_location("reference", a.reference)
        self.reference = importlib.util.module_from_spec(spec)
        sys.modules["reference"] = self.reference
        spec.loader.exec_module(self.reference)
        r, folder = self.reference, a.work / "reference"
        s = r.Spec(**json.loads((folder / "clipcap.json").read_text()))
        self.clip = r.CLIPModel.from_pretrained(folder / "clip").eval()
        self.model = r.ClipCap(s).eval()
        self.model.load_state_dict(torch.load(folder / "clipcap.pt", map_location="cpu", weights_only=True))
        self.stop = s.stop_token

    def pixels(self, path: str) -> torch.Tensor:
        return self.reference.preprocess(Image.open(path), SIZE)

    @torch.no_grad()
    def one_by_one(self, pictures: Sequence[str]) -> float:
        """Median seconds in which the reference reads and encodes a picture, without the cold first quarter."""
        times = []
        for p in pictures:
            start = time.perf_counter()
            self.clip.get_image_features(pixel_values=self.pixels(p)[None])
            times.append(time.perf_counter() - start)
        return float(np.median(times[len(times) // 4 :]))

    @torch.no_grad()
    def run(self, pictures: Sequence[str], batch: int) -> tuple[list[list[int]], float, float]:
        """The ids of all captions, and the seconds of encoding and decoding."""
        ids, encode, decode = [], 0.0, 0.0
        for k in range(0, len(pictures), batch):
            start = time.perf_counter()
            x = torch.stack([self.pixels(p) for p in pictures[k : k + batch]])
            e = self.clip.get_image_features(pixel_values=x)
            e = e if torch.is_tensor(e) else e.pooler_output
            encode += time.perf_counter() - start
            start = time.perf_counter()
            prefix = self.model.prefix(e)
            out = self.model.gpt.generate(
                inputs_embeds=prefix,
                attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
                num_beams=BEAM,
                max_new_tokens=TOKENS,
                do_sample=False,
                eos_token_id=self.stop,
                pad_token_id=0,
            )
            decode += time.perf_counter() - start
            ids += [row[: row.index(self.stop) + 1] if self.stop in row else row for row in out.tolist()]
        return ids, encode, decode


# ---- results ---------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """One way of captioning: milliseconds per picture and per token, and pictures per second in all."""

    ids: list[list[int]]
    encode: float
    token: float
    rate: float
    rss: float | None = None


def result(ids: list[list[int]], encode: float, decode: float) -> Result:
    """`encode` and `decode` are the seconds for all pictures."""
    tokens = sum(map(len, ids))
    return Result(ids, 1e3 * encode / len(ids), 1e3 * decode / tokens, len(ids) / (encode + decode))


def measure_reference(a: argparse.Namespace, generate: Generate, pictures: Sequence[str]) -> Result:
    """The reference captions few pictures, of which the first is cold; encoding is timed on more."""
    command = ["run", "--dir", a.work / "reference", "--beam", BEAM, *pictures[: a.slow]]
    out, _ = shell([sys.executable, a.reference, *command])
    lines = [json.loads(line) for line in out.splitlines()]
    encode = len(lines) * generate.one_by_one(pictures[:24])
    return result([o["ids"] for o in lines], encode, sum(o["seconds"]["decode"] for o in lines))


def measure_descry(a: argparse.Namespace, model: Path, pictures: Sequence[str]) -> Result:
    caption = ["caption", *pictures, "--model", model, "--json", "--min-score", "0", "--batch", a.batch]
    answers, stats = descry(a, *caption)
    ids = [o["ids"] for o in answers]
    # Encoding overlaps with captioning, so it is timed by itself. Pictures are read on all cores while others are
    # encoded: their share is the time on one core over the number of cores.
    alone = descry(a, "embed", *pictures, "--model", model)[1]
    row = result(ids, alone["encode"] + alone["prepare"] / torch.get_num_threads(), stats["caption"])
    row.rss, row.rate = stats["peak_rss_mb"], len(ids) / stats["wall"]
    return row


def print_results(rows: dict[str, Result], floors: dict[str, Floor]) -> None:
    exact, slow, generate = rows["descry fp32"], rows["reference"], rows["generate"]
    for name, row in rows.items():
        # The reference captions fewer pictures than the others.
        alike = np.mean([x == y for x, y in zip(row.ids, exact.ids, strict=False)])
        floor = floors.get(name.split()[-1])
        line = (
            f"{name:12} {row.encode:7.1f} ms a picture ({slow.encode / row.encode:5.1f} ×)   "
            f"{row.token:7.2f} ms a token ({slow.token / row.token:6.1f} × reference, "
            f"{generate.token / row.token:5.2f} × generate)   {row.rate:6.2f} pictures/s   "
            f"captions as fp32's {alike:.2f}"
        )
        if row.rss is not None:
            line += f", {row.rss:.0f} MB"
        if floor:
            line += f", {floor.encode / row.encode:.2f} and {floor.token / row.token:.2f} of the floor"
        print(line)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reference", required=True, type=Path, metavar="SCRIPT", help="the reference in PyTorch")
    p.add_argument("--tokenizer", required=True, type=Path, metavar="FILE", help="GPT-2's tokenizer.json")
    p.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of JPEG photographs")
    p.add_argument("--pictures", type=int, default=64, help="photographs to caption (default: 64)")
    p.add_argument("--slow", type=int, default=2, help="photographs that the reference captions (default: 2)")
    p.add_argument("--batch", type=int, default=32, help="photographs per batch (default: 32)")
    p.add_argument(
        "--work",
        type=Path,
        default=ROOT / "target/bench/clipcap",
        metavar="DIR",
        help="folder for the weights (default: target/bench/clipcap)",
    )
    p.add_argument("--binary", default=str(ROOT / "target/release/descry"), help="the descry binary")
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    if not (a.work / "reference/clipcap.pt").exists():
        shell([sys.executable, a.reference, "make", "--size", "base", "--mapper", "mlp", "--out", a.work / "reference"])
    pictures = [str(f) for f in sorted(a.images.rglob("*.jpg"))[: a.pictures]]
    models = {precision: import_model(a, precision) for precision in WEIGHT_BYTES}
    floors = measure_floor(a.batch)
    generate = Generate(a)
    rows = {"reference": measure_reference(a, generate, pictures)}
    rows["generate"] = result(*generate.run(pictures, a.batch))
    for precision, model in models.items():
        rows[f"descry {precision}"] = measure_descry(a, model, pictures)
    print_results(rows, floors)


if __name__ == "__main__":
    main()
