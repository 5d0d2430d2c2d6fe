#!/usr/bin/env python3
"""Compares imported CLIP towers with OpenAI's published module, through the descry binary.

Each tower has its real architecture and seeded weights, and is saved in both forms that such files have: a TorchScript
archive, as published, and a state dict. Behind it is a small transformer mapper and a GPT-2 in the released layout.

Compared are image embeddings of pictures through the binary (reading, resizing to 224 or 288 pixels, tower), text
embeddings, and the ids of captions. It needs the package clip-anytorch, of which it reads only the module:
pip install --no-deps clip-anytorch==2.6.0
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from parity import TOOLS, Reference, cut_tokenizer, json_lines, pictures, shell

# Image tower: embedding, resolution, layers, width and patch. Text tower: context, vocabulary, width, heads and layers.
TOWERS: dict[str, tuple[Any, ...]] = {
    "RN50x4": (640, 288, (4, 6, 10, 6), 80, None, 77, 49408, 640, 10, 12),
    "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    "ViT-L/14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12),
}
TEXTS = ["a dog", "two people on a beach at sunset", "A red car, parked in front of an old house!"]


def published() -> tuple[Any, Path]:
    """The package's CLIP class and vocabulary file. Importing the whole package would need more packages."""
    package: Any = importlib.util.find_spec("clip")
    folder = Path(package.submodule_search_locations[0])
    spec: Any = importlib.util.spec_from_file_location("clip_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CLIP, folder / "bpe_simple_vocab_16e6.txt.gz"


def text_tokenizer(source: Path, to: Path) -> Any:
    """CLIP's byte-level BPE in the form of the `tokenizers` library, from the package's list of merges."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    lines = gzip.decompress(source.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    # The published code orders bytes with the printable ones first.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    words = (
        letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    )
    vocab = {w: i for i, w in enumerate(words)}
    t = Tokenizer(models.BPE(vocab, merges, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    t.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    t.decoder = decoders.ByteLevel()
    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    t.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[("<|startoftext|>", start), ("<|endoftext|>", end)]
    )
    t.save(str(to))
    return t


@torch.no_grad()
def seeded(clip_class: Any, shape: tuple[Any, ...], seed: int) -> Any:
    """The published module with seeded weights.

    The norms of its residual branches start at zero, and so do biases; both would hide that one is left out.
    """
    torch.manual_seed(seed)
    model = clip_class(*shape).eval()
    for name, p in model.named_parameters():
        if "bn" in name or "downsample.1" in name:
            torch.nn.init.normal_(p, 0.6 if name.endswith("weight") else 0.0, 0.1)
        elif p.dim() == 1 and p.numel() > 1:
            p.add_(0.1 * torch.randn_like(p))
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            b.normal_(0, 0.1)
        elif name.endswith("running_var"):
            b.uniform_(0.5, 1.5)
    return model


class Traced(torch.nn.Module):
    """Published files hold a script of the whole module; the importer reads its tensors."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        for name, child in clip.named_children():
            self.add_module(name, child)
        for name, p in clip.named_parameters(recurse=False):
            self.register_parameter(name, p)
        self.size = clip.visual.input_resolution

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.visual(x)


def save(clip: Any, form: str, path: Path) -> None:
    """Saves a CLIP as a TorchScript archive or as a state dict."""
    if form == "archive":
        module = Traced(clip)
        torch.jit.trace(module, torch.zeros(1, 3, module.size, module.size), check_trace=False).save(str(path))
    else:
        torch.save(clip.state_dict(), path)


def unit(x: Any) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@dataclass
class Expected:
    """What the published module and the reference give."""

    images: torch.Tensor
    texts: torch.Tensor
    captions: list[list[int]]
    heads: int
    stop_token: str


@torch.no_grad()
def expected(args: argparse.Namespace, folder: Path, clip: Any, tokenizer: Any, some: Sequence[Path]) -> Expected:
    """Embeddings of pictures and texts, and captions of a small decoder behind the tower, written as clipcap.pt."""
    reference = folder / "reference"
    command = ["--size", "tiny", "--mapper", "transformer", "--prefix-length", 40, "--clip-length", 40, "--normalize"]
    command += ["--vocab", 500, "--stop-gain", 4, "--seed", 5, "--out", reference]
    shell(sys.executable, args.reference, "make", *command)
    r = Reference(args.reference, reference).module
    width, size = clip.text_projection.shape[1], clip.visual.input_resolution
    spec = r.Spec(**{**json.loads((reference / "clipcap.json").read_text()), "clip_dim": width})
    torch.manual_seed(6)
    model = r.ClipCap(spec).eval()
    for p in model.gpt.transformer.h.parameters():
        if p.dim() > 1:
            p.mul_(4)
    model.gpt.transformer.wte.weight.mul_(4)
    torch.save(model.state_dict(), folder / "clipcap.pt")

    pixels = torch.stack([r.preprocess(Image.open(p), size) for p in some])
    images = torch.cat([clip.encode_image(x[None]) for x in pixels])
    ids = torch.zeros(len(TEXTS), 77, dtype=torch.long)
    for row, text in zip(ids, TEXTS, strict=True):
        own = tokenizer.encode(text).ids
        row[: len(own)] = torch.tensor(own)
    captions = [r.beam_search(model, model.prefix(e[None]), 5)[0] for e in images]
    return Expected(images, clip.encode_text(ids), captions, spec.n_head, spec.stop_token)


def compare(args: argparse.Namespace, name: str, package: tuple[Any, Path], some: Sequence[Path]) -> int:
    """Compares one tower in both forms; returns the number of differences."""
    clip_class, vocabulary = package
    shape = TOWERS[name]
    width, size = shape[0], shape[1]
    folder = args.work / name.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    clip = seeded(clip_class, shape, 5)
    tokenizer = text_tokenizer(vocabulary, folder / "text_tokenizer.json")
    cut_tokenizer(args.tokenizer, 500, folder / "tokenizer.json")
    want = expected(args, folder, clip, tokenizer, some)

    wrong = 0
    for form in ("archive", "tensors"):
        path, out = folder / f"{form}.pt", folder / form
        save(clip, form, path)
        if not (out / "model.json").exists():
            command = ["--clipcap", folder / "clipcap.pt", "--clip", path, "--tokenizer", folder / "tokenizer.json"]
            command += ["--text-tokenizer", folder / "text_tokenizer.json", "--out", out, "--heads", want.heads]
            command += ["--stop-token", want.stop_token, "--normalize-prefix"]
            shell(args.binary, "model", "import", *command)
        caption = ["caption", *some, "--json", "--embedding", "--min-score", "0", "--model", out]
        got = json_lines(shell(args.binary, "--quiet", *caption))
        embed = ["embed", "--text", "--model", out]
        embedded = json_lines(shell(args.binary, "--quiet", *embed, text="\n".join(TEXTS) + "\n"))
        image_error = np.abs(np.array([g["embedding"] for g in got]) - unit(want.images)).max()
        text_error = np.abs(np.array([e["embedding"] for e in embedded]) - unit(want.texts)).max()
        equal = sum(g["ids"] == ids for g, ids in zip(got, want.captions, strict=True))
        print(
            f"{name:9} {form:8} {size} px, {width} wide: {len(some)} image embeddings within {image_error:.0e} of the "
            f"module's, {len(TEXTS)} text embeddings within {text_error:.0e}, {equal}/{len(some)} captions equal",
            flush=True,
        )
        wrong += int(image_error > 1e-5) + int(text_error > 1e-5) + len(some) - equal
        path.unlink()
    return wrong


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--reference", required=True, type=Path, metavar="SCRIPT", help="the reference ClipCap, as for parity.py"
    )
    p.add_argument("--tokenizer", required=True, type=Path, metavar="FILE", help="GPT-2's tokenizer.json")
    p.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of photographs")
    p.add_argument("--towers", default=",".join(TOWERS), help=f"default: {','.join(TOWERS)}")
    p.add_argument(
        "--work",
        type=Path,
        default=Path("target/parity/towers"),
        metavar="DIR",
        help="folder for checkpoints and model folders (default: target/parity/towers)",
    )
    p.add_argument("--limit", type=int, default=2, help="photographs, in addition to the six odd pictures (default: 2)")
    p.add_argument("--binary", type=Path, default=TOOLS.parent / "target/release/descry", help="the descry binary")
    args = p.parse_args()
    package = published()
    some = pictures(args.work / "pictures", args.images, args.limit)
    wrong = sum(compare(args, name, package, some) for name in args.towers.split(","))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
