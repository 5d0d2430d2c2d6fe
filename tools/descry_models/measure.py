"""Judges a model folder through the descry binary, so that the figures are those of what users run.

Captions: BLEU-1 … 4 and CIDEr by pycocoevalcap after its PTB tokenizer (needs Java); content words by `film_score`, on
the pictures as they are and as film frames. Retrieval: every human caption is a query among all pictures.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .data import Picture, read_pictures, words
from .film import film_frame
from .film_score import NOT_WRONG, caption_precision, read_frames, summaries

# The command line of one run must not get too long.
PICTURES_PER_RUN = 1000
# A rule for holding pictures back, for collections without a split: the first of every ten in the captions file.
EVERY_TENTH = "every-tenth"

Answer = dict[str, Any]


@dataclass(frozen=True)
class Collection:
    """The held-back pictures of one captions file."""

    name: str
    split: str
    pictures: list[Picture]


@dataclass(frozen=True)
class JudgeOptions:
    """What `score`, `calibrate` and `neighbours` need."""

    model: Path
    captions: Sequence[Path]
    images: Sequence[Path]
    """Folders of the pictures, one for each captions file."""
    binary: Path
    split: Sequence[str] | None = None
    """Which pictures, for each captions file or for all: those of this split, EVERY_TENTH, or "all". Default: "val"."""
    limit: int | None = None
    """Only the first so many pictures of each captions file. Default: all."""
    beam: int | None = None
    """Default: the model's own."""
    film: Path | None = None
    """`score`: film frames with human descriptions, a .jsonl beside its pictures."""
    references: int = 3
    """`calibrate`: fit on pictures with at least so many human captions."""
    films: Path | None = None
    """`neighbours`: a folder of films."""

    def collections(self) -> list[Collection]:
        if len(self.captions) != len(self.images):
            raise SystemExit("--captions and --images go together: give one folder for each captions file")
        splits = list(self.split or ["val"])
        if len(splits) == 1:
            splits *= len(self.captions)
        if len(splits) != len(self.captions):
            raise SystemExit("--split goes with --captions: give one for all captions files, or one for each")
        return [self.collection(*which) for which in zip(self.captions, self.images, splits, strict=True)]

    def collection(self, captions: Path, images: Path, split: str) -> Collection:
        pictures = read_pictures(captions, images)
        kept = pictures[::10] if split == EVERY_TENTH else [p for p in pictures if split in ("all", p.split)]
        if not kept:
            raise SystemExit(f"{captions}: no picture of split {split}")
        return Collection(captions.name, split, kept[: self.limit])


class Binary:
    """The descry binary with one model."""

    def __init__(self, path: str | Path, model: str | Path) -> None:
        self.path, self.model = str(path), str(model)

    def output(self, *args: str, text: str | None = None) -> str:
        """Runs a command and returns what it prints."""
        command = [self.path, "--quiet", *args, "--model", self.model]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[:4])} … exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def run(self, *args: str, text: str | None = None) -> list[Answer]:
        """Runs a command and reads the JSON lines that it prints."""
        return [json.loads(line) for line in self.output(*args, text=text).splitlines()]

    def is_video(self, path: Path) -> bool:
        return subprocess.run([self.path, "--quiet", "probe", str(path)], capture_output=True).returncode == 0

    def captions(self, paths: Sequence[str], beam: int | None = None) -> list[Answer]:
        """One answer per picture, in order: text, ids, mean_logprob, score, said (by default), embedding.

        Models with a word detector add mean_support, least_support and word_support.
        """
        answers: list[Answer] = []
        more = ["--beam", str(beam)] if beam else []
        for start in range(0, len(paths), PICTURES_PER_RUN):
            some = paths[start : start + PICTURES_PER_RUN]
            answers += self.run("caption", *some, "--json", "--embedding", *more)
        if len(answers) != len(paths):
            raise SystemExit(f"{self.path}: {len(answers)} captions for {len(paths)} pictures")
        return answers

    def embeddings(self, paths: Sequence[str]) -> np.ndarray:
        answers: list[Answer] = []
        for start in range(0, len(paths), PICTURES_PER_RUN):
            answers += self.run("embed", *paths[start : start + PICTURES_PER_RUN])
        if len(answers) != len(paths):
            raise SystemExit(f"{self.path}: {len(answers)} embeddings for {len(paths)} pictures")
        return np.array([a["embedding"] for a in answers], np.float32)

    def texts(self, lines: Sequence[str]) -> np.ndarray:
        """Embeddings of texts."""
        answers = self.run("embed", "--text", text="\n".join(lines) + "\n")
        return np.array([a["embedding"] for a in answers], np.float32)


def paths_of(pictures: Sequence[Picture]) -> list[str]:
    return [p.path for p in pictures]


def film_views(pictures: Sequence[Picture], folder: str | Path) -> list[str]:
    """Writes each picture as a film frame, in the shape that it has then, and returns the paths.

    The name of a picture is the seed of its view.
    """
    paths = []
    for i, picture in enumerate(pictures):
        path = Path(folder) / f"{i}.png"
        with Image.open(picture.path) as image:
            film_frame(image, random.Random(f"film {picture.image}")).save(path, compress_level=1)
        paths.append(str(path))
    return paths


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


# ---- content words ---------------------------------------------------------------------------------------------------


def precisions(answers: Sequence[Answer], pictures: Sequence[Picture]) -> np.ndarray:
    """Content-word precision of each caption."""
    pairs = zip(answers, pictures, strict=True)
    return np.array([caption_precision(a["text"] or "", p.captions) for a, p in pairs], np.float64)


def area_under_roc(x: np.ndarray, y: np.ndarray) -> float:
    """How well x tells those with y = 1 from those with y = 0: 0.5 is chance. 0.5 if all have the same y."""
    up, down = x[y > 0.5], np.sort(x[y < 0.5])
    if not len(up) or not len(down):
        return 0.5
    below = np.searchsorted(down, up, "left") + np.searchsorted(down, up, "right")
    return float(below.mean() / 2 / len(down))


def content_words(answers: Sequence[Answer], pictures: Sequence[Picture]) -> dict[str, Any]:
    """How many content words are right, in all captions and in those that are shown, and what the scores are worth."""
    found = precisions(answers, pictures)
    result = summaries(list(found), answers)
    if any(a["score"] is None for a in answers):
        return result
    scores, fine = np.array([a["score"] for a in answers], np.float64), found >= NOT_WRONG
    fifths = np.array_split(np.argsort(scores, kind="stable"), 5)
    return {
        **result,
        "area under ROC of the score, for not wrong": round(area_under_roc(scores, fine), 3),
        "not wrong, by score": [
            [round(float(scores[part].mean()), 3), round(float(fine[part].mean()), 3)] for part in fifths if len(part)
        ],
    }


# ---- the command -----------------------------------------------------------------------------------------------------


def score_collection(binary: Binary, collection: Collection, beam: int | None, texts: bool) -> dict[str, Any]:
    """`texts`: the model has a text tower."""
    pictures = collection.pictures
    answers = binary.captions(paths_of(pictures), beam)
    result: dict[str, Any] = {
        "captions": collection.name,
        "split": collection.split,
        "pictures": len(pictures),
        **bleu_and_cider(answers, pictures),
    }
    if texts:
        result["recall"] = retrieval(binary, answers, pictures)
    result["as they are"] = content_words(answers, pictures)
    with tempfile.TemporaryDirectory() as folder:
        result["as film frames"] = content_words(binary.captions(film_views(pictures, folder), beam), pictures)
    return result


def score(options: JudgeOptions) -> None:
    """Prints how good captions are: BLEU, CIDEr, retrieval, content words, and what the scores are worth."""
    binary, beam = Binary(options.binary, options.model), options.beam
    manifest = json.loads((options.model / "model.json").read_text())
    result: dict[str, Any] = {
        "model": f"{manifest['name']} {manifest['version']}",
        "beam": beam or manifest["decoding"]["beam"],
        "collections": [score_collection(binary, c, beam, "text" in manifest) for c in options.collections()],
    }
    if options.film:
        folder = options.film.parent
        frames = [
            Picture(row["image"], str(folder / row["image"]), row["captions"], "film")
            for row in read_frames(options.film)
        ]
        result["film"] = content_words(binary.captions(paths_of(frames), beam), frames)
    print(json.dumps(result, indent=1))
