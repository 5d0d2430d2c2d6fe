"""Judges a model folder through the descry binary, so that the figures are those of what users run.

Captions: BLEU-1 … 4 and CIDEr by pycocoevalcap after its PTB tokenizer (needs Java). Retrieval: every human caption is
a query among all pictures. Calibration: how often a caption of a given mean log-probability agrees with the human
captions.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .data import Picture, read_pictures, words

# A caption is right when at least this share of its content words occurs in the human captions.
SHARE = 0.5
# Captions that are right less often than this are better not shown, but never hide more than MOST_HIDDEN of all.
WORTH_SHOWING, MOST_HIDDEN = 0.5, 0.10
# Words that carry little about a picture: function words, and what nearly every caption has.
STOP = frozenset(
    """a an the and or of in on at to with by for from is are was be being it its his her their there that this
these those as up down out into over while who which one some something other another next near behind front top side
background standing sitting looking being has have having""".split()
)
# The command line of one run must not get too long.
PICTURES_PER_RUN = 1000

Answer = dict[str, Any]


@dataclass(frozen=True)
class JudgeOptions:
    """What `score`, `calibrate` and `neighbours` need."""

    model: Path
    captions: Path
    images: Path
    binary: Path
    split: str = "val"
    """Pictures of this split, or "all"."""
    limit: int | None = None
    """Only the first so many pictures. Default: all."""
    beam: int | None = None
    """Default: the model's own."""

    def pictures(self) -> list[Picture]:
        pictures = read_pictures(self.captions, self.images)
        pictures = [p for p in pictures if self.split in ("all", p.split)]
        if not pictures:
            raise SystemExit(f"{self.captions}: no picture of split {self.split}")
        return pictures[: self.limit]


class Binary:
    """The descry binary with one model."""

    def __init__(self, path: str | Path, model: str | Path) -> None:
        self.path, self.model = str(path), str(model)

    def run(self, *args: str, text: str | None = None) -> list[Answer]:
        """Runs a command and reads the JSON lines that it prints."""
        command = [self.path, "--quiet", *args, "--model", self.model]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[:4])} … exit {done.returncode}\n{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def captions(self, paths: Sequence[str], beam: int | None = None) -> list[Answer]:
        """One answer per picture, in order: text, ids, mean_logprob, score, embedding."""
        answers: list[Answer] = []
        more = ["--beam", str(beam)] if beam else []
        for start in range(0, len(paths), PICTURES_PER_RUN):
            some = paths[start : start + PICTURES_PER_RUN]
            answers += self.run("caption", *some, "--json", "--embedding", "--min-score", "0", *more)
        if len(answers) != len(paths):
            raise SystemExit(f"{self.path}: {len(answers)} captions for {len(paths)} pictures")
        return answers

    def embeddings(self, paths: Sequence[str]) -> np.ndarray:
        return np.array([a["embedding"] for a in self.captions(paths, 1)], np.float32)

    def texts(self, lines: Sequence[str]) -> np.ndarray:
        """Embeddings of texts."""
        answers = self.run("embed", "--text", text="\n".join(lines) + "\n")
        return np.array([a["embedding"] for a in answers], np.float32)


def paths_of(pictures: Sequence[Picture]) -> list[str]:
    return [p.path for p in pictures]


def rounding_cost(binary: str | Path, exact: Path, rounded: Path, pictures: Sequence[str | Path]) -> dict[str, Any]:
    """What int8 changes on real pictures: ids of beam captions, their mean log-probability, and embeddings."""
    paths = [str(p) for p in pictures]
    before, after = (Binary(binary, folder).captions(paths) for folder in (exact, rounded))
    e, f = (np.array([a["embedding"] for a in answers], np.float64) for answers in (before, after))
    cosine = (e * f).sum(1) / np.linalg.norm(e, axis=1) / np.linalg.norm(f, axis=1)
    pairs = list(zip(before, after, strict=True))
    alike = [
        # Only the common length can agree.
        sum(x == y for x, y in zip(b["ids"], a["ids"], strict=False)) / max(len(b["ids"]), len(a["ids"]))
        for b, a in pairs
    ]
    change = [a["mean_logprob"] - b["mean_logprob"] for b, a in pairs]
    return {
        "pictures": len(paths),
        "least cosine": round(float(cosine.min()), 5),
        "mean cosine": round(float(cosine.mean()), 5),
        "tokens alike": round(float(np.mean(alike)), 4),
        "captions alike": round(float(np.mean([b["ids"] == a["ids"] for b, a in pairs])), 4),
        "change of mean log-probability": round(float(np.mean(change)), 5),
    }


# ---- captions and retrieval ------------------------------------------------------------------------------------------


def bleu_and_cider(answers: Sequence[Answer], pictures: Sequence[Picture]) -> dict[str, float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    references = tokenizer.tokenize({i: [{"caption": c} for c in p.captions] for i, p in enumerate(pictures)})
    candidates = tokenizer.tokenize({i: [{"caption": a["text"] or ""}] for i, a in enumerate(answers)})
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    cider, _ = Cider().compute_score(references, candidates)
    return {**{f"BLEU-{n + 1}": round(b, 4) for n, b in enumerate(bleu)}, "CIDEr": round(float(cider), 4)}


def plain_cider(pictures: Sequence[Picture], captions: Mapping[int, str]) -> float:
    """CIDEr of {picture: caption} on plainly split words: close to `score`'s, without Java, for use while training."""
    from pycocoevalcap.cider.cider import Cider

    def plain(caption: str) -> str:
        return " ".join(words(caption))

    references = {i: [plain(c) for c in pictures[i].captions] for i in captions}
    return float(Cider().compute_score(references, {i: [plain(c)] for i, c in captions.items()})[0])


def retrieval(binary: Binary, answers: Sequence[Answer], pictures: Sequence[Picture]) -> dict[str, dict[str, float]]:
    """Recall@1/5/10 from text to picture and from picture to text."""
    queries = [(i, c) for i, p in enumerate(pictures) for c in p.captions]
    embeddings = np.array([a["embedding"] for a in answers], np.float32)
    similarity = binary.texts([c.replace("\n", " ") for _, c in queries]) @ embeddings.T
    own = np.array([i for i, _ in queries])
    rank = (similarity > similarity[np.arange(len(own)), own][:, None]).sum(1)
    back = np.full(len(pictures), len(own))
    for i in range(len(pictures)):
        back[i] = (similarity[:, i] > similarity[own == i, i].max()).sum()

    def recall(ranks: np.ndarray) -> dict[str, float]:
        return {f"@{k}": round(float((ranks < k).mean()), 4) for k in (1, 5, 10)}

    return {"text to picture": recall(rank), "picture to text": recall(back)}


def score(options: JudgeOptions) -> None:
    """Prints BLEU, CIDEr, retrieval, and how often captions are right, in all and by their score."""
    binary, pictures = Binary(options.binary, options.model), options.pictures()
    answers = binary.captions(paths_of(pictures), options.beam)
    manifest = json.loads((options.model / "model.json").read_text())
    result: dict[str, Any] = {
        "model": f"{manifest['name']} {manifest['version']}",
        "pictures": len(pictures),
        "split": options.split,
        "beam": options.beam or manifest["decoding"]["beam"],
        **bleu_and_cider(answers, pictures),
    }
    if "text" in manifest:
        result["recall"] = retrieval(binary, answers, pictures)
    hits = right(answers, pictures)
    result["right"] = round(float(hits.mean()), 4)
    scores = np.array([a["score"] if a["score"] is not None else np.nan for a in answers], np.float64)
    if not np.isnan(scores).any():
        fifths = np.array_split(np.argsort(scores, kind="stable"), 5)
        result["right, by score"] = [
            [round(float(scores[part].mean()), 3), round(float(hits[part].mean()), 3)] for part in fifths
        ]
    print(json.dumps(result, indent=1))


# ---- what a score means ----------------------------------------------------------------------------------------------


def stem(word: str) -> str:
    """Removes plural, -ing and -ed: enough for "dogs run" to meet "a dog is running"."""
    for end in ("ing", "ed", "es", "s"):
        if word.endswith(end) and len(word) - len(end) >= 3:
            word = word[: -len(end)]
            if len(word) > 3 and word[-1] == word[-2]:
                word = word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def content(caption: str) -> set[str]:
    """Stems of the content words."""
    return {stem(w) for w in words(caption) if w not in STOP}


def right(answers: Sequence[Answer], pictures: Sequence[Picture]) -> np.ndarray:
    """1 where a caption shares its content with the human ones, else 0."""
    hits = []
    for answer, picture in zip(answers, pictures, strict=True):
        ours = content(answer["text"] or "")
        human: set[str] = set().union(*(content(c) for c in picture.captions))
        hits.append(float(bool(ours) and len(ours & human) >= SHARE * len(ours)))
    return np.array(hits)


def rising_curve(x: np.ndarray, y: np.ndarray, bins: int = 24) -> list[list[float]]:
    """Points (x, rate) of a curve that never falls: pool adjacent violators on bins of equal size."""
    order = np.argsort(x, kind="stable")
    out: list[list[float]] = []
    for part in np.array_split(order, bins):
        out.append([float(x[part].mean()), float(y[part].mean()), len(part)])
        while len(out) > 1 and out[-2][1] >= out[-1][1]:
            (x1, y1, n1), (x2, y2, n2) = out[-2:]
            out[-2:] = [[(x1 * n1 + x2 * n2) / (n1 + n2), (y1 * n1 + y2 * n2) / (n1 + n2), n1 + n2]]
    return [[round(a, 3), round(b, 3)] for a, b, _ in out]


def area_under_roc(x: np.ndarray, y: np.ndarray) -> float:
    up, down = x[y > 0.5], x[y < 0.5]
    if not len(up) or not len(down):
        return 0.5
    return float(((up[:, None] > down).mean() + (up[:, None] >= down).mean()) / 2)


def held_out_error(x: np.ndarray, y: np.ndarray) -> float:
    """Mean error of a fifth of the captions, for a curve that is fitted to one half and judged on the other."""
    order = list(range(len(x)))
    random.Random(0).shuffle(order)
    halves = np.array_split(order, 2)
    gaps: list[float] = []
    for fitted, judged in (halves, halves[::-1]):
        curve = np.array(rising_curve(x[fitted], y[fitted], 12))
        expected = np.interp(x[judged], curve[:, 0], curve[:, 1])
        fifths = np.array_split(np.argsort(expected, kind="stable"), 5)
        gaps += [abs(expected[part].mean() - y[judged][part].mean()) for part in fifths]
    return float(np.mean(gaps))


def evidence(answer: Answer, weights: dict[str, float] | None) -> float:
    """What a caption's score comes from: the weighted sum that the manifest names, or the mean log-probability."""
    if weights is None:
        return float(answer["mean_logprob"])
    values = {**answer, "content_words": sum(v < 0 for v in answer["word_support"])}
    return float(sum(weight * values[name] for name, weight in weights.items()))


def calibrate(options: JudgeOptions) -> None:
    """Fits the curve from evidence to score, writes it into model.json, and prints how good it is."""
    from .export import seal

    pictures = options.pictures()
    answers = Binary(options.binary, options.model).captions(paths_of(pictures))
    manifest = json.loads((options.model / "model.json").read_text())
    weights = (manifest.get("score") or {}).get("evidence")
    x, y = np.array([evidence(a, weights) for a in answers]), right(answers, pictures)
    curve = rising_curve(x, y)
    scores = np.interp(x, *np.array(curve).T)
    least = round(float(min(WORTH_SHOWING, np.quantile(scores, MOST_HIDDEN))), 3)
    manifest["score"] = {"calibration": curve, "default_min_score": least}
    if weights is not None:
        manifest["score"]["evidence"] = weights
    seal(options.model, manifest)
    hidden = scores < least
    report = {
        "pictures": len(pictures),
        "right": round(float(y.mean()), 3),
        "area under ROC": round(area_under_roc(x, y), 3),
        "error of a fifth, held out": round(held_out_error(x, y), 3),
        "calibration": curve,
        "default_min_score": least,
        "hidden": round(float(hidden.mean()), 3),
        "right among the hidden": round(float(y[hidden].mean()), 3) if hidden.any() else None,
    }
    print(json.dumps(report, indent=1))


# ---- cosines of neighbours -------------------------------------------------------------------------------------------


def mirrored(image: Image.Image, _: random.Random) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def cropped(image: Image.Image, rng: random.Random) -> Image.Image:
    """A random crop of 0.85 of each side."""
    width, height = image.size
    crop_width, crop_height = int(width * 0.85), int(height * 0.85)
    x, y = rng.randint(0, width - crop_width), rng.randint(0, height - crop_height)
    return image.crop((x, y, x + crop_width, y + crop_height))


def quantiles(values: np.ndarray, *which: str) -> dict[str, float]:
    return {q: round(float(np.quantile(values, float(q))), 3) for q in which}


def neighbours(options: JudgeOptions) -> None:
    """Prints the cosines that dedup's thresholds rest on: views of one picture against different pictures."""
    pictures = options.pictures()
    binary, rng = Binary(options.binary, options.model), random.Random(0)
    plain = binary.embeddings(paths_of(pictures))
    result = {}
    changes: tuple[tuple[str, Callable[[Image.Image, random.Random], Image.Image]], ...] = (
        ("mirrored", mirrored),
        ("cropped to 0.72 of the area", cropped),
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, change in changes:
            views = []
            for i, picture in enumerate(pictures):
                path = Path(folder) / f"{i}.png"
                change(Image.open(picture.path).convert("RGB"), rng).save(path, compress_level=1)
                views.append(str(path))
            result[name] = quantiles((plain * binary.embeddings(views)).sum(1), "0.01", "0.1", "0.5")
    cosines = plain @ plain.T
    np.fill_diagonal(cosines, -1)
    result["different pictures, a pair"] = quantiles(cosines, "0.5", "0.99", "0.9999")
    result["different pictures, the nearest"] = quantiles(cosines.max(1), "0.5", "0.9", "0.99")
    print(json.dumps(result, indent=1))
