"""The score of captions on film frames: how many of their content words occur in the human descriptions.

Words are compared by their Porter stems; function words do not count, and a few words are synonyms. A caption is right
if all of its content words occur, partly right if at least half of them do, and wrong otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

WORD = re.compile(r"[a-z0-9']+")
FUNCTION_WORDS = frozenset(
    """a an the is are be being was were of in on at to from with and or by for into onto over under near next front
    side its his her their it he she they this that there while through up down out off as some top very other another
    """.split()
)
# A caption of at least this precision is not wrong.
NOT_WRONG = 0.5
# Different stems of one meaning.
SYNONYMS = {
    "men": "man",
    "women": "woman",
    "people": "person",
    "children": "child",
    "kid": "child",
    "bicycl": "bike",
    "televis": "tv",
}


@cache
def stem(word: str) -> str:
    """The Porter stem of a word, or of its synonym."""
    from nltk.stem import PorterStemmer

    stemmed = PorterStemmer().stem(SYNONYMS.get(word, word))
    return SYNONYMS.get(stemmed, stemmed)


def content_stems(text: str) -> set[str]:
    return {stem(w) for w in WORD.findall(text.lower()) if w not in FUNCTION_WORDS}


def caption_precision(caption: str, references: Iterable[str]) -> float:
    """Share of the caption's content words that occur in one of the references; 0 for an empty caption."""
    ours = content_stems(caption)
    theirs: set[str] = set().union(*(content_stems(r) for r in references))
    return len(ours & theirs) / max(1, len(ours))


def summary(precisions: Sequence[float]) -> dict[str, float | int]:
    """Mean precision, and the shares of right, partly right and wrong captions."""
    n = max(1, len(precisions))
    right = sum(p == 1 for p in precisions)
    partly = sum(NOT_WRONG <= p < 1 for p in precisions)
    return {
        "frames": len(precisions),
        "content-word precision": round(sum(precisions) / n, 3),
        "right": round(right / n, 3),
        "partly right": round(partly / n, 3),
        "wrong": round((len(precisions) - right - partly) / n, 3),
    }


def summaries(precisions: Sequence[float], answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The summary of all captions, and of those that descry shows by default."""
    shown = [p for p, a in zip(precisions, answers, strict=True) if a.get("said", True)]
    return {"all": summary(precisions), "shown by default": summary(shown)}


def read_frames(frames: Path) -> list[dict[str, Any]]:
    """Reads a .jsonl of {"image", "captions"}."""
    return [json.loads(line) for line in frames.read_text().splitlines()]


def score_film(frames: Path, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Scores captions of frames, with the fields that `descry caption DIR --json` prints; "said" may be missing."""
    by_name = {Path(a["image"]).name: a for a in answers}
    rows = read_frames(frames)
    missing = sorted(r["image"] for r in rows if r["image"] not in by_name)
    if missing:
        raise SystemExit(f"{frames}: no caption for {', '.join(missing[:5])}")
    ours = [by_name[r["image"]] for r in rows]
    precisions = [caption_precision(a["text"] or "", r["captions"]) for a, r in zip(ours, rows, strict=True)]
    return summaries(precisions, ours)
