"""Small seeded Florence-2 models in the ONNX layout of the Hugging Face hub, and what `transformers` generates.

The architecture is Florence-2's own: DaViT's windows and channel groups, BART's encoder and decoder. The decoder's
graph is merged as `optimum` merges it: an `If` on `use_cache_branch`, whose branch with a cache returns no keys of the
encoder. hub_model.py is the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from hub_captions import IMAGE, Json, Reference, stop_tokens
from hub_export import exported, randomise, write_graph, write_json

PICTURE, FEATURES = 40, 10
WIDTH, LAYERS, HEADS, CONTEXT = 32, 2, 4, 96
VOCAB = 300
START, PAD, END, UNKNOWN, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
SPECIAL = [START, PAD, END, UNKNOWN]  # they come first
PLACES = [f"<loc_{n}>" for n in range(4)]
TASK = "<CAPTION>"
# What the tokenizer's merges are learned from.
TEXT = ["What does the image describe?", "Describe in detail what is shown in the image.", "a man in the street"]
GENERATION = {
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
    "num_beams": 3,
}


# ---- graphs ----------------------------------------------------------------------------------------------------------


class VisionGraph(nn.Module):
    """pixel_values [B, 3, H, W] → image_features [B, 1 + patches, width]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projector = model.model.vision_tower, model.model.multi_modal_projector

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = pixel_values
        for conv, blocks in zip(self.tower.convs, self.tower.blocks, strict=True):
            x = conv(x)
            for block in blocks:
                x = block(x)
        return self.projector(x)


class EncoderGraph(nn.Module):
    """attention_mask [B, T] and inputs_embeds [B, T, D] → last_hidden_state [B, T, D]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.model.language_model.encoder

    def forward(self, attention_mask: Tensor, inputs_embeds: Tensor) -> Tensor:
        places = self.encoder.embed_positions
        positions = torch.arange(inputs_embeds.shape[1]) + places.offset
        x = self.encoder.layernorm_embedding(inputs_embeds + places.weight[positions])
        hidden = hidden_places(attention_mask)
        for layer in self.encoder.layers:
            x = layer.forward(x, hidden)
        return x


def hidden_places(mask: Tensor) -> Tensor:
    """What attention adds to the scores of places that the mask leaves out."""
    return ((mask == 0).float() * torch.finfo(torch.float32).min)[:, None, None, :]


class DecoderStep(nn.Module):
    """What both branches of the decoder have in common."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.head = model.model.language_model.decoder, model.lm_head

    def run(self, x: Tensor, mask: Tensor, past: Sequence[Tensor], encoded: Tensor | None) -> tuple[Tensor, ...]:
        """`past` has the decoder's keys and values of each layer, and the encoder's if `encoded` is left out."""
        places, done = self.decoder.embed_positions, past[0].shape[2] if past else 0
        rows = torch.arange(x.shape[1]) + done
        x = self.decoder.layernorm_embedding(x + places.weight[rows + places.offset])
        later = torch.arange(x.shape[1] + done)[None, :] > rows[:, None]
        later = later.float()[None, None] * torch.finfo(torch.float32).min
        hidden, present = hidden_places(mask), []
        for i, layer in enumerate(self.decoder.layers):
            own = keys(layer.self_attn, x)
            if past:
                own = [torch.cat(pair, 2) for pair in zip(past[4 * i :][:2], own, strict=True)]
            cross = keys(layer.encoder_attn, encoded) if encoded is not None else list(past[4 * i + 2 :][:2])
            present += own + (cross if encoded is not None else [])
            x = layer.self_attn_layer_norm(x + attention(layer.self_attn, x, own, later))
            x = layer.encoder_attn_layer_norm(x + attention(layer.encoder_attn, x, cross, hidden))
            x = layer.final_layer_norm(x + layer.fc2(layer.activation_fn(layer.fc1(x))))
        return self.head(x), *present


def keys(layer: Any, x: Tensor) -> list[Tensor]:
    return [p(x).unflatten(2, (-1, layer.head_dim)).transpose(1, 2) for p in (layer.k_proj, layer.v_proj)]


def attention(layer: Any, x: Tensor, pair: Sequence[Tensor], hidden: Tensor) -> Tensor:
    query = layer.q_proj(x).unflatten(2, (-1, layer.head_dim)).transpose(1, 2)
    weights = (query @ pair[0].mT * layer.scaling + hidden).softmax(-1)
    return layer.out_proj((weights @ pair[1]).transpose(1, 2).flatten(2))


class FirstStep(DecoderStep):
    """The branch without a cache: → logits, and for each layer the decoder's and the encoder's keys and values."""

    def forward(self, encoder_attention_mask: Tensor, encoder_hidden_states: Tensor, inputs_embeds: Tensor) -> Any:
        return self.run(inputs_embeds, encoder_attention_mask, (), encoder_hidden_states)


class NextStep(DecoderStep):
    """The branch with a cache: → logits, and for each layer the decoder's keys and values."""

    def forward(self, encoder_attention_mask: Tensor, inputs_embeds: Tensor, *past: Tensor) -> Any:
        return self.run(inputs_embeds, encoder_attention_mask, past, None)


def cache_names(prefix: str, *sides: str) -> list[str]:
    return [f"{prefix}.{i}.{side}.{kind}" for i in range(LAYERS) for side in sides for kind in ("key", "value")]


def export_graphs(model: Any, folder: Path) -> None:
    """Writes the four graphs."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {0: "batch_size", 1: "sequence_length"}
    answer = {0: "batch_size", 1: "decoder_sequence_length"}
    encoded = {0: "batch_size", 1: "encoder_sequence_length"}
    pixels = torch.randn(2, 3, PICTURE, PICTURE)
    vision = exported(VisionGraph(model), (pixels,), {"pixel_values": {0: "batch_size"}}, ["image_features"])
    write_graph(vision, folder / "vision_encoder.onnx")
    ids = torch.ones(2, 5, dtype=torch.long)
    embed = exported(model.get_input_embeddings(), (ids,), {"input_ids": words}, ["inputs_embeds"])
    write_graph(embed, folder / "embed_tokens.onnx")
    mask = torch.ones(2, 7, dtype=torch.long)
    encoder = exported(
        EncoderGraph(model),
        (mask, torch.randn(2, 7, WIDTH)),
        {"attention_mask": encoded, "inputs_embeds": encoded},
        ["last_hidden_state"],
    )
    write_graph(encoder, folder / "encoder_model.onnx")
    first = exported(
        FirstStep(model),
        (mask, torch.randn(2, 7, WIDTH), torch.randn(2, 3, WIDTH)),
        {"encoder_attention_mask": encoded, "encoder_hidden_states": encoded, "inputs_embeds": answer},
        ["logits", *cache_names("present", "decoder", "encoder")],
    )
    names = cache_names("past_key_values", "decoder", "encoder")
    lengths = {"decoder": (4, "past_decoder_sequence_length"), "encoder": (7, "encoder_sequence_length")}
    sides = [lengths[name.split(".")[2]] for name in names]
    past = tuple(torch.randn(2, HEADS, length, WIDTH // HEADS) for length, _ in sides)
    following = exported(
        NextStep(model),
        (mask, torch.randn(2, 3, WIDTH), *past),
        {
            "encoder_attention_mask": encoded,
            "inputs_embeds": answer,
            **{name: {0: "batch_size", 2: size} for name, (_, size) in zip(names, sides, strict=True)},
        },
        ["logits", *cache_names("present", "decoder")],
    )
    write_graph(merged(first, following), folder / "decoder_model_merged.onnx")


def merged(first: Any, following: Any) -> Any:
    """One model with both as the branches of an `If`, and one copy of their weights."""
    from onnx import TensorProto, helper

    weights: dict[bytes, Any] = {}
    outputs = [value.name for value in first.graph.output]
    branches = {
        "then_branch": branch(following, "with_cache/", outputs, weights),
        "else_branch": branch(first, "without_cache/", outputs, weights),
    }
    choice = helper.make_node("If", ["use_cache_branch"], outputs, "choice", **branches)
    inputs = {value.name: value for value in (*first.graph.input, *following.graph.input)}
    flag = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    order = ["encoder_attention_mask", "encoder_hidden_states", "inputs_embeds"]
    rest = [name for name in inputs if name not in order]
    graph = helper.make_graph(
        [choice],
        "merged",
        [*(inputs[name] for name in (*order, *rest)), flag],
        first.graph.output,
        initializer=list(weights.values()),
    )
    return helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)


def branch(model: Any, prefix: str, outputs: Sequence[str], weights: dict[bytes, Any]) -> Any:
    """A model as a branch. Its weights move to `weights`, and an output that it lacks is a constant without rows."""
    from onnx import TensorProto, helper

    names = {value.name: value.name for value in model.graph.input}
    for weight in model.graph.initializer:
        own = type(weight)()
        own.CopyFrom(weight)
        own.name = ""
        kept = weights.setdefault(own.SerializeToString(), own)
        kept.name = kept.name or f"weight_{len(weights)}"
        names[weight.name] = kept.name
    nodes, results = list(model.graph.node), []
    for node in nodes:
        node.input[:] = [names.get(name, prefix + name) if name else "" for name in node.input]
        node.output[:] = [prefix + name if name else "" for name in node.output]
        node.name = prefix + node.name
    have = {value.name for value in model.graph.output}
    for name in outputs:
        if name not in have:
            constant = helper.make_tensor(prefix + name, TensorProto.FLOAT, [0, HEADS, 1, WIDTH // HEADS], [])
            nodes.append(helper.make_node("Constant", [], [prefix + name], prefix + name, value=constant))
        size = [None] * (3 if name == "logits" else 4)
        results.append(helper.make_tensor_value_info(prefix + name, TensorProto.FLOAT, size))
    return helper.make_graph(nodes, prefix.strip("/"), [], results)


# ---- the folder ------------------------------------------------------------------------------------------------------


def make_tokenizer() -> Any:
    """A byte-level BPE in the form of BART's, with Florence's places."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    more = [MASK, *PLACES, IMAGE]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(more),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=SPECIAL,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False, lstrip=t == MASK) for t in more])
    ids = {t: tokenizer.token_to_id(t) for t in SPECIAL}
    tokenizer.post_processor = processors.RobertaProcessing((END, ids[END]), (START, ids[START]), True, False)
    if tokenizer.get_vocab_size() != VOCAB or list(ids.values()) != [0, 1, 2, 3]:
        raise SystemExit(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {VOCAB}, or {ids}")
    return tokenizer


def make_model(image_token: int, seed: int, stop_gain: float) -> Any:
    """A Florence-2 whose weights depend on the seed only."""
    from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration

    # The encoder's sizes differ from the decoder's, so that nobody takes one for the other.
    text = BartConfig(
        vocab_size=VOCAB,
        d_model=WIDTH,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_layers=LAYERS,
        decoder_attention_heads=HEADS,
        decoder_ffn_dim=48,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
    )
    vision = {
        "depths": [1, 1, 1],
        "patch_size": [7, 3, 3],
        "patch_stride": [4, 2, 2],
        "patch_padding": [3, 1, 1],
        "patch_prenorm": [False, True, True],
        "embed_dim": [8, 12, 16],
        "num_heads": [2, 2, 4],
        "num_groups": [2, 3, 4],
        "window_size": 5,
        "mlp_ratio": 2.0,
        "projection_dim": WIDTH,
        "max_position_embeddings": 5,
        "max_temporal_embeddings": 4,
    }
    config = Florence2Config(
        vision_config=vision, text_config=text.to_dict(), image_token_id=image_token, tie_word_embeddings=False
    )
    model = Florence2ForConditionalGeneration(config).float().eval()
    randomise(model, seed)
    language = model.model.language_model
    with torch.no_grad():
        # Published models have one embedding, which is the head too. Here the head is apart, for the stop token's gain.
        for side in (language.encoder, language.decoder):
            side.embed_tokens.weight.copy_(language.shared.weight)
        model.lm_head.weight.mul_(2)
        model.lm_head.weight[2] *= stop_gain
    return model


def make(out: Path, weights: Path, seed: int, stop_gain: float, generation: Json) -> None:
    """Writes a folder in the hub's layout, and PyTorch's weights to another folder."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.save(str(out / "tokenizer.json"))
    model = make_model(tokenizer.token_to_id(IMAGE), seed, stop_gain)
    model.save_pretrained(weights)
    (out / "config.json").write_text((weights / "config.json").read_text())
    ids = {"bos_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    forced = {"forced_bos_token_id": 0, "forced_eos_token_id": 2}
    write_json(out / "generation_config.json", {**ids, **forced, **GENERATION, **generation})
    square = {"height": PICTURE, "width": PICTURE}
    write_json(
        out / "preprocessor_config.json",
        {
            "crop_size": square,
            "do_center_crop": False,
            "do_convert_rgb": None,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.485, 0.456, 0.406],
            "image_processor_type": "CLIPImageProcessor",
            "image_seq_length": FEATURES,
            "image_std": [0.229, 0.224, 0.225],
            "processor_class": "Florence2Processor",
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": square,
        },
    )
    names = {"bos_token": START, "eos_token": END, "mask_token": MASK, "pad_token": PAD, "unk_token": UNKNOWN}
    write_json(
        out / "tokenizer_config.json",
        {**names, "processor_class": "Florence2Processor", "tokenizer_class": "BartTokenizer"},
    )
    export_graphs(model, out / "onnx")


# ---- captions --------------------------------------------------------------------------------------------------------


class FlorenceReference(Reference):
    """`transformers` on a Florence-2 folder: its own processor writes the prompts."""

    def __init__(self, folder: Path, weights: Path) -> None:
        from transformers import Florence2ForConditionalGeneration, Florence2Processor, PreTrainedTokenizerFast
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        self.open(folder, weights, Florence2ForConditionalGeneration)
        settings = self.json("preprocessor_config.json")
        left_out = ("image_processor_type", "processor_class", "image_seq_length")
        self.processor = CLIPImageProcessorPil(**{k: v for k, v in settings.items() if k not in left_out})
        self.processor.image_seq_length = settings["image_seq_length"]
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"),
            bos_token=START,
            eos_token=END,
            pad_token=PAD,
            extra_special_tokens={"image_token": IMAGE},
        )
        self.joint = Florence2Processor(self.processor, self.tokenizer)

    def pixels(self, files: Sequence[Path]) -> Tensor:
        if len(files) != 1:
            raise SystemExit("Florence-2 reads one picture at a time")
        return self.processor(Image.open(files[0]).convert("RGB"), return_tensors="pt")["pixel_values"].float()[None]

    def prompt_ids(self, prompt: str, pictures: int, grids: Sequence[tuple[int, int]] = ()) -> list[int]:
        blank = Image.new("RGB", (8, 8))
        return self.joint(images=[blank], text=[prompt], return_tensors="pt")["input_ids"][0].tolist()

    @torch.no_grad()
    def generate(self, prompt: Sequence[int], pixels: Tensor, beams: int, tokens: int, extra: Json) -> list[int]:
        from transformers import GenerationConfig

        fields = {**self.generation, **extra, "max_new_tokens": tokens, "num_beams": beams, "do_sample": False}
        self.model.generation_config = GenerationConfig()
        out = self.model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            pixel_values=pixels[0].to(self.model.dtype),
            generation_config=GenerationConfig(**fields),
        )
        ids = out[0, 1:].tolist()
        stops = stop_tokens(fields)
        end = next((k + 1 for k, token in enumerate(ids) if token in stops), len(ids))
        return ids[:end]

    def graphs(self) -> FlorenceGraphs:
        return FlorenceGraphs(self.folder, self.generation)


class FlorenceGraphs:
    """The folder's graphs in ONNX Runtime, as transformers.js feeds them."""

    def __init__(self, folder: Path, generation: Json) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        names = ("vision_encoder", "embed_tokens", "encoder_model", "decoder_model_merged")
        paths = [str(folder / "onnx" / f"{name}.onnx") for name in names]
        sessions = [onnxruntime.InferenceSession(p, options) for p in paths]
        self.vision, self.embed, self.encoder, self.decoder = sessions
        self.generation = generation

    def greedy(
        self, prompt: Sequence[int], pixels: np.ndarray, tokens: int, stops: Sequence[int]
    ) -> tuple[list[int], float]:
        """The generated tokens, and the smallest margin between the two most likely ones."""
        features = self.vision.run(None, {"pixel_values": pixels[0]})[0]
        words = self.embed.run(None, {"input_ids": np.array([prompt[features.shape[1] :]], np.int64)})[0]
        x = np.concatenate((features, words), 1)
        mask = np.ones(x.shape[:2], np.int64)
        hidden = self.encoder.run(None, {"attention_mask": mask, "inputs_embeds": x})[0]
        names = [i.name for i in self.decoder.get_inputs() if i.name.startswith("past")]
        past: dict[str, np.ndarray] = {name: np.zeros((1, HEADS, 0, WIDTH // HEADS), np.float32) for name in names}
        ids: list[int] = []
        latest, margin = self.generation["decoder_start_token_id"], float("inf")
        while True:
            feeds = {"encoder_attention_mask": mask, "encoder_hidden_states": hidden, **past}
            feeds["inputs_embeds"] = self.embed.run(None, {"input_ids": np.array([[latest]], np.int64)})[0]
            feeds["use_cache_branch"] = np.array([bool(ids)])
            logits, *present = self.decoder.run(None, feeds)
            pairs = zip(names, present, strict=True)
            past.update({name: value for name, value in pairs if not ids or ".decoder." in name})
            if not ids:
                latest = self.generation["forced_bos_token_id"]
            elif len(ids) + 1 == tokens:
                latest = self.generation["forced_eos_token_id"]
            else:
                second, first = np.sort(logits[0, -1])[-2:]
                margin = min(margin, float(first - second))
                latest = int(logits[0, -1].argmax())
            ids.append(latest)
            if latest in stops or len(ids) == tokens:
                return ids, margin
