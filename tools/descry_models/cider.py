"""CIDEr-D as a reward for self-critical training.

The n-gram vectors of the references are computed once; document frequencies come from the training captions.
The end token counts as a word, so that a caption that breaks off ("a man in a") scores less than one that ends where
people end.
"""

import math
from collections import Counter
from collections.abc import Sequence

SIGMA = 6.0  # of CIDEr-D's length penalty (Vedantam et al. 2015)
ORDERS = 4

Ids = Sequence[int]
# For each order: weights of the n-grams, and the norm of the vector.
Vectors = tuple[list[dict[tuple[int, ...], float]], list[float]]


def ngrams(ids: Ids) -> list[Counter[tuple[int, ...]]]:
    """Counts the n-grams of each order."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(ORDERS)]
    for n in range(ORDERS):
        for i in range(len(ids) - n):
            counts[n][tuple(ids[i : i + n + 1])] += 1
    return counts


class CiderD:
    """Scores captions against the references of a fixed set of pictures."""

    def __init__(self, references: Sequence[Sequence[Ids]]) -> None:
        """`references` holds, for each picture, its captions as ids, end token included."""
        grams = [[ngrams(ids) for ids in captions] for captions in references]
        self.frequency: Counter[tuple[int, ...]] = Counter()
        for captions in grams:
            for n in range(ORDERS):
                self.frequency.update({gram for counts in captions for gram in counts[n]})
        self.log_pictures = math.log(max(2, len(references)))
        self.references = [
            [(*self._vectors(counts), len(ids)) for counts, ids in zip(captions, raw, strict=True)]
            for captions, raw in zip(grams, references, strict=True)
        ]

    def _vectors(self, counts: list[Counter[tuple[int, ...]]]) -> Vectors:
        vectors, norms = [], []
        for n in range(ORDERS):
            vector = {
                gram: count * (self.log_pictures - math.log(max(1.0, self.frequency[gram])))
                for gram, count in counts[n].items()
            }
            vectors.append(vector)
            norms.append(math.sqrt(sum(x * x for x in vector.values())))
        return vectors, norms

    def reward(self, picture: int, ids: Ids) -> float:
        """CIDEr-D of one caption, end token included, times ten as usual."""
        vectors, norms = self._vectors(ngrams(ids))
        score = 0.0
        for reference, reference_norms, length in self.references[picture]:
            penalty = math.exp(-((len(ids) - length) ** 2) / (2 * SIGMA**2))
            for n in range(ORDERS):
                if norms[n] and reference_norms[n]:
                    theirs = reference[n]
                    dot = sum(min(x, theirs[gram]) * theirs[gram] for gram, x in vectors[n].items() if gram in theirs)
                    score += penalty * dot / (norms[n] * reference_norms[n])
        return 10.0 * score / (ORDERS * len(self.references[picture]))
