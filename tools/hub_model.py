#!/usr/bin/env python3
"""Makes small seeded models in the ONNX layout of the Hugging Face hub, and captions pictures with them.

  hub_model.py make DIR --torch DIR     writes a folder, and apart from it the weights as `transformers` reads them
  hub_model.py run DIR PICTURE...       prints what `transformers` generates, one JSON line per picture or group
  hub_model.py check DIR PICTURE...     compares the graphs in ONNX Runtime with PyTorch, token by token

hub_goldens.py makes the files of the tests with it, and hub_parity.py compares descry with `transformers`.

The weights are random, the architecture is SmolVLM's own (or another's, with --kind), and the tokenizer
has 300 tokens: bytes, a few pieces of words and the model's special tokens.

It needs its own environment, because other tools use older releases of transformers and tokenizers:
python3 -m venv target/hub && target/hub/bin/pip install -r tools/requirements-hub.txt
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import hub_florence
import hub_llava
from hub_captions import FAKE, GLOBAL, IMAGE, Json, add_run_options, check
from hub_export import exported, quantize, randomise, write_graph, write_json
from hub_references import open_reference
from hub_text import DecoderGraph, byte_bpe, export_text

TOKENS = 300  # of the tokenizer

START, END = "<|im_start|>", "<end_of_utterance>"
SPECIAL = [START, END, FAKE, GLOBAL, IMAGE]
# SmolVLM's own template, as data.
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
# What the tokenizer's merges are learned from.
TEXT = ["Describe this picture in one sentence.", "What is in this picture?", "a man and a woman in the street"]


@dataclass(frozen=True)
class Size:
    """The shapes of a model."""

    picture: int
    patch: int
    scale: int
    longest_edge: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_mlp: int
    width: int
    layers: int
    heads: int
    key_heads: int
    mlp: int
    vocab: int
    context: int

    @property
    def image_tokens(self) -> int:
        """Image tokens of one picture."""
        return (self.picture // self.patch // self.scale) ** 2


SIZES = {
    "tiny": Size(32, 8, 2, 64, 32, 2, 4, 64, 32, 2, 4, 2, 64, TOKENS, 2048),
    # SmolVLM-256M. Its tokenizer has fewer tokens here; the others have no text.
    "base": Size(512, 16, 4, 2048, 768, 12, 12, 3072, 576, 30, 9, 3, 1536, 49280, 8192),
}


# ---- graphs ----------------------------------------------------------------------------------------------------------


class VisionGraph(nn.Module):
    """pixel_values [B, N, 3, H, W] and pixel_attention_mask [B, N, H, W] → image_features [B·N, tokens, width].

    A patch without a valid pixel gets no attention. Positions are those of a full picture.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision = model.model.vision_model
        self.connector = model.model.connector

    def forward(self, pixel_values: Tensor, pixel_attention_mask: Tensor) -> Tensor:
        embeddings = self.vision.embeddings
        x = embeddings.patch_embedding(pixel_values.flatten(0, 1)).flatten(2).mT + embeddings.position_embedding.weight
        patch = self.vision.config.patch_size
        valid = nn.functional.max_pool2d(pixel_attention_mask.flatten(0, 1).float(), patch).flatten(1)
        hidden = ((1 - valid) * -1e9)[:, None, None, :]
        for layer in self.vision.encoder.layers:
            x = x + self.attention(layer.self_attn, layer.layer_norm1(x), hidden)
            x = x + layer.mlp(layer.layer_norm2(x))
        return self.connector(self.vision.post_layernorm(x))

    def attention(self, layer: Any, x: Tensor, hidden: Tensor) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.unflatten(2, (layer.num_heads, layer.head_dim)).transpose(1, 2)

        query, key, value = heads(layer.q_proj(x)), heads(layer.k_proj(x)), heads(layer.v_proj(x))
        weights = (query @ key.mT * layer.scale + hidden).softmax(-1)
        return layer.out_proj((weights @ value).transpose(1, 2).flatten(2))


def export_graphs(model: Any, size: Size, folder: Path) -> None:
    """Writes the three graphs. The example sizes differ from each other, so that none of them is taken for another."""
    folder.mkdir(parents=True, exist_ok=True)
    side = size.picture
    pictures = {0: "batch_size", 1: "num_images"}
    vision = exported(
        VisionGraph(model),
        (torch.randn(2, 3, 3, side, side), torch.ones(2, 3, side, side, dtype=torch.bool)),
        {"pixel_values": pictures, "pixel_attention_mask": pictures},
        ["image_features"],
    )
    write_graph(vision, folder / "vision_encoder.onnx")
    export_text(model.get_input_embeddings(), DecoderGraph(model.model.text_model, model.lm_head), folder)


# ---- the folder ------------------------------------------------------------------------------------------------------


def make_tokenizer() -> Any:
    """A byte-level BPE in the form of SmolVLM's: single digits, no prefix space, special tokens."""
    from tokenizers import pre_tokenizers

    digits, pieces = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    return byte_bpe(TOKENS, SPECIAL, TEXT, pre_tokenizers.Sequence([digits, pieces]))


def make_model(size: Size, ids: dict[str, int], seed: int, stop_gain: float) -> Any:
    """A SmolVLM whose weights depend on the seed only."""
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration

    names: Json = {"bos_token_id": ids[START], "eos_token_id": ids[END], "pad_token_id": ids[START]}
    text = LlamaConfig(
        vocab_size=size.vocab,
        hidden_size=size.width,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        head_dim=size.width // size.heads,
        max_position_embeddings=size.context,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=False,
        **names,
    )
    vision = {
        "hidden_size": size.vision_width,
        "intermediate_size": size.vision_mlp,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.vision_heads,
        "image_size": size.picture,
        "patch_size": size.patch,
    }
    config = SmolVLMConfig(
        vision_config=vision,
        text_config=text.to_dict(),
        scale_factor=size.scale,
        image_token_id=ids[IMAGE],
        tie_word_embeddings=False,
        **names,
    )
    model = SmolVLMForConditionalGeneration(config).float().eval()
    randomise(model, seed)
    with torch.no_grad():
        model.model.connector.modality_projection.proj.weight.mul_(4)
        model.lm_head.weight.mul_(2)
        model.lm_head.weight[ids[END]] *= stop_gain
    return model


def make(out: Path, weights: Path, seed: int, stop_gain: float, generation: Json, size: Size = SIZES["tiny"]) -> None:
    """Writes a folder in the hub's layout, and PyTorch's weights to another folder."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.save(str(out / "tokenizer.json"))
    ids = {t: tokenizer.token_to_id(t) for t in SPECIAL}
    model = make_model(size, ids, seed, stop_gain)
    model.save_pretrained(weights)
    (out / "config.json").write_text((weights / "config.json").read_text())
    names = {"bos_token_id": ids[START], "eos_token_id": ids[END], "pad_token_id": ids[START]}
    write_json(out / "generation_config.json", {**names, **generation})
    write_json(out / "preprocessor_config.json", preprocessing(size))
    joint = {"image_seq_len": size.image_tokens, "processor_class": "SmolVLMProcessor"}
    write_json(out / "processor_config.json", joint)
    write_json(
        out / "tokenizer_config.json",
        {
            "bos_token": START,
            "clean_up_tokenization_spaces": False,
            "eos_token": END,
            "model_max_length": size.context,
            "pad_token": START,
            "processor_class": "SmolVLMProcessor",
            "tokenizer_class": "GPT2Tokenizer",
        },
    )
    (out / "chat_template.jinja").write_text(TEMPLATE)
    export_graphs(model, size, out / "onnx")


def preprocessing(size: Size) -> Json:
    return {
        "do_convert_rgb": True,
        "do_image_splitting": False,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SmolVLMImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "max_image_size": {"longest_edge": size.picture},
        "processor_class": "SmolVLMProcessor",
        "resample": 1,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": size.longest_edge},
    }


# ---- command line ----------------------------------------------------------------------------------------------------


def fields(text: str) -> Json:
    """Fields of generation_config.json from the command line."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("give a JSON object")
    return value


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    m = commands.add_parser("make", help="write a model folder")
    m.add_argument("dir", type=Path, metavar="DIR", help="model folder to write")
    m.add_argument(
        "--kind", choices=["smolvlm", "llava", "florence2"], default="smolvlm", help="architecture (default: smolvlm)"
    )
    m.add_argument("--torch", required=True, type=Path, metavar="DIR", help="folder for PyTorch's weights")
    m.add_argument(
        "--size",
        choices=list(SIZES),
        default="tiny",
        help="of a smolvlm; base has the shapes of SmolVLM-256M (default: tiny)",
    )
    m.add_argument(
        "--quantize", nargs="*", choices=["int8", "uint8"], default=[], help="write graphs with 8-bit weights, too"
    )
    m.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")
    m.add_argument("--stop-gain", type=float, default=1.0, help="scales the stop token's logit (default: 1)")
    m.add_argument(
        "--generation", type=fields, default={}, metavar="JSON", help="more fields of generation_config.json"
    )
    for name, summary in (("run", "caption pictures in PyTorch"), ("check", "compare the graphs with PyTorch")):
        r = commands.add_parser(name, help=summary)
        r.add_argument("dir", type=Path, metavar="DIR", help="model folder")
        r.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE")
        r.add_argument("--frames", type=int, default=1, metavar="N", help="pictures per prompt (default: 1)")
        add_run_options(r)
        if name == "run":
            r.add_argument("--beams", type=int, default=1, metavar="N", help="1 is greedy decoding (default: 1)")
    return p.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    if args.command == "make":
        rest = (args.dir, args.torch, args.seed, args.stop_gain, args.generation)
        if args.kind == "smolvlm":
            make(*rest, SIZES[args.size])
        else:
            (hub_florence if args.kind == "florence2" else hub_llava).make(*rest)
        for precision in args.quantize:
            quantize(args.dir, precision)
        return
    reference = open_reference(args.dir, args.torch or args.dir / "torch")
    if args.command == "check":
        sys.exit(1 if check(reference, args.pictures, args.frames, args.prompt, args.tokens) else 0)
    for row in reference.captions(args.pictures, args.frames, args.prompt, args.beams, args.tokens):
        print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
