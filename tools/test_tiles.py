#!/usr/bin/env python3
"""Tests the parts of the tile captioner that need neither data nor trained weights.

Run it in the environment of tools/requirements.txt: python tools/test_tiles.py
"""

from __future__ import annotations

import random
import sys
import tempfile
import unittest
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from PIL import Image

from descry_models import film_score, runs, tfjs, tiles
from descry_models.corpus import plain_style
from descry_models.film import film_frame
from descry_models.resampler import TextPrefix, TileCaptioner, TileMapper, TileShape

SHAPE = TileShape(vocab=20, features=8, width=16, layers=1, heads=2, embedding=4, context=32, prefix_length=3)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise that is never black."""
    pixels = np.random.default_rng(seed).integers(60, 255, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def boxed(width: int, height: int, bar: int) -> Image.Image:
    """A picture between black bars above and below."""
    out = Image.new("RGB", (width, height + 2 * bar))
    out.paste(picture(width, height), (0, bar))
    return out


class FakeTower:
    """Encodes a frame as the mean of each tile, and dies at a given picture."""

    cells, width = 9, 1
    image = {"embedding_dim": 1}  # noqa: RUF012 - as in a manifest

    def __init__(self, dies_after: int | None = None) -> None:
        self.left = dies_after

    def encode(self, frames: Iterable[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        means = []
        for frame in frames:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left = None if self.left is None else self.left - 1
            means.append([np.asarray(tile, np.float32).mean() for tile in tiles.tiles(frame)])
        embedding = np.array(means)[..., None]
        return np.repeat(embedding, self.cells, 1), embedding


class Frames(unittest.TestCase):
    def test_crops_cover_the_frame_and_overlap(self) -> None:
        frame = picture(160, 80)
        whole, *crops = tiles.tiles(frame)
        self.assertEqual(whole.size, frame.size)
        self.assertEqual({crop.size for crop in crops}, {(100, 50)})
        pixels = np.asarray(frame)
        for crop, part in zip(
            crops, (pixels[:50, :100], pixels[:50, 60:], pixels[30:, :100], pixels[30:, 60:]), strict=True
        ):
            np.testing.assert_array_equal(np.asarray(crop), part)

    def test_black_bars_are_cropped_and_dark_pictures_are_not(self) -> None:
        self.assertEqual(tiles.without_bars(boxed(160, 80, 10)).size, (160, 80))
        self.assertEqual(tiles.without_bars(picture(160, 80)).size, (160, 80))
        self.assertEqual(tiles.without_bars(Image.new("RGB", (160, 80))).size, (160, 80))
        spot = Image.new("RGB", (160, 80))
        spot.paste(picture(20, 20), (40, 30))
        self.assertEqual(tiles.without_bars(spot).size, (160, 80), "a spot of light is no frame")

    def test_bars_come_in_pairs_with_straight_edges(self) -> None:
        dark_above, below, subtitled, title = (
            boxed(160, 80, 10),
            boxed(160, 80, 10),
            boxed(160, 80, 20),
            boxed(160, 80, 10),
        )
        dark_above.paste((0, 0, 0), (0, 0, 160, 40))
        self.assertEqual(tiles.without_bars(dark_above).tobytes(), dark_above.crop((0, 10, 160, 90)).tobytes())
        below = below.crop((0, 10, 160, 100))
        self.assertEqual(tiles.without_bars(below).size, below.size, "a bar on one side only")
        for x in range(40, 120, 8):
            subtitled.paste((230, 230, 230), (x, 105, x + 4, 112))
        self.assertEqual(tiles.without_bars(subtitled).size, (160, 80))
        title.paste((0, 0, 0), (0, 0, 50, 100))
        title.paste((0, 0, 0), (110, 0, 160, 100))
        self.assertEqual(tiles.without_bars(title).size, title.size, "too little would remain")

    def test_film_frames_repeat_with_their_seed(self) -> None:
        a, b, c = (film_frame(picture(160, 120), random.Random(seed)) for seed in (1, 1, 2))
        self.assertEqual(a.tobytes(), b.tobytes())
        self.assertNotEqual(a.tobytes(), c.tobytes())
        for seed in range(200):
            frame = film_frame(picture(160, 120), random.Random(seed))
            self.assertGreaterEqual(frame.width * frame.height, 0.49 * 160 * 120, f"seed {seed} keeps half of the area")


class Caches(unittest.TestCase):
    def test_an_interrupted_cache_resumes_to_the_same_values(self) -> None:
        with tempfile.TemporaryDirectory() as name, mock.patch.object(tiles, "FLUSH_EVERY", 4):
            folder = Path(name)
            paths = []
            for n in range(10):
                paths.append(str(folder / f"{n}.png"))
                picture(40, 30, n).save(paths[-1])
            whole, broken = tiles.ViewCache(folder / "a", "film-a"), tiles.ViewCache(folder / "b", "film-a")
            tower: Any = FakeTower()
            whole.write(paths, tower)
            dying: Any = FakeTower(7)
            with self.assertRaises(KeyboardInterrupt):
                broken.write(paths, dying)
            self.assertEqual((broken.finished, broken.rows), (False, 4))
            broken.write(paths, tower)
            self.assertTrue(broken.finished)
            for a, b in zip(whole.open(), broken.open(), strict=True):
                np.testing.assert_array_equal(a, b)


class Training(unittest.TestCase):
    def train(self, folder: Path, steps: int) -> TileCaptioner:
        """Trains a small captioner; an earlier run in the folder is resumed."""
        torch.manual_seed(0)
        model = TileCaptioner(SHAPE, TileMapper(SHAPE))
        run = runs.Run(model, folder / "state.pt", "key", 6, 1e-3)
        run.resume()
        ids = torch.tensor([[[3, 4, 5, 0]], [[6, 7, 0, -100]]])
        model.train()
        while run.step < steps:
            grid = torch.randn(2, 45, SHAPE.features, generator=torch.Generator().manual_seed(run.step))
            (hidden,) = model.teach(grid, ids)
            keep = ids.ne(-100)
            loss = torch.nn.functional.cross_entropy(model.decoder.logits(hidden[keep]), ids[keep])
            run.update(loss, 2)
        return run.average.model

    def test_an_interrupted_run_resumes_to_the_same_weights(self) -> None:
        with tempfile.TemporaryDirectory() as name, mock.patch.object(runs, "SAVE_EVERY", 2):
            one, two = Path(name, "one"), Path(name, "two")
            one.mkdir()
            two.mkdir()
            whole = self.train(one, 6).state_dict()
            # Stops after a step that was not saved.
            self.train(two, 5)
            resumed = self.train(two, 6).state_dict()
            for key, value in whole.items():
                torch.testing.assert_close(resumed[key], value, rtol=0, atol=0)

    def test_batches_hold_every_caption_at_most_once(self) -> None:
        lengths = [random.Random(n).randint(3, 20) for n in range(1000)]
        batches = runs.length_batches(lengths, 32, "seed")
        flat = [i for batch in batches for i in batch]
        self.assertEqual(len(flat), len(set(flat)))
        self.assertEqual(len(flat), 1000 // 32 * 32)
        self.assertEqual(batches, runs.length_batches(lengths, 32, "seed"))

    def test_mappers_give_the_prefix_that_the_decoder_reads(self) -> None:
        self.assertEqual(TileMapper(SHAPE)(torch.randn(2, 45, 8)).shape, (2, 3, 16))
        self.assertEqual(TextPrefix(SHAPE)(torch.randn(2, 4)).shape, (2, 3, 16))
        captions = TileCaptioner(SHAPE, TileMapper(SHAPE)).eval().beam(torch.randn(2, 45, 8), 3, 6, 0)
        self.assertEqual(len(captions), 2)


class Scores(unittest.TestCase):
    def test_content_words_meet_by_stem_and_synonym(self) -> None:
        references = ["two men ride bicycles on a street", "people cycling"]
        self.assertEqual(film_score.caption_precision("a man is riding a bike", references), 1.0)
        self.assertEqual(film_score.caption_precision("a man with a guitar", references), 0.5)
        self.assertEqual(film_score.caption_precision("", references), 0.0)
        self.assertEqual(
            film_score.summary([1.0, 0.5, 0.4, 0.0]),
            {"frames": 4, "content-word precision": 0.475, "right": 0.25, "partly right": 0.25, "wrong": 0.5},
        )

    def test_roles_become_descriptions(self) -> None:
        self.assertEqual(plain_style("Actress wearing a blue dress"), "a woman wearing a blue dress")
        self.assertEqual(plain_style("person and person at the event"), "a person and person at the event")
        self.assertEqual(plain_style("personal computers"), "personal computers")

    def test_detections_are_local_maxima(self) -> None:
        heat: np.ndarray = np.zeros((80, 128, 128), np.float32)
        box: np.ndarray = np.full((4, 128, 128), 8, np.float32)
        heat[0, 64, 32], heat[0, 64, 33], heat[16, 0, 0] = 0.9, 0.5, 0.4
        found = tfjs.detections(heat, box)
        self.assertEqual([(d.label, round(d.score, 2)) for d in found], [(0, 0.9), (16, 0.4)])
        self.assertEqual(found[0].box, (120 / 512, 248 / 512, 136 / 512, 264 / 512))
        self.assertEqual(found[1].box, (0.0, 0.0, 8 / 512, 8 / 512))


if __name__ == "__main__":
    unittest.main()
