"""Compares lines of text that a system read in a film with the truth of text_clips.py.

Wording. Case counts in character errors, not in words. Quotes and dashes of all forms are the same, and spaces beside
punctuation make no difference. A word is a run of letters and digits; an apostrophe in it and a point, comma or colon
between its digits belong to it. A line that was read in pieces, or together with another, keeps
the words that are right.

Matching. A line that was read belongs to the line of the truth that is on the screen at the same time, within SLACK
seconds, and whose wording is most alike; and to any other line that it holds. Lines that nobody could read, because
they are small or cut off, count neither when they are read nor when they are missed.

Times. A line that moves into the picture may start anywhere from its first part to its whole, and end likewise. One
that fades starts and ends where its opacity is one half.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.fuzz import partial_ratio

SLACK = 0.5  # seconds
ALIKE = 0.5  # the least similarity of a line that was read and its truth
PART = 0.8  # the least similarity of a piece of a line with the best place in it
# The least share of two boxes' union that is in both, at which a place is right. The truth has the box of the ink, to
# which every reader adds a margin.
OVERLAP = 0.4
STAYS = ("title", "subtitle", "static", "counter")  # kinds whose place does not depend on the time
EXACT = 0.25  # seconds, within which a start or an end is right

Truth = dict[str, Any]


@dataclass
class Reading:
    """A line that a system read."""

    text: str
    start: float
    end: float
    kind: str = ""
    box: Sequence[float] | None = None
    """In fractions of the picture: left, top, width, height."""


def plain(text: str) -> str:
    """A text with one form of quotes, dashes and spaces."""
    table = {"‘": "'", "’": "'", "`": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-"}
    return " ".join(unicodedata.normalize("NFC", "".join(table.get(c, c) for c in text)).split())


def spelled(text: str) -> str:
    """A text as its characters are compared: without spaces beside punctuation."""
    return re.sub(r" ?([^\w ]) ?", r"\1", plain(text))


def words(text: str) -> list[str]:
    return re.findall(r"\w+(?:(?<=\d)[.,:](?=\d)\w+|'\w+)*", plain(text).casefold())


def folded(word: str) -> str:
    """A word without its accents."""
    table = {"ø": "o", "ł": "l", "ß": "ss", "æ": "ae", "đ": "d"}
    letters = unicodedata.normalize("NFD", "".join(table.get(c, c) for c in word))
    return "".join(c for c in letters if not unicodedata.combining(c))


def squeezed(text: str) -> str:
    """A wording without spaces, accents and case: what identifies a line that was read badly."""
    return folded(plain(text).casefold()).replace(" ", "")


def likeness(read: str, wanted: str) -> float:
    """How alike two wordings are, 0 to 1; 0 when they are different lines."""
    a, b = squeezed(read), squeezed(wanted)
    whole = float(Levenshtein.normalized_similarity(a, b))
    if whole > ALIKE or (whole == ALIKE and min(len(a), len(b)) > 4):
        return whole
    piece = set(words(read)) <= set(words(wanted)) and bool(words(read))
    if piece or (len(a) > 1 and a in b) or (min(len(a), len(b)) >= 4 and partial_ratio(a, b) / 100 >= PART):
        return max(whole, 0.01)
    return 0.0


def holds(read: str, wanted: str) -> bool:
    """Whether a reading has the whole line, and more: two lines that were read as one."""
    a, b = squeezed(read), squeezed(wanted)
    return len(a) > len(b) >= 4 and partial_ratio(a, b) / 100 >= PART


def wordings(line: Truth) -> list[str]:
    """What a line shows; that of a counter is one after the other."""
    return line.get("values") or [line["text"]]


def together(reading: Reading, line: Truth) -> bool:
    return bool(reading.start <= line["leaves"] + SLACK and reading.end >= line["enters"] - SLACK)


@dataclass
class Score:
    """Counts over some lines."""

    words: int = 0
    found: int = 0
    found_folded: int = 0
    """Words that are right but for their accents."""
    said: int = 0
    right: int = 0
    """Of the words said."""
    characters: int = 0
    errors: int = 0
    """In the lines that were matched."""
    lines: int = 0
    matched: int = 0
    kinds: int = 0
    boxes: int = 0
    readings: int = 0
    """Readings of lines in the truth, which are more than the lines when a system repeats itself."""
    false: int = 0
    """Readings of nothing."""
    starts: list[float] = field(default_factory=list)
    """How far the starts of matched lines are off, in seconds."""
    ends: list[float] = field(default_factory=list)

    def __add__(self, other: Score) -> Score:
        return Score(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def cells(self) -> list[str]:
        """The columns of COLUMNS."""

        def share(part: int, whole: int) -> str:
            return f"{part / whole:.3f}" if whole else "–"

        def times(off: Sequence[float]) -> str:
            if not off:
                return "–"
            return f"{np.mean([t <= EXACT + 1e-6 for t in off]):.2f} ({np.median(off):.2f} s)"

        return [
            str(self.words),
            share(self.found, self.words),
            share(self.found_folded, self.words),
            share(self.right, self.said),
            f"{100 * self.errors / self.characters:.1f} %" if self.characters else "–",
            times(self.starts),
            times(self.ends),
            share(self.boxes, self.matched) if self.boxes else "–",
            share(self.kinds, self.matched) if self.kinds else "–",
            f"{self.readings / self.matched:.2f}" if self.matched else "–",
            str(self.false),
        ]


COLUMNS = [
    "words",
    "recall",
    "recall without accents",
    "precision",
    "character errors",
    "starts right (median)",
    "ends right (median)",
    "place right",
    "kind right",
    "readings per line",
    "false lines",
]


def group_of(line: Truth, category: str) -> str:
    """The row of the table to which a line belongs."""
    kinds = {"scene": "signs", "subtitle": "subtitles", "static": "logos", "counter": "clocks", "rolling": category}
    overlays = "titles" if category in ("titles", "cards") else "lower thirds"
    return kinds.get(line["kind"], overlays)


def usual_group(category: str) -> str:
    """The row for what was read in a clip of this category and is not there."""
    names = {"cards": "titles", "thirds": "lower thirds", "logo": "lower thirds", "clock": "lower thirds"}
    return names.get(category, category)


def off(time: float, low: float, high: float) -> float:
    """How far a time is from a span, in which the line came in or went out bit by bit."""
    return max(low - time, time - high, 0.0)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """The share of the union of two boxes that is in both."""
    sides = [min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    both = max(0.0, sides[0]) * max(0.0, sides[1])
    return both / max(a[2] * a[3] + b[2] * b[3] - both, 1e-9)


def common(a: Iterable[str], b: Iterable[str]) -> int:
    return sum((Counter(a) & Counter(b)).values())


def judge_line(line: Truth, alike: Sequence[tuple[float, Reading]], score: Score) -> str | None:
    """Counts a line of the truth with the readings that are like it; returns what is wrong with it."""
    wanted = words(line["text"])
    score.lines += 1
    score.words += len(wanted)
    if not alike:
        return f"missed {line['text']!r} {line['start']:.2f}–{line['end']:.2f}, {line['height']:.0f} px, {line['font']}"
    _, best = max(alike, key=lambda pair: (pair[0], pair[1].end - pair[1].start))
    if "values" in line:
        wording = max(line["values"], key=lambda value: likeness(best.text, value))
        found, found_folded = (len(wanted),) * 2 if words(best.text) == words(wording) else (0, 0)
    else:
        wording = line["text"]
        got: Counter[str] = Counter()
        for _, reading in alike:
            got |= Counter(words(reading.text))
        found = common(wanted, got.elements())
        found_folded = common(map(folded, wanted), map(folded, got.elements()))
    distance = Levenshtein.distance(spelled(best.text), spelled(wording))
    score.found += found
    score.found_folded += found_folded
    score.matched += 1
    score.characters += len(spelled(wording))
    score.errors += distance
    score.kinds += best.kind == line["kind"]
    if line["kind"] in STAYS and best.box is not None:
        score.boxes += max(overlap(best.box, line[place]) for place in ("box", "rests")) >= OVERLAP
    early, late = off(best.start, line["enters"], line["start"]), off(best.end, line["end"], line["leaves"])
    score.starts.append(early)
    score.ends.append(late)
    wrong = [f"read {best.text!r}"] if distance else []
    if max(early, late) > EXACT:
        wrong.append(f"at {best.start:.2f}–{best.end:.2f}")
    if best.kind and best.kind != line["kind"]:
        wrong.append(f"as {best.kind}")
    where = f"{wording!r} {line['start']:.2f}–{line['end']:.2f} {line['kind']}"
    return f"{where}: {', '.join(wrong)}" if wrong else None


def judge_readings(readings: Sequence[Reading], meta: Truth) -> tuple[dict[str, Score], list[str]]:
    """The scores of a clip by rows of the table, and all that is wrong, as text."""
    scores: dict[str, Score] = {}
    notes: list[str] = []

    def row(name: str) -> Score:
        return scores.setdefault(name, Score())

    category = meta["category"]
    alike: list[list[tuple[float, Reading]]] = [[] for _ in meta["lines"]]
    for reading in readings:
        rates = [
            (max(likeness(reading.text, w) for w in wordings(line)) if together(reading, line) else 0.0, k)
            for k, line in enumerate(meta["lines"])
        ]
        best = max(rates, default=(0.0, -1))
        near = [
            (rate, k)
            for rate, k in rates
            if rate > 0 and (rate == best[0] or holds(reading.text, meta["lines"][k]["text"]))
        ]
        said = words(reading.text)
        if not near:
            score = row(usual_group(category))
            score.false += 1
            score.said += len(said)
            notes.append(f"false {reading.text!r} {reading.start:.2f}–{reading.end:.2f} {reading.kind}")
            continue
        for rate, k in near:
            alike[k].append((rate, reading))
        line = meta["lines"][best[1]]
        if line["legible"]:
            score = row(group_of(line, category))
            known: Counter[str] = Counter()
            for _, k in near:
                for wording in wordings(meta["lines"][k]):
                    known |= Counter(words(wording))
            score.readings += 1
            score.said += len(said)
            score.right += common(said, known.elements())
    for line, pairs in zip(meta["lines"], alike, strict=True):
        if line["legible"]:
            note = judge_line(line, pairs, row(group_of(line, category)))
            if note:
                notes.append(note)
    return scores, notes
