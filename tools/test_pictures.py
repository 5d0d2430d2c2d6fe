#!/usr/bin/env python3
"""Tests how training changes pictures, and the convolutional networks that read them.

Needs neither data nor trained weights. Run it in the environment of tools/requirements.txt:
python tools/test_pictures.py
"""

from __future__ import annotations

import random
import sys
import tempfile
import unittest
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from descry_models import bars, film, film_views
from descry_models.convolutions import GraphNet, SameConv, Twice, folded
from descry_models.convs import apart, merge_pads, session
from descry_models.export import batched, write_graph


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise that is never black."""
    pixels = np.random.default_rng(seed).integers(60, 255, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def boxed(width: int, height: int, bar: int) -> Image.Image:
    """A picture between black bars above and below."""
    out = Image.new("RGB", (width, height + 2 * bar))
    out.paste(picture(width, height), (0, bar))
    return out


class Bars(unittest.TestCase):
    def test_black_bars_are_cropped_and_dark_pictures_are_not(self) -> None:
        self.assertEqual(bars.without_bars(boxed(160, 80, 10)).size, (160, 80))
        self.assertEqual(bars.without_bars(picture(160, 80)).size, (160, 80))
        self.assertEqual(bars.without_bars(Image.new("RGB", (160, 80))).size, (160, 80))
        spot = Image.new("RGB", (160, 80))
        spot.paste(picture(20, 20), (40, 30))
        self.assertEqual(bars.without_bars(spot).size, (160, 80), "a spot of light is no frame")

    def test_bars_come_in_pairs_with_straight_edges(self) -> None:
        dark_above, below, title = (boxed(160, 80, 10) for _ in range(3))
        dark_above.paste((0, 0, 0), (0, 0, 160, 40))
        self.assertEqual(bars.without_bars(dark_above).tobytes(), dark_above.crop((0, 10, 160, 90)).tobytes())
        below = below.crop((0, 10, 160, 100))
        self.assertEqual(bars.without_bars(below).size, below.size, "a bar on one side only")
        subtitled = boxed(160, 80, 20)
        for x in range(40, 120, 8):
            subtitled.paste((230, 230, 230), (x, 105, x + 4, 112))
        self.assertEqual(bars.without_bars(subtitled).size, (160, 80))
        title.paste((0, 0, 0), (0, 0, 50, 100))
        title.paste((0, 0, 0), (110, 0, 160, 100))
        self.assertEqual(bars.without_bars(title).size, title.size, "too little would remain")


class FilmFrames(unittest.TestCase):
    def test_frames_repeat_with_their_seed(self) -> None:
        a, b, c = (film.film_frame(picture(160, 120), random.Random(seed)) for seed in (1, 1, 2))
        self.assertEqual(a.tobytes(), b.tobytes())
        self.assertNotEqual(a.tobytes(), c.tobytes())

    def test_crops_keep_half_of_the_picture(self) -> None:
        for seed, (width, height) in product(range(100), ((160, 120), (90, 160), (320, 100))):
            crop = film.crop_to_aspect(picture(width, height), random.Random(seed))
            self.assertGreaterEqual(crop.width * crop.height, (film.LEAST_AREA - 0.01) * width * height)
            self.assertTrue(crop.width <= width and crop.height <= height)


class FilmViews(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(0)
        self.pictures = torch.rand(32, 3, 64, 64)
        self.nowhere = torch.zeros(32, dtype=torch.bool)

    def test_crops_lie_inside_and_keep_half_of_the_picture(self) -> None:
        aspect = torch.rand(3000) * 3 + 0.3
        left, top, width, height = film_views.crops(aspect).T
        self.assertGreaterEqual(float((width * height).min()), film_views.LEAST_AREA - 1e-6)
        self.assertGreaterEqual(float(torch.minimum(left, top).min()), 0)
        self.assertLessEqual(float(torch.maximum(left + width, top + height).max()), 1 + 1e-6)

    def test_crops_have_the_aspects_of_films(self) -> None:
        _, _, width, height = film_views.crops(torch.full((500,), 1.5)).T
        found = {round(float(r), 2) for r in 1.5 * width / height}
        self.assertEqual(found, {1.5, 1.78, 2.39, 1.85, 1.33})

    def test_a_plain_view_is_the_picture(self) -> None:
        plain = film_views.plain_views(self.pictures, self.nowhere, 64)
        torch.testing.assert_close(plain, self.pictures, rtol=0, atol=1e-5)
        mirrored = film_views.plain_views(self.pictures, ~self.nowhere, 64)
        torch.testing.assert_close(mirrored, self.pictures.flip(3), rtol=0, atol=1e-5)
        cropped = film_views.plain_views(self.pictures, self.nowhere, 64, 0.75)
        same = (cropped - self.pictures).abs().amax((1, 2, 3)) < 1e-5
        self.assertTrue(0 < int(same.sum()) < 32, "half of them are crops")

    def test_boxes_are_cut_out(self) -> None:
        box = torch.tensor([[0.25, 0.5, 0.5, 0.25]])
        cut = film_views.cut(self.pictures[:1], box, self.nowhere[:1], 32)
        wanted = self.pictures[:1, :, 32:48, 16:48]
        shrunk = torch.nn.functional.interpolate(wanted, (32, 32), mode="bilinear", align_corners=False)
        torch.testing.assert_close(cut[:, :, 1:-1], shrunk[:, :, 1:-1], rtol=0, atol=1e-5)

    def test_a_flat_picture_stays_flat(self) -> None:
        flat = torch.rand(32, 3, 1, 1).expand(-1, -1, 64, 64) * 0.8 + 0.1
        out = film_views.compressed(flat.contiguous())
        self.assertLess(float((out.amax((2, 3)) - out.amin((2, 3))).max()), 1e-5)
        self.assertLess(float((out - flat).abs().max()), 14 / 255, "as coarse as the steps of the mean")
        blurred = film_views.blurred(flat.contiguous())
        torch.testing.assert_close(blurred, flat, rtol=0, atol=1e-5)

    def test_rounding_is_coarse_only_by_its_steps(self) -> None:
        x, scale = self.pictures * 255, torch.ones(32)
        fine = film_views.rounded(x, torch.ones(8, 8), scale)
        self.assertLess(float((fine - x).abs().mean()), 1)
        self.assertLess(float((fine - x).abs().max()), 2)
        large = film_views.rounded(x * 1e4, torch.ones(8, 8), scale) / 1e4
        torch.testing.assert_close(large, x, rtol=0, atol=1e-2)
        coarse = film_views.rounded(x, film_views.LUMA, scale * 4)
        self.assertGreater(float((coarse - x).abs().mean()), 20)

    def test_blurring_moves_light_and_neither_adds_nor_removes_any(self) -> None:
        points = torch.zeros(64, 3, 33, 33)
        points[:, :, 16, 16] = 1
        out = film_views.blurred(points)
        torch.testing.assert_close(out.sum((2, 3)), torch.ones(64, 3), rtol=0, atol=1e-4)
        sharp = (out[:, 0, 16, 16] > 0.999).sum()
        self.assertTrue(0 < int(sharp) < 64)

    def test_views_repeat_with_their_seed(self) -> None:
        views = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            views.append(film_views.film_views(self.pictures, torch.ones(32), self.nowhere, 48))
        self.assertEqual(views[0].shape, (32, 3, 48, 48))
        self.assertTrue(torch.equal(views[0], views[1]))
        self.assertFalse(torch.equal(views[0], views[2]))
        self.assertTrue(float(views[0].min()) >= 0 and float(views[0].max()) <= 1)

    def test_towers_get_pixels_from_minus_one_to_one(self) -> None:
        ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8)
        out = film_views.enlarged(ends, 16)
        self.assertEqual(out.shape, (2, 3, 16, 16))
        torch.testing.assert_close(out[:, 0, 0, 0] * 128 + 127, torch.tensor([0.0, 255.0]))


def outputs_of(path: Path, pixels: Tensor, names: list[str]) -> list[Tensor]:
    """What ONNX Runtime computes."""
    return [torch.from_numpy(a) for a in session(path).run(names, {"pixels": pixels.numpy()})]


def write(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], outputs: list[str]) -> None:
    """Writes a graph of `pixels` [N,3,H,W]."""
    sides = ["n", None, None, None]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, None, None])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


class Graphs(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(0)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name, "graph.onnx")

    def test_same_padding_is_that_of_others(self) -> None:
        for kernel, stride, height in product((1, 2, 3, 5), (1, 2), (7, 8)):
            weight, x = torch.randn(4, 3, kernel, kernel), torch.randn(2, 3, height, 9)
            ours = SameConv(weight, None, stride, 1)(x)
            if stride == 1 and kernel % 2:  # PyTorch warns of even ones
                theirs = torch.nn.functional.conv2d(x, weight, padding="same")
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
            conv = helper.make_node("Conv", ["pixels", "w"], ["y"], strides=[stride] * 2, auto_pad="SAME_UPPER")
            write(self.path, [conv], {"w": weight.numpy()}, ["y"])
            torch.testing.assert_close(ours, outputs_of(self.path, x, ["y"])[0], rtol=0, atol=1e-5)

    def test_folded_norms_change_nothing(self) -> None:
        conv, norm = nn.Conv2d(3, 5, 1, bias=False), nn.BatchNorm2d(5).eval()
        for values in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            values.uniform_(0.5, 2)
        x = torch.randn(2, 3, 4, 4)
        torch.testing.assert_close(folded(conv, norm)(x), norm(conv(x)))

    def test_twice_the_size(self) -> None:
        got = Twice.apply(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]))
        wanted = [[0, 0.5, 1, 1], [1, 1.5, 2, 2], [2, 2.5, 3, 3], [2, 2.5, 3, 3]]
        self.assertEqual(got[0, 0].tolist(), wanted)

    def test_twice_the_size_is_one_operator_of_onnx(self) -> None:
        class Doubled(nn.Module):
            def forward(self, pixels: Tensor) -> Tensor:
                return Twice.apply(pixels)

        x = torch.randn(2, 3, 4, 6)
        write_graph(Doubled(), (x,), self.path, (["pixels"], ["y"]), batched("pixels", "y"))
        self.assertEqual([n.op_type for n in onnx.load(self.path).graph.node if n.op_type != "Constant"], ["Resize"])
        torch.testing.assert_close(outputs_of(self.path, x, ["y"])[0], Twice.apply(x), rtol=0, atol=1e-6)

    def test_a_graph_becomes_a_module(self) -> None:
        def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
            names = ["" if i == "_" else i for i in inputs.split()]
            return helper.make_node(kind, names, [output], **attributes)

        same = {"auto_pad": "SAME_UPPER"}
        nodes = [
            node("Conv", "pixels w1 b1", "c1", strides=[2, 2], group=1, **same),
            node("Add", "c1 three", "shifted"),
            node("Clip", "shifted zero six", "clipped"),
            node("Mul", "c1 sixth", "scaled"),
            node("Mul", "scaled clipped", "swish"),
            node("Conv", "swish w2", "c2", strides=[1, 1], group=4, **same),
            node("GlobalAveragePool", "c2", "mean"),
            node("Sigmoid", "mean", "gate"),
            node("Mul", "c2 gate", "gated"),
            node("Relu", "gated", "bright"),
            node("Resize", "bright _ scales", "large", mode="linear", coordinate_transformation_mode="asymmetric"),
            node("Conv", "pixels w3", "c3", strides=[1, 1], group=1, **same),
            node("Concat", "large c3", "both", axis=1),
            node("Identity", "both", "out"),
            node("Tanh", "out", "unwanted"),
        ]
        draw = np.random.default_rng(0)
        constants: dict[str, np.ndarray] = {
            name: draw.standard_normal(shape, np.float32)
            for name, shape in (("w1", (4, 3, 3, 3)), ("b1", (4,)), ("w2", (4, 1, 5, 5)), ("w3", (2, 3, 1, 1)))
        }
        for name, value in (("three", 3), ("zero", 0), ("six", 6), ("sixth", 1 / 6)):
            constants[name] = np.float32(value)
        constants["scales"] = np.array([1, 1, 2, 2], np.float32)
        write(self.path, nodes, constants, ["unwanted", "shifted", "swish", "out"])
        net, x = GraphNet(self.path, ["out", "swish"]), torch.randn(2, 3, 12, 8) * 3
        for ours, theirs in zip(net(x), outputs_of(self.path, x, ["out", "swish"]), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
        kinds = [kind for kind, _, _ in net.steps]
        self.assertEqual(kinds.count("HardSwish"), 1)
        self.assertFalse({"Clip", "Tanh", "Add"} & set(kinds), "fused, and left out")
        (only,) = GraphNet(self.path, ["c3"])(x)
        self.assertEqual(only.shape, (2, 2, 12, 8))
        # What else reads a part of a hard swish still gets it.
        shared = GraphNet(self.path, ["swish", "shifted"])
        torch.testing.assert_close(shared(x)[1], outputs_of(self.path, x, ["shifted"])[0], rtol=0, atol=1e-4)

    def test_padding_moves_into_the_convolution(self) -> None:
        nodes = [
            helper.make_node("Pad", ["pixels", "sides"], ["padded"]),
            helper.make_node("Conv", ["padded", "w"], ["a"], pads=[0, 1, 0, 0], strides=[2, 2]),
            helper.make_node("Pad", ["pixels", "sides"], ["shown"]),
            helper.make_node("Conv", ["shown", "w"], ["b"], pads=[0, 0, 0, 0]),
            helper.make_node("Pad", ["pixels", "channels"], ["wider"]),
            helper.make_node("Conv", ["wider", "w4"], ["c"], pads=[0, 0, 0, 0]),
        ]
        constants: dict[str, np.ndarray] = {
            "w": torch.randn(4, 3, 3, 3).numpy(),
            "w4": torch.randn(4, 4, 3, 3).numpy(),
            "sides": np.array([0, 0, 0, 1, 0, 0, 2, 3]),
            "channels": np.array([0, 0, 1, 1, 0, 1, 1, 1]),
        }
        names = ["a", "b", "c", "shown"]
        write(self.path, nodes, constants, names)
        x = torch.randn(2, 3, 7, 8)
        before = outputs_of(self.path, x, names)
        model = onnx.load(self.path)
        merge_pads(model.graph)
        self.assertEqual([n.output[0] for n in model.graph.node], ["a", "shown", "b", "wider", "c"])
        onnx.save(model, self.path)
        for a, b in zip(before, outputs_of(self.path, x, names), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)

    def test_only_what_rounded_convolutions_feed_is_rounded(self) -> None:
        nodes = [
            helper.make_node(kind, inputs, [name], name=name)
            for name, kind, inputs in (
                ("shift", "Add", ["pixels", "mean"]),
                ("stem", "Conv", ["shift", "w"]),
                ("gate", "Clip", ["stem"]),
                ("block", "Conv", ["gate", "w"]),
                ("limit", "Clip", ["block"]),
                ("sum", "Add", ["limit", "gate"]),
                ("detector", "Conv", ["pixels", "w"]),
                ("residual", "Add", ["detector", "shift"]),
            )
        ]
        graph = helper.make_graph(nodes, "tower", [], [])
        self.assertEqual(apart(graph, ["stem", "detector"]), ["shift", "gate", "residual"])


if __name__ == "__main__":
    unittest.main()
