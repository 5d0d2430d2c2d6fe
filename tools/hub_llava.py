"""Small seeded LLaVA models in the ONNX layout of the Hugging Face hub, and what `transformers` generates.

They have the form of LLaVA 1.5: the last but one layer of a CLIP without its class token, a projector, a Llama, and a
tokenizer that puts a token before every text. hub_model.py is the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from hub_captions import IMAGE, Json, Reference
from hub_export import exported, randomise, write_graph, write_json
from hub_text import DecoderGraph, byte_bpe, export_text

PICTURE, PATCH, SHORTEST = 32, 8, 32
VOCAB = 300
START, END = "<s>", "</s>"
SPECIAL = [START, END, IMAGE]
# LLaVA 1.5's own template, as data.
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# What the tokenizer's merges are learned from.
TEXT = ["USER: Describe this picture in one sentence. ASSISTANT:", "a man and a woman in the street"]


class VisionGraph(nn.Module):
    """pixel_values [B, 3, H, W] → image_features [B, patches, width]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projector = model.model.vision_tower, model.model.multi_modal_projector

    def forward(self, pixel_values: Tensor) -> Tensor:
        embeddings = self.tower.embeddings
        patches = embeddings.patch_embedding(pixel_values).flatten(2).mT
        first = embeddings.class_embedding.expand(patches.shape[0], 1, -1)
        x = torch.cat((first, patches), 1) + embeddings.position_embedding.weight
        x = self.tower.pre_layrnorm(x)
        for layer in self.tower.encoder.layers[:-1]:
            x = x + self.attention(layer.self_attn, layer.layer_norm1(x))
            x = x + layer.mlp(layer.layer_norm2(x))
        return self.projector(x[:, 1:])

    def attention(self, layer: Any, x: Tensor) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.unflatten(2, (layer.num_heads, layer.head_dim)).transpose(1, 2)

        query, key, value = heads(layer.q_proj(x)), heads(layer.k_proj(x)), heads(layer.v_proj(x))
        weights = (query @ key.mT * layer.scale).softmax(-1)
        return layer.out_proj((weights @ value).transpose(1, 2).flatten(2))


def make_tokenizer() -> Any:
    """A byte-level BPE that puts a token before every text, as Llama's tokenizer does."""
    from tokenizers import pre_tokenizers, processors

    tokenizer = byte_bpe(VOCAB, SPECIAL, TEXT, pre_tokenizers.ByteLevel(add_prefix_space=False))
    start = tokenizer.token_to_id(START)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A {START} $B", special_tokens=[(START, start)]
    )
    return tokenizer


def make_model(ids: dict[str, int], seed: int, stop_gain: float) -> Any:
    """A LLaVA whose weights depend on the seed only."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    text = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=ids[START],
        eos_token_id=ids[END],
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=PICTURE,
        patch_size=PATCH,
        projection_dim=16,
    )
    config = LlavaConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=ids[IMAGE],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    config._attn_implementation = "eager"
    model = LlavaForConditionalGeneration(config).float().eval()
    randomise(model, seed)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
        model.lm_head.weight[ids[END]] *= stop_gain
    return model


def make(out: Path, weights: Path, seed: int, stop_gain: float, generation: Json) -> None:
    """Writes a folder in the hub's layout, and PyTorch's weights to another folder."""
    (out / "onnx").mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.save(str(out / "tokenizer.json"))
    ids = {t: tokenizer.token_to_id(t) for t in SPECIAL}
    model = make_model(ids, seed, stop_gain)
    model.save_pretrained(weights)
    (out / "config.json").write_text((weights / "config.json").read_text())
    names = {"bos_token_id": ids[START], "eos_token_id": ids[END], "pad_token_id": ids[END]}
    write_json(out / "generation_config.json", {**names, **generation})
    write_json(
        out / "preprocessor_config.json",
        {
            "crop_size": {"height": PICTURE, "width": PICTURE},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "processor_class": "LlavaProcessor",
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"shortest_edge": SHORTEST},
        },
    )
    joint = {"image_token": IMAGE, "num_additional_image_tokens": 1, "patch_size": PATCH}
    joint |= {"processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default"}
    write_json(out / "processor_config.json", joint)
    tokens = {"bos_token": START, "eos_token": END, "pad_token": END}
    write_json(
        out / "tokenizer_config.json",
        {**tokens, "processor_class": "LlavaProcessor", "tokenizer_class": "LlamaTokenizer"},
    )
    (out / "chat_template.jinja").write_text(TEMPLATE)
    write_graph(
        exported(
            VisionGraph(model),
            (torch.randn(3, 3, PICTURE, PICTURE),),
            {"pixel_values": {0: "batch_size"}},
            ["image_features"],
        ),
        out / "onnx/vision_encoder.onnx",
    )
    decoder = DecoderGraph(model.model.language_model, model.lm_head)
    export_text(model.get_input_embeddings(), decoder, out / "onnx")


class LlavaReference(Reference):
    """`transformers` on a LLaVA folder: its own processor writes the prompts."""

    def __init__(self, folder: Path, weights: Path) -> None:
        from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        self.open(folder, weights, LlavaForConditionalGeneration)
        self.config["image_token_id"] = self.config.get("image_token_id", self.config.get("image_token_index"))
        settings = self.json("preprocessor_config.json")
        left_out = ("image_processor_type", "processor_class")
        self.processor = CLIPImageProcessorPil(**{k: v for k, v in settings.items() if k not in left_out})
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), bos_token=START, eos_token=END, pad_token=END
        )
        joint = self.json("processor_config.json")
        joint.pop("processor_class")
        template = (folder / "chat_template.jinja").read_text()
        self.joint = LlavaProcessor(self.processor, self.tokenizer, chat_template=template, **joint)

    def pixels(self, files: Sequence[Path]) -> Tensor:
        opened = [Image.open(f).convert("RGB") for f in files]
        return self.processor(opened, return_tensors="pt")["pixel_values"].float()[None]

    def prompt_ids(self, prompt: str, pictures: int, grids: Sequence[tuple[int, int]] = ()) -> list[int]:
        content = [{"type": "image"} for _ in range(pictures)] + [{"type": "text", "text": prompt}]
        chat = self.joint.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        blank = [Image.new("RGB", (8, 8)) for _ in range(pictures)]
        return self.joint(images=blank, text=chat, return_tensors="pt")["input_ids"][0].tolist()

    def picture_inputs(self, pixels: Tensor) -> Json:
        return {"pixel_values": pixels[0]}
