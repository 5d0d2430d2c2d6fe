"""What `transformers` generates with a SmolVLM in the layout of the Hugging Face hub, and what its graphs generate.

Pixels are those of the processor's Pillow form.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PROMPT = "Describe this picture in one sentence."
IMAGE, FAKE, GLOBAL = "<image>", "<fake_token_around_image>", "<global-img>"
# Fields of generation_config.json that concern sampling, which never happens here.
SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")

Json = dict[str, Any]


# ---- captions in PyTorch ---------------------------------------------------------------------------------------------


class Reference:
    """`transformers` on one folder: its processor in the Pillow form, its prompt and its `generate`."""

    def __init__(self, folder: Path, weights: Path) -> None:
        from transformers import PreTrainedTokenizerFast, SmolVLMForConditionalGeneration
        from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

        self.open(folder, weights, SmolVLMForConditionalGeneration)
        settings = self.json("preprocessor_config.json")
        left_out = ("image_processor_type", "processor_class", "image_seq_len")
        settings = {k: v for k, v in settings.items() if k not in left_out}
        self.processor = SmolVLMImageProcessorPil(**settings)
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))

    def open(self, folder: Path, weights: Path, model: Any) -> None:
        """Reads the folder's configuration and PyTorch's weights. `model` is their class in `transformers`."""
        self.folder = folder
        self.config = self.json("config.json")
        self.generation = {k: v for k, v in self.json("generation_config.json").items() if k not in SAMPLING}
        # Eager attention is the published formula. Others fuse it, with other roundings.
        self.model = model.from_pretrained(weights, dtype=torch.float32, attn_implementation="eager").eval()

    def json(self, name: str) -> Json:
        return json.loads((self.folder / name).read_text())

    @property
    def image_tokens(self) -> int:
        """Image tokens of one picture."""
        vision = self.config["vision_config"]
        return (vision["image_size"] // vision["patch_size"]) ** 2 // self.config["scale_factor"] ** 2

    def pixels(self, files: Sequence[Path]) -> Tensor:
        """The pictures of one prompt, [1, N, 3, H, W]. Alpha is dropped, as by Pillow."""
        opened = [Image.open(f).convert("RGB") for f in files]
        return self.processor([opened], return_tensors="pt")["pixel_values"].float()

    def grids(self, files: Sequence[Path]) -> list[tuple[int, int]]:
        """Rows and columns of tiles of each picture; zeros for one that is not split."""
        opened = [Image.open(f).convert("RGB") for f in files]
        info = self.processor([opened], return_row_col_info=True)
        return list(zip(info["rows"][0], info["cols"][0], strict=True))

    def prompt_ids(self, prompt: str, pictures: int, grids: Sequence[tuple[int, int]] = ()) -> list[int]:
        """The tokens of the chat with its pictures' tokens, as SmolVLM's processor writes it."""
        from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

        content = [{"type": "image"} for _ in range(pictures)] + [{"type": "text", "text": prompt}]
        chat = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=(self.folder / "chat_template.jinja").read_text(),
            add_generation_prompt=True,
            tokenize=False,
        )
        first, *parts = chat.split(IMAGE)
        text = first
        for (rows, columns), part in zip(grids or [(0, 0)] * pictures, parts, strict=True):
            text += get_image_prompt_string(
                rows,
                columns,
                self.image_tokens,
                fake_token_around_image=FAKE,
                image_token=IMAGE,
                global_image_token=GLOBAL,
            )
            text += part
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @torch.no_grad()
    def generate(self, prompt: Sequence[int], pixels: Tensor, beams: int, tokens: int, extra: Json) -> list[int]:
        """The generated tokens, with the stop token if one ended them. `extra` goes over generation_config.json."""
        from transformers import GenerationConfig

        fields = {**self.generation, **extra, "max_new_tokens": tokens, "num_beams": beams, "do_sample": False}
        fields.pop("max_length", None)
        # `generate` takes what its argument leaves out from the model's own configuration.
        self.model.generation_config = GenerationConfig()
        out = self.model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            generation_config=GenerationConfig(**fields),
            **self.picture_inputs(pixels.to(self.model.dtype)),
        )
        ids = out[0, len(prompt) :].tolist()
        stops = stop_tokens(fields)
        end = next((k + 1 for k, token in enumerate(ids) if token in stops), len(ids))
        return ids[:end]

    def picture_inputs(self, pixels: Tensor) -> Json:
        """What the model reads of the pictures."""
        mask = torch.ones(*pixels.shape[:2], *pixels.shape[3:], dtype=torch.bool)
        return {"pixel_values": pixels, "pixel_attention_mask": mask}

    def graphs(self) -> Any:
        """The folder's graphs in ONNX Runtime."""
        return Graphs(self.folder, self.config["image_token_id"])

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def levels(self, pixels: Tensor) -> bytes:
        """The pixels as 8-bit levels, channels first: the processor's result without the roundings of floats."""
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.processor.image_mean, self.processor.image_std))
        return ((pixels[0] * std + mean) * 255).round().to(torch.uint8).numpy().tobytes()

    def captions(self, files: Sequence[Path], frames: int, prompt: str, beams: int, tokens: int) -> list[Json]:
        """One result for each group of pictures."""
        rows = []
        for group in groups(files, frames):
            pixels = self.pixels(group)
            split = getattr(self.processor, "do_image_splitting", False)
            prompt_ids = self.prompt_ids(prompt, len(group), self.grids(group) if split else ())
            ids = self.generate(prompt_ids, pixels, beams, tokens, {})
            digest = hashlib.sha256(self.levels(pixels)).hexdigest()
            rows.append({"image": group[0].name, "ids": ids, "text": self.text(ids), "pixels": digest})
        return rows


def stop_tokens(generation: Json) -> list[int]:
    """The stop tokens of a generation_config.json, which gives one or a list."""
    stop = generation["eos_token_id"]
    return stop if isinstance(stop, list) else [stop]


def groups(files: Sequence[Path], frames: int) -> list[list[Path]]:
    return [list(files[k : k + frames]) for k in range(0, len(files), frames)]


# ---- captions in ONNX Runtime ----------------------------------------------------------------------------------------


class Graphs:
    """The folder's graphs in ONNX Runtime. `suffix` chooses their precision, as in `_int8`."""

    def __init__(self, folder: Path, image_token: int, suffix: str = "") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        names = ("vision_encoder", "embed_tokens", "decoder_model_merged")
        paths = [str(folder / "onnx" / f"{name}{suffix}.onnx") for name in names]
        self.vision, self.embed, self.decoder = (onnxruntime.InferenceSession(p, options) for p in paths)
        self.image_token = image_token

    def greedy(
        self, prompt: Sequence[int], pixels: np.ndarray, tokens: int, stops: Sequence[int]
    ) -> tuple[list[int], float]:
        """The generated tokens, and the smallest margin between the two most likely ones."""
        if len(self.vision.get_inputs()) == 1:
            features = self.vision.run(None, {"pixel_values": pixels[0]})[0]
        else:
            mask = np.ones((*pixels.shape[:2], *pixels.shape[3:]), bool)
            features = self.vision.run(None, {"pixel_values": pixels, "pixel_attention_mask": mask})[0]
        row = np.array([prompt], np.int64)
        x = self.embed.run(None, {"input_ids": row})[0]
        x[row == self.image_token] = features.reshape(-1, x.shape[-1])
        inputs = [i for i in self.decoder.get_inputs() if i.name.startswith("past")]
        past = [np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in inputs]
        ids: list[int] = []
        done, margin = 0, float("inf")
        while True:
            place = np.arange(done, done + x.shape[1])[None]
            done += x.shape[1]
            feeds = {"inputs_embeds": x, "attention_mask": np.ones((1, done), np.int64), "position_ids": place}
            feeds |= {i.name: p for i, p in zip(inputs, past, strict=True)}
            logits, *past = self.decoder.run(None, feeds)
            second, first = np.sort(logits[0, -1])[-2:]
            margin = min(margin, float(first - second))
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] in stops or len(ids) == tokens:
                return ids, margin
            x = self.embed.run(None, {"input_ids": np.array([ids[-1:]], np.int64)})[0]


def check(reference: Reference, files: Sequence[Path], frames: int, prompt: str, tokens: int) -> int:
    """Prints how the graphs agree with PyTorch in greedy decoding. Returns the number of differences."""
    graphs = reference.graphs()
    stops = stop_tokens(reference.generation)
    plain = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
    wrong, smallest = 0, float("inf")
    some = groups(files, frames)
    for group in some:
        pixels, prompt_ids = reference.pixels(group), reference.prompt_ids(prompt, len(group))
        want = reference.generate(prompt_ids, pixels, 1, tokens, plain)
        got, margin = graphs.greedy(prompt_ids, pixels.numpy(), tokens, stops)
        smallest = min(smallest, margin)
        if want != got:
            wrong += 1
            print(f"{group[0].name}: PyTorch {want}, ONNX Runtime {got}")
    print(f"{len(some) - wrong} of {len(some)} agree, smallest margin between two logits {smallest:.4f}")
    return wrong


def add_run_options(p: argparse.ArgumentParser) -> None:
    """Options that `run`, `check` and hub_parity.py share."""
    p.add_argument("--torch", type=Path, metavar="DIR", help="PyTorch's weights (default: torch/ in the model folder)")
    p.add_argument("--prompt", default=PROMPT, help=f"what to ask (default: {PROMPT})")
    p.add_argument("--tokens", type=int, default=24, metavar="N", help="longest caption, in tokens (default: 24)")
