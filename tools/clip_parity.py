#!/usr/bin/env python3
"""OpenAI's CLIPs as the importer reads them, against the published module itself, through the descry binary.

  clip_parity.py --reference SCRIPT --tokenizer FILE --images DIR [--towers RN50x4,ViT-B/32,ViT-L/14] [--work DIR]

Each tower has its real architecture and seeded weights, and is saved in both forms that such files have: a TorchScript
archive, as published, and a state dict. Behind it stands a small transformer mapper and GPT-2 in the released layout. What is
compared: image embeddings of pictures through the binary (reading, resizing to 224 or 288 pixels, tower), text embeddings, and
the ids of captions. Needs the package clip-anytorch, of which only the module is read (pip install --no-deps clip-anytorch==2.6.0).
"""
import argparse
import gzip
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from parity import TOOLS, Reference, cut_tokenizer, lines, pictures, shell

# Embedding, resolution, layers, width and patch of the image tower; context, vocabulary, width, heads and layers of the text's.
TOWERS = {
    "RN50x4": (640, 288, (4, 6, 10, 6), 80, None, 77, 49408, 640, 10, 12),
    "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    "ViT-L/14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12),
}
TEXTS = ["a dog", "two people on a beach at sunset", "A red car, parked in front of an old house!"]


def published():
    """(CLIP class, file of its vocabulary) of the package; importing the package itself would ask for more packages."""
    folder = Path(importlib.util.find_spec("clip").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("clip_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CLIP, folder / "bpe_simple_vocab_16e6.txt.gz"


def text_tokenizer(source, to):
    """CLIP's byte-level BPE in the form of the `tokenizers` library, from the package's list of merges."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    merges = gzip.open(source).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(m.split()) for m in merges]
    # The order of bytes as the published code has it: printable ones first.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    words = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {w: i for i, w in enumerate(words)}
    t = Tokenizer(models.BPE(vocab, merges, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    split = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(split), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    t.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[("<|startoftext|>", start), ("<|endoftext|>", end)])
    t.save(str(to))
    return t


@torch.no_grad()
def seeded(CLIP, shape, seed):
    """The published module with seeded weights. Norms of its residual branches begin at zero there, and biases, which would hide
    them."""
    torch.manual_seed(seed)
    model = CLIP(*shape).eval()
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
    """Published files hold a script of the whole module; its tensors are what the importer reads."""

    def __init__(self, clip):
        super().__init__()
        for name, child in clip.named_children():
            self.add_module(name, child)
        for name, p in clip.named_parameters(recurse=False):
            self.register_parameter(name, p)
        self.size = clip.visual.input_resolution

    def forward(self, x):
        return self.visual(x)


def save(clip, form, path):
    if form == "archive":
        module = Traced(clip)
        torch.jit.trace(module, torch.zeros(1, 3, module.size, module.size), check_trace=False).save(str(path))
    else:
        torch.save(clip.state_dict(), path)


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@torch.no_grad()
def compare(a, name, CLIP, vocabulary, some):
    shape = TOWERS[name]
    width, size = shape[0], shape[1]
    folder = a.work / name.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    clip = seeded(CLIP, shape, 5)
    tokenizer = text_tokenizer(vocabulary, folder / "text_tokenizer.json")
    cut_tokenizer(a.tokenizer, 500, folder / "tokenizer.json")

    # A small decoder behind a mapper of the tower's width, written and read by the reference's own code.
    ref = folder / "reference"
    shell(sys.executable, a.reference, "make", "--size", "tiny", "--mapper", "transformer", "--prefix-length", 40, "--clip-length",
          40, "--normalize", "--vocab", 500, "--stop-gain", 4, "--seed", 5, "--out", ref)
    r = Reference(a.reference, ref).module
    spec = r.Spec(**{**json.loads((ref / "clipcap.json").read_text()), "clip_dim": width})
    torch.manual_seed(6)
    model = r.ClipCap(spec).eval()
    for p in model.gpt.transformer.h.parameters():
        if p.dim() > 1:
            p.mul_(4)
    model.gpt.transformer.wte.weight.mul_(4)
    torch.save(model.state_dict(), folder / "clipcap.pt")

    from PIL import Image
    pixels = torch.stack([r.preprocess(Image.open(p), size) for p in some])
    images = torch.cat([clip.encode_image(x[None]) for x in pixels])
    ids = torch.zeros(len(TEXTS), 77, dtype=torch.long)
    for row, text in zip(ids, TEXTS):
        own = tokenizer.encode(text).ids
        row[: len(own)] = torch.tensor(own)
    texts = clip.encode_text(ids)
    said = [r.beam_search(model, model.prefix(e[None]), 5)[0] for e in images]

    wrong = 0
    for form in ("archive", "tensors"):
        path, out = folder / f"{form}.pt", folder / form
        save(clip, form, path)
        if not (out / "model.json").exists():
            shell(sys.executable, TOOLS / "models.py", "import", "--clipcap", folder / "clipcap.pt", "--clip", path, "--tokenizer",
                  folder / "tokenizer.json", "--text-tokenizer", folder / "text_tokenizer.json", "--out", out, "--heads",
                  spec.n_head, "--stop-token", spec.stop_token, "--normalize-prefix")
        got = lines(shell(a.binary, "--quiet", "caption", *some, "--json", "--embedding", "--min-score", "0", "--model", out))
        embedded = lines(shell(a.binary, "--quiet", "embed", "--text", "--model", out, text="\n".join(TEXTS) + "\n"))
        far = np.abs(np.array([g["embedding"] for g in got]) - unit(images)).max()
        far_text = np.abs(np.array([e["embedding"] for e in embedded]) - unit(texts)).max()
        equal = sum(g["ids"] == s for g, s in zip(got, said))
        print(f"{name:9} {form:8} {size} px, {width} wide: {len(some)} image embeddings within {far:.0e} of the module's, "
              f"{len(TEXTS)} of texts within {far_text:.0e}, {equal}/{len(some)} captions equal", flush=True)
        wrong += int(far > 1e-5) + int(far_text > 1e-5) + len(some) - equal
        path.unlink()
    return wrong


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reference", required=True, metavar="SCRIPT")
    p.add_argument("--tokenizer", required=True, metavar="FILE", help="GPT-2's tokenizer.json")
    p.add_argument("--images", required=True, metavar="DIR")
    p.add_argument("--towers", default=",".join(TOWERS))
    p.add_argument("--work", type=Path, default=Path("target/parity/towers"))
    p.add_argument("--limit", type=int, default=2, help="photographs, beside the six odd shapes")
    p.add_argument("--binary", default=str(TOOLS.parent / "target/release/descry"))
    a = p.parse_args()
    CLIP, vocabulary = published()
    some = pictures(a.work / "pictures", a.images, a.limit)
    wrong = sum(compare(a, name, CLIP, vocabulary, some) for name in a.towers.split(","))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
