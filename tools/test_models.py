#!/usr/bin/env python3
"""What `models.py import` accepts and refuses, and its messages.

Run it in the environment of tools/requirements.txt: python tools/test_models.py
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import unittest
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
warnings.simplefilter("ignore")

import torch

import models

WIDTH, LAYERS, VOCAB, PREFIX, EMBEDDING = 64, 1, 40, 10, 32

State = dict[str, Any]
RAW = ("--no-normalize-prefix", "--stop-token", ".")


class Evil:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this was run",)


def gpt2() -> State:
    """A GPT-2 in the released layout."""
    g, state = "gpt.transformer.", {}
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (VOCAB, WIDTH),
        "wpe.weight": (100, WIDTH),
        "ln_f.weight": (WIDTH,),
        "ln_f.bias": (WIDTH,),
    }
    for i in range(LAYERS):
        for name, inside, outside in (
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ):
            shapes[f"h.{i}.{name}.weight"], shapes[f"h.{i}.{name}.bias"] = (inside, outside), (outside,)
        for name in ("ln_1", "ln_2"):
            shapes[f"h.{i}.{name}.weight"] = shapes[f"h.{i}.{name}.bias"] = (WIDTH,)
        # Buffers of old checkpoints, which the importer ignores.
        shapes[f"h.{i}.attn.bias"], shapes[f"h.{i}.attn.masked_bias"] = (1, 1, 100, 100), ()
    state.update({g + n: torch.randn(s) for n, s in shapes.items()})
    state["gpt.lm_head.weight"] = state[g + "wte.weight"]
    return state


def mlp(embedding: int = EMBEDDING) -> State:
    hidden = PREFIX * WIDTH // 2
    shapes = {
        "0.weight": (hidden, embedding),
        "0.bias": (hidden,),
        "2.weight": (2 * hidden, hidden),
        "2.bias": (2 * hidden,),
    }
    return {f"clip_project.model.{n}": torch.randn(s) for n, s in shapes.items()}


def tower() -> State:
    """A small ViT in OpenAI's layout."""
    t = "visual.transformer.resblocks.0."
    shapes: dict[str, tuple[int, ...]] = {
        "visual.conv1.weight": (64, 3, 16, 16),
        "visual.class_embedding": (64,),
        "visual.positional_embedding": (5, 64),
        "visual.proj": (64, EMBEDDING),
        t + "attn.in_proj_weight": (192, 64),
        t + "attn.in_proj_bias": (192,),
        t + "attn.out_proj.weight": (64, 64),
        t + "attn.out_proj.bias": (64,),
        t + "mlp.c_fc.weight": (256, 64),
        t + "mlp.c_fc.bias": (256,),
        t + "mlp.c_proj.weight": (64, 256),
        t + "mlp.c_proj.bias": (64,),
    }
    for name in ("visual.ln_pre", "visual.ln_post", t + "ln_1", t + "ln_2"):
        shapes[name + ".weight"] = shapes[name + ".bias"] = (64,)
    return {n: torch.randn(s) for n, s in shapes.items()}


class Import(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(0)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_import(self, checkpoint: State, clip: State | None = None, more: tuple[str, ...] = RAW) -> str:
        """Imports a checkpoint; returns what was printed."""
        from tokenizers import Tokenizer
        from tokenizers import models as kinds

        for name, state in (("clipcap.pt", checkpoint), ("clip.pt", clip or tower())):
            torch.save(state, self.folder / name)
        words = {"." if n == 13 else f"w{n}": n for n in range(VOCAB)}
        Tokenizer(kinds.WordLevel(words, unk_token="w0")).save(str(self.folder / "tokenizer.json"))
        args = ["models.py", "import"]
        for option, name in (
            ("--clipcap", "clipcap.pt"),
            ("--clip", "clip.pt"),
            ("--tokenizer", "tokenizer.json"),
            ("--out", "out"),
        ):
            args += [option, str(self.folder / name)]
        out = io.StringIO()
        with mock.patch.object(sys, "argv", [*args, *more]), contextlib.redirect_stdout(out):
            models.main()
        return out.getvalue()

    def refused(
        self, words: list[str], checkpoint: State, clip: State | None = None, more: tuple[str, ...] = RAW
    ) -> None:
        """Asserts that an import fails with a message that has these words, and that it writes nothing."""
        with self.assertRaises(SystemExit) as caught:
            self.run_import(checkpoint, clip, more)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertFalse((self.folder / "out").exists(), "nothing is written")

    def test_shapes_are_found(self) -> None:
        printed = self.run_import({**gpt2(), **mlp()})
        for fact in (
            '"mapper": "mlp"',
            f'"prefix_length": {PREFIX}',
            f'"embedding": {EMBEDDING}',
            f"[{LAYERS}, 1, {WIDTH}, {VOCAB}]",
            '"image": 32',
            '"stop_token": 13',
        ):
            self.assertIn(fact, printed)

    def test_a_missing_tensor_is_named(self) -> None:
        state = {**gpt2(), **mlp()}
        del state["gpt.transformer.h.0.mlp.c_fc.bias"]
        self.refused(["gpt.transformer.h.0.mlp.c_fc.bias"], state)
        state = {**gpt2(), **mlp()}
        del state["clip_project.model.2.bias"]
        self.refused(["clip_project", "model.2.bias is missing"], state)
        self.refused(["neither clip_project.model.0.weight (MLP) nor clip_project.prefix_const"], gpt2())
        clip = tower()
        del clip["visual.ln_post.bias"]
        self.refused(["visual.ln_post.bias"], {**gpt2(), **mlp()}, clip)

    def test_a_wrong_shape_is_named(self) -> None:
        state = {**gpt2(), **mlp()}
        state["gpt.transformer.h.0.attn.c_attn.weight"] = torch.randn(WIDTH, 2 * WIDTH)
        self.refused(["blocks.0.attn.weight is [128, 64], not [192, 64]"], state)
        state = {**gpt2(), **mlp()}
        state["clip_project.model.2.weight"] = torch.randn(PREFIX * WIDTH + 1, PREFIX * WIDTH // 2)
        self.refused(["clip_project.model.2.weight", "no multiple of the language model's width 64"], state)

    def test_another_clip_belongs_to_it(self) -> None:
        self.refused(["its mapper reads 48 numbers", "embeddings of 32"], {**gpt2(), **mlp(48)})

    def test_a_preset_is_checked_against_the_shapes(self) -> None:
        state = {**gpt2(), **mlp()}
        self.refused(["not coco-transformer", "its mapper is mlp"], state, more=("--preset", "coco-transformer"))
        self.refused(["its embedding width is 32, the preset's is 512"], state, more=("--preset", "coco-mlp"))

    def test_what_shapes_cannot_show_is_asked_for(self) -> None:
        state = {**gpt2(), **mlp()}
        self.refused(["--normalize-prefix", "--preset"], state, more=("--stop-token", "."))
        self.refused(["--stop-token"], state, more=("--no-normalize-prefix",))
        more = ("--no-normalize-prefix", "--stop-token", "99")
        self.refused(["--stop-token 99", "among the 40 tokens"], state, more=more)

    def test_more_than_tensors_is_refused(self) -> None:
        state = {**gpt2(), **mlp()}
        self.refused(["refused", "more than tensors: epoch"], {**state, "epoch": 3})
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.refused(["refused", "no checkpoint of tensors alone"], {**state, "evil": Evil()})
        self.assertNotIn("this was run", out.getvalue())

    def test_int8_needs_pictures(self) -> None:
        self.refused(["--images"], {**gpt2(), **mlp()}, more=(*RAW, "--precision", "int8"))


if __name__ == "__main__":
    unittest.main()
