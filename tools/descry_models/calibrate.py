"""What a caption's score means: how often captions with the same evidence are not wrong.

Evidence is the mean log-probability of a caption and, for models with a word detector, how well the picture supports
its content words. A logistic regression weighs it, a rising curve turns the weighted sum into the score, and a measured
rule sets the least score that is shown. All of it is fitted on held-back pictures, as they are and as film frames.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .data import Picture
from .export import seal
from .film_score import NOT_WRONG
from .measure import Answer, Binary, Collection, JudgeOptions, area_under_roc, film_views, paths_of, precisions

# Evidence of which more must never lower the score. The number of content words may count either way.
RISING = ("mean_logprob", "mean_support", "least_support")
EVIDENCE = (*RISING, "content_words")
# Of the captions of film frames that are shown, at most MOST_WRONG may be wrong, unless fewer than LEAST_SHOWN of all
# captions would be left.
MOST_WRONG, LEAST_SHOWN = 0.12, 0.5
VIEWS = ("as they are", "as film frames")

# Weights of the evidence, by name.
Weights = dict[str, float]


# ---- evidence --------------------------------------------------------------------------------------------------------


def evidence(answers: Sequence[Answer]) -> dict[str, np.ndarray]:
    """The columns of EVIDENCE that the answers have."""
    columns: dict[str, Any] = {"mean_logprob": [a["mean_logprob"] for a in answers]}
    supported = sum(a.get("word_support") is not None for a in answers)
    if supported not in (0, len(answers)):
        raise SystemExit(f"{len(answers) - supported} of {len(answers)} captions have no word_support")
    if supported:
        # A caption without content words has nothing that could be wrong.
        columns["mean_support"] = [a["mean_support"] or 0.0 for a in answers]
        columns["least_support"] = [a["least_support"] or 0.0 for a in answers]
        columns["content_words"] = [sum(s < 0 for s in a["word_support"]) for a in answers]
    return {name: np.array(column, np.float64) for name, column in columns.items()}


def logistic(x: np.ndarray, y: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """Weights of the columns of x, which have unit variance, by Newton's method. The intercept, last, is free."""
    inputs = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.diag([ridge] * x.shape[1] + [1e-6])
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        rate = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        gradient = inputs.T @ (rate - y) + penalty @ weights
        curvature = (inputs * (rate * (1 - rate))[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def fit_weights(columns: dict[str, np.ndarray], y: np.ndarray) -> Weights:
    """Weighs the evidence. What would lower the score where it must not is left out, the worst first."""
    names = [name for name in EVIDENCE if name in columns and columns[name].std() > 0]
    while any(name in RISING for name in names):
        spread = np.array([columns[name].std() for name in names])
        x = np.stack([columns[name] - columns[name].mean() for name in names], 1) / spread
        fitted = logistic(x, y)[:-1]
        worst = min((w, name) for w, name in zip(fitted, names, strict=True) if name in RISING)
        if worst[0] >= 0:
            return {name: round(float(w), 4) for name, w in zip(names, fitted / spread, strict=True)}
        names.remove(worst[1])
    return {"mean_logprob": 1.0}


def weigh(columns: dict[str, np.ndarray], weights: Weights) -> np.ndarray:
    """The number that the calibration curve reads, for each caption."""
    return np.sum([weight * columns[name] for name, weight in weights.items()], 0)


# ---- the curve and the least score -----------------------------------------------------------------------------------


def rising_curve(x: np.ndarray, y: np.ndarray, bins: int = 24) -> list[list[float]]:
    """Points (x, rate) of a curve that never falls: pool adjacent violators on bins of equal size."""
    order = np.argsort(x, kind="stable")
    out: list[list[float]] = []
    for part in np.array_split(order, min(bins, len(x))):
        out.append([float(x[part].mean()), float(y[part].mean()), len(part)])
        # Points that rounding would put at one place are one point too.
        while len(out) > 1 and (out[-2][1] >= out[-1][1] or round(out[-2][0], 3) >= round(out[-1][0], 3)):
            (x1, y1, n1), (x2, y2, n2) = out[-2:]
            out[-2:] = [[(x1 * n1 + x2 * n2) / (n1 + n2), (y1 * n1 + y2 * n2) / (n1 + n2), n1 + n2]]
    return [[round(a, 3), round(b, 3)] for a, b, _ in out]


def least_score(scores: np.ndarray, fine: np.ndarray) -> float:
    """The lowest threshold at which few enough of the shown captions are wrong, or else the one that shows half."""
    half = 0.0
    for threshold in np.arange(1001) / 1000:
        shown = scores >= threshold - 1e-9
        if shown.mean() < LEAST_SHOWN:
            break
        half = float(threshold)
        if 1 - fine[shown].mean() <= MOST_WRONG:
            break
    return half


@dataclass(frozen=True)
class Calibration:
    """How scores follow from evidence, and which are shown."""

    weights: Weights
    curve: list[list[float]]
    least: float

    def scores(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        return np.interp(weigh(columns, self.weights), *np.array(self.curve).T)


@dataclass(frozen=True)
class Captions:
    """Captions of pictures in both views: evidence, whether they are not wrong, and where they come from."""

    columns: dict[str, np.ndarray]
    fine: np.ndarray
    picture: np.ndarray
    """Number of the picture."""
    film: np.ndarray
    """True for the view as a film frame."""

    def only(self, mask: np.ndarray) -> Captions:
        columns = {name: column[mask] for name, column in self.columns.items()}
        return Captions(columns, self.fine[mask], self.picture[mask], self.film[mask])


def fit(captions: Captions, bins: int = 24) -> Calibration:
    weights = {"mean_logprob": 1.0}
    if len(captions.columns) > 1:
        weights = fit_weights(captions.columns, captions.fine)
    curve = rising_curve(weigh(captions.columns, weights), captions.fine, bins)
    film = captions.only(captions.film)
    return Calibration(weights, curve, least_score(Calibration(weights, curve, 0).scores(film.columns), film.fine))


# ---- what it is worth ------------------------------------------------------------------------------------------------


def figures(captions: Captions, calibration: Calibration) -> dict[str, float]:
    """How far a calibration holds on captions that it was not fitted on."""
    scores, fine = calibration.scores(captions.columns), captions.fine
    shown = scores >= calibration.least - 1e-9
    fifths = [part for part in np.array_split(np.argsort(scores, kind="stable"), 5) if len(part)]
    return {
        "area under ROC, mean log-probability alone": area_under_roc(captions.columns["mean_logprob"], fine),
        "area under ROC, all evidence": area_under_roc(weigh(captions.columns, calibration.weights), fine),
        "error of a fifth": float(np.mean([abs(scores[part].mean() - fine[part].mean()) for part in fifths])),
        "wrong": 1 - float(fine.mean()),
        "shown": float(shown.mean()),
        "wrong among the shown": 1 - float(fine[shown].mean()) if shown.any() else 0.0,
    }


def by_view(captions: Captions, judges: Sequence[tuple[np.ndarray, Calibration]]) -> dict[str, Any]:
    """Figures for each view, averaged over the judges: calibrations with the captions that each of them judges."""
    report = {}
    for view, film in zip(VIEWS, (False, True), strict=True):
        parts = [(captions.only(mask & (captions.film == film)), calibration) for mask, calibration in judges]
        results = [figures(part, calibration) for part, calibration in parts if len(part.fine)]
        if results:
            report[view] = {name: round(float(np.mean([r[name] for r in results])), 3) for name in results[0]}
    return report


def halves(captions: Captions) -> list[np.ndarray]:
    """Two masks that split the captions by picture, at random."""
    numbers = sorted(set(captions.picture.tolist()))
    random.Random(0).shuffle(numbers)
    first = np.isin(captions.picture, numbers[: len(numbers) // 2])
    return [first, ~first]


# ---- the command -----------------------------------------------------------------------------------------------------


def caption_both_views(binary: Binary, pictures: Sequence[Picture]) -> Captions:
    answers = binary.captions(paths_of(pictures))
    with tempfile.TemporaryDirectory() as folder:
        answers += binary.captions(film_views(pictures, folder))
    fine = (precisions(answers, [*pictures, *pictures]) >= NOT_WRONG).astype(np.float64)
    number = np.arange(len(pictures))
    film: np.ndarray = np.repeat([False, True], len(pictures))
    return Captions(evidence(answers), fine, np.concatenate([number, number]), film)


def groups(collections: Sequence[Collection], pictures: Sequence[Picture], least: int) -> dict[str, np.ndarray]:
    """Numbers of the pictures of each collection, apart by whether they have `least` human captions."""
    found: dict[str, np.ndarray] = {}
    start = 0
    enough = np.array([len(p.captions) >= least for p in pictures])
    for collection in collections:
        numbers = np.arange(start, start + len(collection.pictures))
        start += len(numbers)
        for text, chosen in ((f"{least} human captions or more", enough), (f"fewer than {least}", ~enough)):
            if chosen[numbers].any():
                found[f"{collection.name} ({collection.split}), {text}"] = numbers[chosen[numbers]]
    return found


def calibrate(options: JudgeOptions) -> None:
    """Fits scores to held-back pictures, writes them into model.json, and prints how far they hold on others."""
    collections = options.collections()
    pictures = [p for c in collections for p in c.pictures]
    every = caption_both_views(Binary(options.binary, options.model), pictures)
    enough = np.array([len(p.captions) >= options.references for p in pictures])[every.picture]
    if enough.sum() < 8:
        raise SystemExit(
            f"{enough.sum() // 2} pictures have {options.references} human captions: give more pictures, or a lower "
            "--references"
        )
    calibration = fit(every.only(enough))
    manifest = json.loads((options.model / "model.json").read_text())
    manifest["score"] = {"calibration": calibration.curve, "default_min_score": calibration.least}
    if len(every.columns) > 1:
        manifest["score"]["evidence"] = {name: calibration.weights.get(name, 0.0) for name in EVIDENCE}
    seal(options.model, manifest)

    # Each half judges the other half; pictures with few captions are judged by what was written.
    first, second = halves(every)
    judges = [
        (enough & second, fit(every.only(enough & first), 12)),
        (enough & first, fit(every.only(enough & second), 12)),
        (~enough, calibration),
    ]
    report = {
        "written": manifest["score"],
        "held out": by_view(every, judges[:2]),
        "held out, by collection": {
            f"{name}: {len(numbers)} pictures": by_view(
                every, [(mask & np.isin(every.picture, numbers), judge) for mask, judge in judges]
            )
            for name, numbers in groups(collections, pictures, options.references).items()
        },
    }
    print(json.dumps(report, indent=1))
