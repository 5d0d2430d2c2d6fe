#!/usr/bin/env python3
"""What the judges of models measure.

Run it in the environment of tools/requirements.txt: python tools/test_models.py
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
import tempfile
import unittest
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
warnings.simplefilter("ignore")

import numpy as np
from PIL import Image

import models
from descry_models import calibrate, film, measure, neighbours

# The first picture of a command gets the first answer, and so on. Film views are PNG files. Frames of films are text
# files here, which hold their embeddings.
FAKE_BINARY = """
import json, sys
from pathlib import Path

folder = Path(__file__).parent
args = sys.argv[2:]
pictures = [a for a in args[1:] if a.endswith((".jpg", ".png"))]
if args[0] == "caption":
    answers = json.loads((folder / "answers.json").read_text())
    for i, picture in enumerate(pictures):
        print(json.dumps({"image": picture, **answers["film" if picture.endswith(".png") else "plain"][i]}))
elif args[0] == "embed":
    for i, picture in enumerate(pictures):
        frame = Path(picture).read_bytes().startswith(b"[")
        print(json.dumps({"embedding": json.loads(Path(picture).read_text()) if frame else [i == j for j in range(5)]}))
elif args[0] == "describe":
    print((folder / "scenes.json").read_text())
elif args[0] == "probe":
    sys.exit(0 if args[1].endswith(".mp4") else 3)
"""


class Judge(unittest.TestCase):
    """The judges, with a binary that answers what a test wants."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.model = self.folder / "model"
        self.model.mkdir()
        self.manifest = {
            "name": "m",
            "version": "1",
            "tokenizer": "tokenizer.json",
            "decoding": {"beam": 5},
            **{part: {"graph": f"{part}.onnx"} for part in ("image", "mapper", "decoder")},
        }
        for name in ("tokenizer.json", "image.onnx", "mapper.onnx", "decoder.onnx"):
            (self.model / name).write_text(name)
        (self.model / "model.json").write_text(json.dumps(self.manifest))
        self.binary = self.folder / "descry"
        self.binary.write_text(f"#!{sys.executable}\n{FAKE_BINARY}")
        self.binary.chmod(0o755)

    def write_collection(self, name: str, captions: list[list[str]]) -> None:
        """Pictures in a folder of this name, and their captions file."""
        (self.folder / name).mkdir()
        rows = []
        for i, some in enumerate(captions):
            Image.new("RGB", (48, 32), (i % 256, 90, 120)).save(self.folder / name / f"{name}{i}.jpg")
            rows.append({"image": f"{name}{i}.jpg", "captions": some, "split": "val"})
        (self.folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    def answer(self, plain: list[dict[str, Any]], film: list[dict[str, Any]]) -> None:
        (self.folder / "answers.json").write_text(json.dumps({"plain": plain, "film": film}))

    def run_judge(self, command: str, *collections: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
        args = ["models.py", command, "--model", str(self.model), "--binary", str(self.binary), *more]
        for name in collections:
            args += ["--captions", str(self.folder / f"{name}.jsonl"), "--images", str(self.folder / name)]
        out = io.StringIO()
        with mock.patch.object(sys, "argv", args), contextlib.redirect_stdout(out):
            models.main()
        return json.loads(out.getvalue())

    def answers(self, count: int, support: bool) -> list[dict[str, Any]]:
        """Captions of which every third is wrong. Only the support of their words tells which."""
        rng = np.random.default_rng(count)
        answers = []
        for i in range(count):
            fine = i % 3 > 0
            least = min(-0.01, float(rng.normal(-0.7 if fine else -2.5, 0.5)))
            a: dict[str, Any] = {"text": "a dog runs" if fine else "a red car", "score": 0.9 if fine else 0.4}
            a |= {"said": fine, "mean_logprob": float(rng.normal(-0.5, 0.1))}
            if support:
                a |= {"word_support": [0, least, least / 2, 0], "mean_support": least * 0.75, "least_support": least}
            answers.append(a)
        return answers

    def test_support_makes_scores_better(self) -> None:
        several, one = ["dog", "a dog is running", "puppy"], ["something else"]
        self.write_collection("many", [several] * 120)
        self.write_collection("few", [one] * 30)
        self.answer(self.answers(150, support=True), self.answers(150, support=True))
        report = self.run_judge("calibrate", "many", "few")
        written = json.loads((self.model / "model.json").read_text())
        self.assertEqual(written["score"], report["written"])
        self.assertEqual(set(written["files"]), {"tokenizer.json", "image.onnx", "mapper.onnx", "decoder.onnx"})
        weights = written["score"]["evidence"]
        self.assertEqual(list(weights), ["mean_logprob", "mean_support", "least_support", "content_words"])
        self.assertGreater(weights["mean_support"] + weights["least_support"], 0.5)
        for name in ("mean_logprob", "mean_support", "least_support"):
            self.assertGreaterEqual(weights[name], 0)
        curve = written["score"]["calibration"]
        self.assertEqual(curve, sorted(curve))
        for view in ("as they are", "as film frames"):
            held_out = report["held out"][view]
            self.assertLess(held_out["area under ROC, mean log-probability alone"], 0.7)
            self.assertGreater(held_out["area under ROC, all evidence"], 0.95)
            self.assertLess(held_out["wrong among the shown"], 0.2)
            self.assertGreater(held_out["wrong"], 0.3)
        few = report["held out, by collection"]["few.jsonl (val), fewer than 3: 30 pictures"]
        self.assertEqual(few["as they are"]["wrong"], 1.0, "one caption is too few to fit on")

    def test_models_without_a_word_detector_have_only_their_probability(self) -> None:
        self.write_collection("many", [["dog", "a dog is running", "puppy"]] * 60)
        self.answer(self.answers(60, support=False), self.answers(60, support=False))
        report = self.run_judge("calibrate", "many")
        self.assertEqual(set(report["written"]), {"calibration", "default_min_score"})
        logprobs = [a["mean_logprob"] for a in self.answers(60, support=False)]
        for x, _ in report["written"]["calibration"]:
            self.assertTrue(min(logprobs) - 0.001 <= x <= max(logprobs) + 0.001)

    def test_captions_without_content_words_have_no_support(self) -> None:
        some = {"mean_logprob": -0.5, "word_support": [0, -0.1, -0.3], "mean_support": -0.2, "least_support": -0.3}
        none = {"mean_logprob": -0.4, "word_support": [0, 0], "mean_support": None, "least_support": None}
        columns = calibrate.evidence([some, none])
        self.assertEqual([list(c) for c in columns.values()], [[-0.5, -0.4], [-0.2, 0], [-0.3, 0], [2, 0]])
        self.assertEqual(list(calibrate.evidence([{"mean_logprob": -0.5}])), ["mean_logprob"])
        with self.assertRaisesRegex(SystemExit, "1 of 2 captions have no word_support"):
            calibrate.evidence([some, {"mean_logprob": -0.5}])

    def test_too_few_captions_are_refused(self) -> None:
        self.write_collection("few", [["a dog"]] * 9)
        self.answer(self.answers(9, support=False), self.answers(9, support=False))
        with self.assertRaisesRegex(SystemExit, "--references"):
            self.run_judge("calibrate", "few")
        self.assertNotIn("score", json.loads((self.model / "model.json").read_text()))

    def test_score_judges_collections_and_film(self) -> None:
        self.write_collection("many", [["a dog runs"]] * 6)
        self.write_collection("web", [["a dog" if i % 20 else "a red car"] for i in range(40)])
        (self.folder / "film").mkdir()
        rows = []
        for i in range(3):
            Image.new("RGB", (48, 20)).save(self.folder / f"film/f{i}.jpg")
            rows.append(json.dumps({"image": f"f{i}.jpg", "captions": ["a dog runs", "a dog"]}))
        (self.folder / "film/frames.jsonl").write_text("\n".join(rows))
        self.answer(self.answers(6, support=False), self.answers(6, support=False)[::-1])
        more = ("--split", "all", "--split", "every-tenth", "--film", str(self.folder / "film/frames.jsonl"))
        with mock.patch.object(measure, "bleu_and_cider", lambda *_: {"CIDEr": 1.0}):
            report = self.run_judge("score", "many", "web", more=more)
        many, web = report["collections"]
        self.assertEqual((many["pictures"], web["pictures"]), (6, 4))
        self.assertEqual(many["CIDEr"], 1.0)
        self.assertEqual(many["as they are"]["all"]["wrong"], 0.333)
        self.assertEqual(many["as they are"]["shown by default"], {**SUMMARY, "frames": 4})
        self.assertEqual(many["as they are"]["area under ROC of the score, for not wrong"], 1.0)
        # Of the web's pictures 0, 10, 20 and 30, the first and third show a car, and captions 0 and 3 say so.
        self.assertEqual(web["as they are"]["all"]["right"], 0.25)
        self.assertEqual(report["film"]["all"]["wrong"], 0.333)
        self.assertEqual(report["film"]["shown by default"], {**SUMMARY, "frames": 2})

    def test_captions_made_elsewhere_are_scored(self) -> None:
        frames, answers = self.folder / "frames.jsonl", self.folder / "answers.jsonl"
        frames.write_text(json.dumps({"image": "a.jpg", "captions": ["a dog runs"]}))
        answers.write_text(json.dumps({"image": "/else/a.jpg", "text": "a running dog"}))
        out = io.StringIO()
        args = ["models.py", "score-film", "--frames", str(frames), "--answers", str(answers)]
        with mock.patch.object(sys, "argv", args), contextlib.redirect_stdout(out):
            models.main()
        self.assertEqual(json.loads(out.getvalue()), {"all": SUMMARY, "shown by default": SUMMARY})

    def test_films_suggest_thresholds(self) -> None:
        self.write_collection("many", [["a dog"]] * 4)
        (self.folder / "films").mkdir()
        for name in ("a.mp4", "b.mp4", "notes.md"):
            (self.folder / "films" / name).write_text("")
        spans = [(0, 10, False), (10, 20, False), (20, 21, False), (21, 30, True), (30, 33, False)]
        scenes = [{"start": start, "end": end, "blank": blank} for start, end, blank in spans]
        (self.folder / "scenes.json").write_text(json.dumps({"scenes": scenes}))
        taken: list[float] = []

        def write_frame(film: Path, seconds: float, path: Path) -> None:
            """The third shot is like the first one. The films have nothing in common."""
            taken.append(seconds)
            shots = [[1, 0], [0.5, 0.75**0.5], [0.8, -0.6]]
            shot = shots[0 if seconds < 10 else 1 if seconds < 20 else 2]
            path.write_text(json.dumps([*shot, 0, 0, 0] if film.name == "a.mp4" else [0, 0, *shot, 0]))

        with mock.patch.object(neighbours, "write_frame", write_frame):
            report = self.run_judge("neighbours", "many", more=("--films", str(self.folder / "films")))
        films = report["films"]
        self.assertEqual((films["films"], films["shots"], films["not a film"]), (2, 6, ["notes.md"]))
        # Neither the shot of a second nor the blank one has frames, and none is near a cut.
        self.assertTrue(all(0.25 <= t <= 9.75 or 10.25 <= t <= 19.75 or 30.25 <= t <= 32.75 for t in taken), taken)
        self.assertEqual(films["one shot, frames 1.5 s apart"]["0.5"], 1.0)
        self.assertEqual(films["shots of different films, the nearest"]["0.5"], 0.0)
        suggested = films["suggested thresholds"]
        self.assertEqual(films["different shots, one after the other"]["0.98"], 0.5)
        self.assertEqual(films["different shots of a film, the nearest earlier one"]["0.98"], 0.8)
        self.assertEqual((suggested["same"], suggested["returning"]), (0.51, 0.81))
        self.assertEqual(suggested["pairs of one shot that reach returning"], 1.0)

    def test_film_views_keep_their_shape_and_repeat(self) -> None:
        self.write_collection("many", [["a dog"]] * 12)
        pictures = measure.read_pictures(self.folder / "many.jsonl", self.folder / "many")
        sizes = []
        for name in ("one", "two"):
            (self.folder / name).mkdir()
            paths = measure.film_views(pictures, self.folder / name)
            sizes.append([Image.open(path).size for path in paths])
        self.assertEqual(sizes[0], sizes[1])
        self.assertGreater(len({round(w / h, 1) for w, h in sizes[0]}), 2, "films have several shapes")
        first, second = ((self.folder / name / "5.png").read_bytes() for name in ("one", "two"))
        self.assertEqual(first, second)


SUMMARY = {"frames": 1, "content-word precision": 1.0, "right": 1.0, "partly right": 0.0, "wrong": 0.0}


class Calibration(unittest.TestCase):
    def test_evidence_that_lowers_the_score_is_left_out(self) -> None:
        rng = np.random.default_rng(0)
        n = 400
        columns = {name: rng.normal(size=n) for name in calibrate.EVIDENCE}
        logit = 2 * columns["mean_support"] - 1 * columns["mean_logprob"] - 1.5 * columns["content_words"]
        fine = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
        weights = calibrate.fit_weights(columns, fine)
        self.assertNotIn("mean_logprob", weights)
        self.assertGreater(weights["mean_support"], 1)
        self.assertLess(weights["content_words"], -0.8)
        self.assertEqual(calibrate.fit_weights({"mean_logprob": -fine}, fine), {"mean_logprob": 1.0})

    def test_a_logistic_regression_finds_its_weights(self) -> None:
        rng = np.random.default_rng(1)
        x = rng.normal(size=(20000, 2))
        y = (rng.random(20000) < 1 / (1 + np.exp(-(x @ [1.5, 0.5] - 0.7)))).astype(float)
        np.testing.assert_allclose(calibrate.logistic(x, y), [1.5, 0.5, -0.7], atol=0.08)

    def test_the_least_score_hides_no_more_than_it_must(self) -> None:
        scores: np.ndarray = np.repeat([0.2, 0.5, 0.8], 100)
        fine = np.ones(300)
        self.assertEqual(calibrate.least_score(scores, fine), 0.0, "nothing is wrong")
        fine[:50] = 0
        self.assertEqual(calibrate.least_score(scores, fine), 0.201, "the lowest third goes")
        fine[:] = 0
        self.assertEqual(calibrate.least_score(scores, fine), 0.5, "half of the captions stay")

    def test_curves_rise(self) -> None:
        rng = np.random.default_rng(2)
        x = np.concatenate([rng.normal(size=200), np.full(200, 0.1)])
        points = calibrate.rising_curve(x, (rng.random(400) < 0.5 + 0.1 * x).astype(float))
        for (x1, y1), (x2, y2) in pairwise(points):
            self.assertLess(x1, x2)
            self.assertLessEqual(y1, y2)

    def test_areas_count_ties_as_half(self) -> None:
        x, y = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1])
        self.assertEqual(measure.area_under_roc(x, y), 0.875)
        self.assertEqual(measure.area_under_roc(x, np.ones(4)), 0.5)

    def test_frames_keep_what_can_be_seen(self) -> None:
        for seed in range(300):
            self.assertLessEqual(len(film.damages(random.Random(seed))), 2)


if __name__ == "__main__":
    unittest.main()
