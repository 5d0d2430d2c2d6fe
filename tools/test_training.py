#!/usr/bin/env python3
"""Tests the training of the built-in model: that it can be interrupted anywhere, and all stages on a few pictures.

Needs no data. The weights of EfficientNet-Lite2 come with its package. Run it in the environment of
tools/requirements.txt: python tools/test_training.py
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import unittest
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
warnings.simplefilter("ignore")

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from descry_models import builtin, lessons, progress, sentences, vision
from descry_models.corpus import Corpus
from descry_models.data import Picture
from descry_models.export import word_tokenizer
from descry_models.optim import Ema, adam, groups, set_rate
from descry_models.progress import Batches, Progress
from descry_models.rewards import Round, Truth

torch.set_num_threads(1)
WORDS = ["<end>", "<unk>", "a", "dog", "man"]


class Steps(unittest.TestCase):
    def train(self, folder: Path, stops_after: int = 99, total: int = 6) -> list[Tensor]:
        """Trains a small network; an earlier run in the folder is resumed. Returns weights and their averages."""
        torch.manual_seed(5)
        net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        optimiser, ema = adam(groups(net, 1e-2, 0.1)), Ema(net, 0.9)
        batches, items = Batches(range(20), 6, 3, torch.device("cpu")), torch.arange(60.0).sin().view(20, 3)
        steps = Progress("stage", total, 3, folder)
        steps.watch(ema, optimiser, net=net)
        with contextlib.redirect_stdout(io.StringIO()):
            for step in steps.steps():
                set_rate(optimiser, step, total, 2)
                loss = (net(items[batches.at(step)]) + torch.randn(6, 1)).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                ema.update()
                steps.note(step, loss[None])
                if step + 1 == stops_after:
                    raise KeyboardInterrupt
        return [p.detach().clone() for p in net.parameters()] + ema.average

    def test_an_interrupted_run_resumes_to_the_same_weights(self) -> None:
        with tempfile.TemporaryDirectory() as name, mock.patch.object(progress, "SAVE_SECONDS", -1):
            whole = self.train(Path(name))
        self.assertFalse(torch.equal(whole[0], whole[4]), "averages are something else")
        for stops_after in range(1, 6):
            with tempfile.TemporaryDirectory() as name, mock.patch.object(progress, "SAVE_SECONDS", -1):
                folder = Path(name)
                with self.assertRaises(KeyboardInterrupt):
                    self.train(folder, stops_after)
                self.assertEqual(progress.state_path(folder, "stage").exists(), stops_after > 1)
                for a, b in zip(whole, self.train(folder), strict=True):
                    self.assertTrue(torch.equal(a, b), f"stopped after {stops_after} steps")
                if stops_after > 1:
                    with self.assertRaisesRegex(SystemExit, "other options"):
                        self.train(folder, total=7)

    def test_batches_hold_every_item_at_most_once_in_an_epoch(self) -> None:
        batches = Batches(torch.arange(100, 123), 5, 1, torch.device("cpu"))
        self.assertEqual(len(batches), 4)
        epochs = [torch.cat([batches.at(4 * e + k) for k in range(4)]).tolist() for e in range(2)]
        for epoch in epochs:
            self.assertEqual(len(set(epoch)), 20)
            self.assertLessEqual(set(epoch), set(range(100, 123)))
        self.assertNotEqual(*epochs)
        again = Batches(torch.arange(100, 123), 5, 1, torch.device("cpu"))
        self.assertEqual(again.at(6).tolist(), batches.at(6).tolist(), "without the steps before")

    def test_rates_rise_and_fall(self) -> None:
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
        parts = groups(net, 0.5, 0.1)
        self.assertEqual([(p.dim(), g["weight_decay"]) for g in parts for p in g["params"]], [(2, 0.1), (1, 0)])
        optimiser, rates = adam(parts), []
        for step in range(11):
            set_rate(optimiser, step, 10, 2)
            rates.append(optimiser.param_groups[1]["lr"])
        np.testing.assert_allclose(rates[:3] + rates[6::4], [0.25, 0.5, 0.5, 0.25, 0], atol=1e-12)
        self.assertEqual(rates[2:], sorted(rates[2:], reverse=True))

    def test_averages_change_places_with_the_weights(self) -> None:
        net = nn.Linear(2, 1, bias=False)
        ema = Ema(net, 0.9)
        before = ema.average[0].clone()
        with torch.no_grad():
            net.weight.add_(1)
        ema.update()
        torch.testing.assert_close(ema.average[0], before + 9 / 11)
        ema.swap()
        torch.testing.assert_close(net.weight.detach(), before + 9 / 11)
        ema.swap()
        self.assertTrue(torch.equal(net.weight, before + 1))


def write_detector(path: Path) -> None:
    """A detector of one convolution for each output."""
    draw, nodes, constants = np.random.default_rng(0), [], []
    for name, channels in zip(vision.DETECTOR_OUTPUTS, (480, 80, 128), strict=True):
        weight = draw.standard_normal((channels, 3, 1, 1), np.float32) / 128
        constants.append(numpy_helper.from_array(weight, f"{name}/w"))
        conv = {"strides": [64, 64], "group": 1, "auto_pad": "SAME_UPPER"}
        nodes.append(helper.make_node("Conv", ["pixels", f"{name}/w"], [name], **conv))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 512, 512])
    sides = ["n", None, None, None]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, sides) for n in vision.DETECTOR_OUTPUTS]
    onnx.save(helper.make_model(helper.make_graph(nodes, "test", [pixels], outputs, constants)), path)


class EndToEnd(unittest.TestCase):
    """The whole training, of a model whose decoders and text tower are tiny, on nine pictures of noise."""

    def write_work(self, folder: Path) -> builtin.BuiltinOptions:
        draw, pictures = np.random.default_rng(0), []
        for n, source in enumerate(["flickr8k"] * 3 + ["coco"] * 3 + ["web"] * 3):
            path = folder / f"{n}.png"
            Image.fromarray(draw.integers(0, 255, (40 + n, 60, 3)).astype(np.uint8)).save(path)
            captions = [f"a {'dog' if n % 2 else 'man'} on the left", "a dog runs"][: 1 if source == "web" else 2]
            pictures.append(Picture(path.name, str(path), captions, "val" if n == 0 else "train", source))
        work = folder / "work"
        tokenizer = word_tokenizer(WORDS)
        with mock.patch("descry_models.corpus.LEAST_OCCURRENCES", 1), mock.patch.object(lessons, "LEAST_PICTURES", 2):
            corpus = Corpus(pictures, ["a man runs"] * 4)
            lessons.prepare(corpus, sentences.tokenizer_of(tokenizer.to_str()), work, 1)
        tower = sentences.SentenceTower(256).state_dict()
        weights = {k: v for k, v in tower.items() if not k.startswith("out.")}
        torch.save({"weights": weights, "tokenizer": tokenizer.to_str()}, work / "sentences.pt")
        write_detector(work / "detector.onnx")
        sizes: dict[str, Any] = {"width": 64, "layers": 1, "workers": 1, "epochs": 2.0, "batch": 4, "members": 2}
        return builtin.BuiltinOptions([], None, Path(), work, folder / "out", stages=["train"], **sizes)

    def test_training_writes_its_stages_and_continues(self) -> None:
        truth, out = Truth(0.1, 0.6), io.StringIO()
        rounds = (Round(2, 1e-4, (False, True), truth, truth), Round(1, 1e-4, (True,), truth, truth))
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(mock.patch.multiple(sentences, LAYERS=1, VOCABULARY=50))
            stack.enter_context(mock.patch.object(builtin, "ROUNDS", rounds))
            o = self.write_work(folder)
            read = lessons.read_lessons(o.work)
            self.assertEqual((read.val, read.mirrors.any().item()), ([0], False))
            self.assertEqual(lessons.read_pictures(o.work, 1).shape, (9, 3, lessons.STORED, lessons.STORED))
            builtin.train_builtin(o)
            stages = ["speech", "seeing", "truth-0", "truth-1"]
            self.assertEqual(sorted(p.stem for p in o.work.glob("*[hg01].pt")), sorted(stages))
            figures = [json.loads(line) for line in out.getvalue().splitlines() if line.startswith("{")]
            self.assertEqual([f["stage"] for f in figures], stages[1:])
            self.assertEqual(figures[0]["coco as film"]["frames"], 1)
            first = {s: torch.load(o.work / f"{s}.pt") for s in stages}
            for name, tensor in first["truth-1"].items():
                self.assertTrue(tensor.isfinite().all(), name)
            # In half precision, the scale of the embedding stays the same.
            moved = {n.split(".")[0] for n, v in first["seeing"].items() if not torch.equal(v, first["speech"][n])}
            self.assertEqual(moved, {"sight", "members", "sentences"})
            moved = {n.split(".")[0] for n, v in first["truth-1"].items() if not torch.equal(v, first["seeing"][n])}
            self.assertEqual(moved, {"members"})
            self.interrupt(o, first)

    def interrupt(self, o: builtin.BuiltinOptions, first: dict[str, dict[str, Tensor]]) -> None:
        """Another run that stops before its last step on pictures ends with the same weights."""
        for stage in ("seeing", "truth-0", "truth-1"):
            (o.work / f"{stage}.pt").unlink()
        steps = Progress.steps

        def stopping(self: Progress) -> Iterator[int]:
            for step in steps(self):
                if step + 1 == self.total:
                    raise KeyboardInterrupt
                yield step

        with mock.patch.object(progress, "SAVE_SECONDS", -1):
            with mock.patch.object(Progress, "steps", stopping), self.assertRaises(KeyboardInterrupt):
                builtin.train_builtin(o)
            self.assertTrue(progress.state_path(o.work, "seeing").exists())
            builtin.train_builtin(o)
        self.assertEqual(list(o.work.glob("*.state.pt")), [])
        for name, tensor in torch.load(o.work / "truth-1.pt").items():
            self.assertTrue(torch.equal(tensor, first["truth-1"][name]), name)


if __name__ == "__main__":
    unittest.main()
