#!/usr/bin/env python3
"""Regenerates the small CLIP of the tests in the ONNX layout of the Hugging Face hub, and its golden results.

  hub_clip.py [--seed N]

It writes the model folder tests/models/clip/, expected pixels to tests/goldens/clip/, and to tests/goldens/clip.json
the embeddings that `transformers` computes for the pictures of tests/goldens/hub/ and for some texts.

The weights are random, the architecture is CLIP's own, and the tokenizer has CLIP's form with few merges. The fp32 text
graph reads an attention mask and the int8 one does not, because published folders differ in that.

The script fails if the graphs in ONNX Runtime disagree with PyTorch. It needs tools/requirements-hub.txt.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from hub_captions import Json
from hub_export import exported, write_graph, write_json

TESTS = Path(__file__).parent.parent / "tests"
PICTURES = ("landscape.png", "portrait.png", "tiny.png", "grey.png", "wide.png")
TENSORS = ("landscape", "wide")
SHORTEST, PICTURE, PATCH = 40, 32, 8
WIDTH, LAYERS, HEADS = 24, 2, 3
DIMENSION, CONTEXT = 20, 16
START, END = "<|startoftext|>", "<|endoftext|>"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# What the tokenizer's merges are learned from.
CORPUS = ["a photo of a dog in the snow", "a man and a woman in the street", "the red car, the blue car: 12 cars!"]
TEXTS = [
    "a photo of a dog",
    "",
    "  A  Man\tand a WOMAN ",
    "Où est le café nº 12? ¡Aquí! 😀 \u65e5\u672c",
    "it's the dog's, isn't it",
    # Longer than the context.
    "the red car and the blue car and the man and the woman and the dog in the snow in the street",
    "a man in a car",
]
TOLERANCE = 1e-5


class VisionGraph(nn.Module):
    """pixel_values [B, 3, H, W] → image_embeds [B, dimension]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        pooled = self.model.vision_model(pixel_values=pixel_values).pooler_output
        return self.model.visual_projection(pooled)  # type: ignore[no-any-return]


class TextGraph(nn.Module):
    """input_ids [B, T], and possibly attention_mask [B, T] → text_embeds [B, dimension].

    Written out, because the exporter does not follow the masks of `transformers`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.projection = model.text_model, model.text_projection
        self.end = model.config.text_config.eos_token_id

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        embeddings = self.text.embeddings
        length = input_ids.shape[1]
        x = embeddings.token_embedding(input_ids) + embeddings.position_embedding.weight[:length]
        places = torch.arange(length)
        hidden = (places[None, :] > places[:, None]).float()[None, None] * -1e9
        if attention_mask is not None:
            hidden = hidden + (1 - attention_mask.float())[:, None, None, :] * -1e9
        for layer in self.text.encoder.layers:
            x = x + self.attention(layer.self_attn, layer.layer_norm1(x), hidden)
            x = x + layer.mlp(layer.layer_norm2(x))
        x = self.text.final_layer_norm(x)
        # The first token that ends the text.
        end = (input_ids == self.end).int().argmax(1)
        pooled = x.gather(1, end[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
        return self.projection(pooled)  # type: ignore[no-any-return]

    def attention(self, layer: Any, x: Tensor, hidden: Tensor) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.unflatten(2, (layer.num_heads, layer.head_dim)).transpose(1, 2)

        query, key, value = heads(layer.q_proj(x)), heads(layer.k_proj(x)), heads(layer.v_proj(x))
        weights = (query @ key.mT * layer.scale + hidden).softmax(-1)
        return layer.out_proj((weights @ value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def make_tokenizer() -> Any:
    """A byte-level BPE in CLIP's form, whose words end with </w>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=360, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learned.train_from_iterator([word for text in CORPUS * 4 for word in text.split()], trainer)
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    pieces = [*alphabet, *(c + "</w>" for c in alphabet)]
    pieces += [piece for piece in (a + b for a, b in merges) if piece not in pieces]
    vocab = {piece: n for n, piece in enumerate([*pieces, START, END])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT)


def make_model(tokenizer: Any, seed: int) -> Any:
    """A CLIP whose weights depend on the seed only."""
    from transformers import CLIPConfig, CLIPModel

    shape: Json = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "projection_dim": DIMENSION,
    }
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**shape, "vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT, **ids}
    vision = {**shape, "image_size": PICTURE, "patch_size": PATCH}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIMENSION)
    model = CLIPModel._from_config(config, attn_implementation="eager").float().eval()
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=dice)
            # Biases and norms too: zeros and ones would hide that one of them is left out.
            scale = weight[0].numel() ** -0.5 if weight.dim() > 1 and "embedding.weight" not in name else 0.3
            weight.copy_(noise * scale + float("norm" in name and name.endswith("weight")))
    return model


def preprocessing() -> Json:
    return {
        "crop_size": {"height": PICTURE, "width": PICTURE},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": MEAN,
        "image_processor_type": "CLIPImageProcessor",
        "image_std": STD,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": SHORTEST},
    }


def export_graphs(model: Any, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir(parents=True)
    pictures, words = {0: "batch_size"}, {0: "batch_size", 1: "sequence_length"}
    vision = folder / "vision_model.onnx"
    example = (torch.randn(3, 3, PICTURE, PICTURE),)
    write_graph(exported(VisionGraph(model), example, {"pixel_values": pictures}, ["image_embeds"]), vision)
    ids, mask = torch.ones(3, CONTEXT - 2, dtype=torch.long), torch.ones(3, CONTEXT - 2, dtype=torch.long)
    text, plain = folder / "text_model.onnx", folder / "plain.onnx"
    inputs: Json = {"input_ids": words, "attention_mask": words}
    write_graph(exported(TextGraph(model), (ids, mask), inputs, ["text_embeds"]), text)
    write_graph(exported(TextGraph(model), (ids,), {"input_ids": words}, ["text_embeds"]), plain)
    for source, target in ((vision, "vision_model_int8.onnx"), (plain, "text_model_int8.onnx")):
        quantize_dynamic(source, folder / target, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    plain.unlink()


def embeddings(model: Any, pixels: Tensor, tokens: Json) -> tuple[Tensor, Tensor]:
    """What PyTorch computes, at length 1."""
    with torch.no_grad():
        images = model.get_image_features(pixel_values=pixels)
        texts = model.get_text_features(**tokens)
    unit = [getattr(e, "pooler_output", e) for e in (images, texts)]
    return nn.functional.normalize(unit[0], dim=-1), nn.functional.normalize(unit[1], dim=-1)


def run(folder: Path, pixels: Tensor, tokens: Json) -> tuple[Tensor, Tensor]:
    """What the graphs compute, at length 1."""
    import onnxruntime

    def one(name: str, inputs: Json) -> Tensor:
        session = onnxruntime.InferenceSession(folder / "onnx" / name)
        (out,) = session.run(None, {key: np.asarray(value) for key, value in inputs.items()})
        return nn.functional.normalize(torch.from_numpy(out), dim=-1)

    return one("vision_model.onnx", {"pixel_values": pixels}), one("text_model.onnx", dict(tokens))


def main() -> None:
    from transformers import CLIPImageProcessorPil

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=1, help="seed of the weights (default: 1)")
    args = p.parse_args()
    torch.set_num_threads(1)
    folder, goldens = TESTS / "models" / "clip", TESTS / "goldens" / "clip"
    for old in (folder, goldens):
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir(parents=True)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    model = make_model(tokenizer, args.seed)
    config = model.config.to_diff_dict()
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", preprocessing())
    export_graphs(model, folder / "onnx")
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    opened = [Image.open(TESTS / "goldens" / "hub" / name).convert("RGB") for name in PICTURES]
    pixels = processor(opened, return_tensors="pt")["pixel_values"]
    for name, tensor in zip(PICTURES, pixels, strict=True):
        if Path(name).stem in TENSORS:
            np.save(goldens / f"{Path(name).stem}.npy", tensor.numpy())
    tokens = dict(tokenizer(TEXTS, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt"))
    images, texts = embeddings(model, pixels, tokens)
    graphs = run(folder, pixels, tokens)
    for what, by_torch, by_graph in zip(("images", "texts"), (images, texts), graphs, strict=True):
        off = (by_torch - by_graph).abs().max().item()
        if off > TOLERANCE:
            raise SystemExit(f"{what}: the graph is off by {off:.2g}")
    rows = {"pictures": list(PICTURES), "texts": TEXTS}
    numbers = {"image_embeds": plain(images), "text_embeds": plain(texts)}
    (TESTS / "goldens" / "clip.json").write_text(json.dumps({**rows, **numbers}, ensure_ascii=False) + "\n")


def plain(embeds: Tensor) -> list[list[float]]:
    return [[round(value, 7) for value in row] for row in embeds.tolist()]


if __name__ == "__main__":
    main()
