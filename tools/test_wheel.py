#!/usr/bin/env python3
"""The Python package of tools/wheel, against the program that DESCRY_BINARY names. It needs no other package.

DESCRY_BINARY=target/debug/descry python3 tools/test_wheel.py
python3 tools/test_wheel.py --installed      # the package that pip has installed, with its own program
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import unittest
import warnings
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
if "--installed" in sys.argv:
    sys.argv.remove("--installed")
else:
    sys.path.insert(0, str(ROOT / "tools/wheel"))

import descry

FILM = ROOT / "samples/bikes.mp4"
FRAMES = sorted((ROOT / "models/builtin/frames").glob("*.jpg"))[:2]
FAST = ("--mode", "keyframes")


class Describing(unittest.TestCase):
    def test_cues_are_those_of_the_subtitles(self) -> None:
        cues = descry.describe(FILM, *FAST)
        command = [str(descry.program()), "describe", str(FILM), *FAST, "-q", "-f", "srt", "-o", "-"]
        srt = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        blocks = [block.split("\n", 2) for block in srt.strip().split("\n\n")]
        self.assertEqual([cue.text for cue in cues], [text.replace("\n", " ") for _, _, text in blocks])
        self.assertTrue(cues and all(0 <= cue.start < cue.end <= 10.1 for cue in cues))
        self.assertEqual(cues, sorted(cues, key=lambda cue: cue.start))

    def test_a_damaged_film_is_described_with_a_warning(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            film = Path(folder) / "cut short.webm"
            film.write_bytes((ROOT / "samples/tears-of-steel.webm").read_bytes()[:600_000])
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                cues = descry.describe(film, *FAST)
        self.assertTrue(cues)
        self.assertEqual([type(w.message) for w in caught][:1], [descry.DescryWarning])
        self.assertIn("cut short.webm", str(caught[0].message))
        self.assertEqual(Path(caught[0].filename).name, Path(__file__).name)

    def test_errors_have_their_cause_and_code(self) -> None:
        for path, options, code, says in (
            ("missing.mp4", (), 1, "missing.mp4"),
            (__file__, (), 1, "test_wheel.py"),
            (str(FILM), ("--no-such-option",), 2, "--no-such-option"),
        ):
            with self.assertRaises(descry.DescryError) as raised:
                descry.describe(path, *options)
            self.assertEqual(raised.exception.exit_code, code)
            self.assertIn(says, str(raised.exception))

    def test_what_follows_a_path_is_no_option(self) -> None:
        with self.assertRaises(descry.DescryError) as raised:
            descry.describe("--help")
        self.assertIn("--help", str(raised.exception))
        self.assertEqual(raised.exception.exit_code, 1)


class Embedding(unittest.TestCase):
    def test_embeddings_have_length_1_and_come_in_order(self) -> None:
        both = descry.embed(FRAMES)
        self.assertEqual(len(both), 2)
        for embedding in both:
            self.assertAlmostEqual(math.hypot(*embedding), 1.0, places=4)
        (second,) = descry.embed([str(FRAMES[1])])
        self.assertGreater(sum(a * b for a, b in zip(second, both[1], strict=True)), 0.9999)
        self.assertEqual(descry.embed([]), [])

    def test_a_picture_that_cannot_be_read_is_an_error(self) -> None:
        with self.assertRaises(descry.DescryError) as raised:
            descry.embed([FRAMES[0], __file__])
        self.assertIn("test_wheel.py", str(raised.exception))
        with self.assertRaises(descry.DescryError):
            descry.embed([FRAMES[0].parent])

    def test_texts_have_a_line_each(self) -> None:
        dog, street = descry.embed_texts(["a dog", "une rue à Paris"])
        self.assertEqual(len(dog), len(street))
        self.assertEqual(descry.embed_texts([]), [])
        # More than a pipe holds.
        self.assertEqual(len(descry.embed_texts(["a dog"] * 1_500)), 1_500)
        for wrong in ("two\nlines", "two\u2028lines", " "):
            with self.assertRaises(ValueError):
                descry.embed_texts([wrong])


class Searching(unittest.TestCase):
    def test_moments_of_an_archive(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "archive"
            command = [str(descry.program()), "index", str(FILM), "--into", str(archive), "-q", *FAST]
            subprocess.run(command, check=True)
            moments = descry.search(archive, "a man on a bike", limit=2)
            self.assertEqual([moment.rank for moment in moments], [1, 2])
            self.assertEqual({Path(moment.video).name for moment in moments}, {"bikes.mp4"})
            self.assertTrue(all(moment.similarity is not None and moment.similarity > 0 for moment in moments))
            self.assertTrue(all((archive / str(moment.thumbnail)).is_file() for moment in moments))
            self.assertEqual(descry.search(archive, "zeppelin", "--by", "words"), [])
            with self.assertRaises(descry.DescryError) as raised:
                descry.search(Path(folder) / "none", "a dog")
            self.assertIn("none", str(raised.exception))


class Program(unittest.TestCase):
    def test_a_missing_program_is_named(self) -> None:
        with (
            mock.patch.dict(os.environ, {"DESCRY_BINARY": "", "PATH": ""}),
            mock.patch("sysconfig.get_path", return_value="/nowhere"),
            self.assertRaises(FileNotFoundError) as raised,
        ):
            descry.describe(FILM)
        self.assertIn("pip install", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
