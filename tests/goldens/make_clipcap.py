#!/usr/bin/env python3
"""Writes the checkpoints in tests/models/clipcap/checkpoint, and what PyTorch says with them.

They have the released layout and seeded weights, in every form that an import reads: ClipCap as a state dict and as a
safetensors file, CLIP as a Hugging Face folder and as a TorchScript archive in OpenAI's layout.

Run it in the environment of tools/requirements.txt, with the reference of tools/parity.py:
python tests/goldens/make_clipcap.py --reference SCRIPT --work DIR
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT.parent / "tools"))
from parity import DECODINGS, Reference, perturb

MODELS = ROOT / "models/clipcap"
OUT = MODELS / "checkpoint"
TEXTS = ["a dog", "two people on a beach at sunset"]
SIZE, PATCH, EMBEDDING, CONTEXT = 32, 8, 16, 24
WIDTH = 64  # of OpenAI's towers, whose heads have 64 values
ARCHIVE_SIZE, ARCHIVE_PATCH = 16, 4
SPEC = {"clip_dim": EMBEDDING, "prefix_length": 4, "clip_length": 4, "mapper_layers": 1, "n_embd": 16, "n_layer": 2}
SPEC |= {"n_head": 2, "vocab": 300}
# A token that some captions have in the middle.
STOP = {"mlp": 144, "transformer": 157}
POSITIONS = 96
GAIN = 16.0  # of the Hugging Face towers: pictures differ


class Block(nn.Module):
    """A layer of OpenAI's towers."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, WIDTH // 64, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        y = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(y * (1.702 * y).sigmoid())


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(Block())


class ImageTower(nn.Module):
    """OpenAI's image tower."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, ARCHIVE_PATCH, ARCHIVE_PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn((ARCHIVE_SIZE // ARCHIVE_PATCH) ** 2 + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Layers()
        self.proj = nn.Parameter(torch.randn(WIDTH, EMBEDDING))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_embedding.expand(len(x), 1, WIDTH), x), 1) + self.positional_embedding
        x = self.transformer.resblocks(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class OpenAiClip(nn.Module):
    """A CLIP with the names of OpenAI's archives. Of its text tower there are only the tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.visual, self.transformer = ImageTower(), Layers()
        self.token_embedding, self.ln_final = nn.Embedding(40, WIDTH), nn.LayerNorm(WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, WIDTH))
        self.text_projection = nn.Parameter(torch.randn(WIDTH, EMBEDDING))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        for name, value in (("input_resolution", ARCHIVE_SIZE), ("context_length", CONTEXT), ("vocab_size", 40)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)


def clip_folder(module: Any, out: Path) -> None:
    from transformers import CLIPConfig

    common = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    # With this end token, the embedding is read at the highest id, as in OpenAI's configurations.
    text = {**common, "vocab_size": 500, "max_position_embeddings": CONTEXT, "eos_token_id": 2}
    vision = {**common, "image_size": SIZE, "patch_size": PATCH}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING)
    clip = module.CLIPModel(config)
    with torch.no_grad():
        for p in clip.parameters():
            if p.dim() > 1:
                p.mul_(GAIN)
    clip.save_pretrained(out)


def clipcap(module: Any, out: Path, kind: str, normalize: bool) -> None:
    """A checkpoint whose logits are far from ties, which no two runtimes break alike."""
    spec = module.Spec(mapper=kind, normalize_prefix=normalize, stop_token=STOP[kind], **SPEC)
    model = module.ClipCap(spec)
    with torch.no_grad():
        for p in model.gpt.transformer.h.parameters():
            if p.dim() > 1:
                p.mul_(8.0)
        for p in model.clip_project.parameters():
            if p.dim() > 1:
                p.mul_(4.0)
        model.gpt.transformer.wte.weight.mul_(8.0)
        model.gpt.transformer.wpe.weight = nn.Parameter(model.gpt.transformer.wpe.weight[:POSITIONS].clone())
    torch.save(model.state_dict(), out / "clipcap.pt")
    (out / "clipcap.json").write_text(json.dumps(vars(spec)))


class SmallReference(Reference):
    """The reference with fewer positions, and with an image tower of either kind."""

    def __init__(self, module: Any, folder: Path, size: int, embed: Callable[[Tensor], Tensor]) -> None:
        self.module, self.size, self.embed = module, size, embed
        self.model = module.ClipCap(module.Spec(**json.loads((folder / "clipcap.json").read_text())))
        self.model.gpt.transformer.wpe = nn.Embedding(POSITIONS, SPEC["n_embd"])
        self.model.load_state_dict(torch.load(folder / "clipcap.pt", weights_only=True))
        self.model.eval()

    @torch.no_grad()
    def prefix(self, picture: Path) -> Any:
        return self.model.prefix(self.embed(self.module.preprocess(Image.open(picture), self.size)[None]))


def write_captions(name: str, reference: Reference) -> None:
    some = [MODELS / "pictures" / picture for picture in ("odd.png", "grey.png", "alpha.png")]
    rows = [{"decoding": list(d), **row} for d in DECODINGS for row in reference.captions(d, some)]
    (OUT / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


@torch.no_grad()
def write_texts(clip: Any) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODELS / "mlp/tokenizer.json"))
    with (OUT / "texts.jsonl").open("w") as out:
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            embedding = clip.get_text_features(torch.tensor([ids + [0] * (CONTEXT - len(ids))]))
            unit = functional.normalize(embedding)[0].tolist()
            out.write(json.dumps({"text": text, "embedding": [round(v, 6) for v in unit]}) + "\n")


def reference_module(script: Path) -> Any:
    import importlib.util

    spec: Any = importlib.util.spec_from_file_location("reference", script)
    module = sys.modules["reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reference", required=True, type=Path, metavar="SCRIPT", help="the reference implementation")
    p.add_argument("--work", required=True, type=Path, metavar="DIR", help="folder for what is not kept")
    p.add_argument("--seed", type=int, default=13)
    args = p.parse_args()
    module = reference_module(args.reference)
    for kind, normalize in (("mlp", False), ("transformer", True)):
        torch.manual_seed(args.seed)
        clip_folder(module, args.work / kind / "clip")
        clipcap(module, args.work / kind, kind, normalize)
        perturb(args.work / kind, args.seed)
    (OUT / "clip").mkdir(parents=True, exist_ok=True)
    mlp, transformer = args.work / "mlp", args.work / "transformer"
    for name in ("clip/config.json", "clip/model.safetensors", "clipcap.pt"):
        (OUT / name).write_bytes((mlp / name).read_bytes())
    state = torch.load(transformer / "clipcap.pt", weights_only=True)
    # Tied weights are stored once, as this format wants it.
    del state["gpt.lm_head.weight"]
    state = {name: tensor.half() for name, tensor in state.items()}
    save_file(state, OUT / "transformer.safetensors")
    (OUT / "transformer.safetensors").chmod(0o644)
    state["gpt.lm_head.weight"] = state["gpt.transformer.wte.weight"]
    torch.save({name: tensor.float() for name, tensor in state.items()}, transformer / "clipcap.pt")
    torch.manual_seed(args.seed)
    archive = OpenAiClip().half().eval()
    archive.visual.conv1.weight.data.mul_(4.0)
    torch.jit.trace(archive, torch.zeros(1, 3, ARCHIVE_SIZE, ARCHIVE_SIZE).half(), check_trace=False).save(
        str(OUT / "openai.pt")
    )

    clip, archive = module.CLIPModel.from_pretrained(mlp / "clip").eval(), archive.float()

    def embed(pixels: Tensor) -> Any:
        return clip.get_image_features(pixel_values=pixels)

    write_captions("clipcap", SmallReference(module, mlp, SIZE, embed))
    write_captions("openai", SmallReference(module, mlp, ARCHIVE_SIZE, archive))
    write_captions("transformer", SmallReference(module, transformer, SIZE, embed))
    write_texts(clip)


if __name__ == "__main__":
    main()
