"""CIDEr-D as a reward: n-gram vectors of references are made once, document frequencies come from training captions.

The end token counts as a word, so that a caption that breaks off ("a man in a") does not score as well as one that
ends where people end.
"""
import math
from collections import Counter

SIGMA = 6.0     # of CIDEr-D's length penalty (Vedantam et al. 2015)
ORDERS = 4


def ngrams(ids):
    out = [Counter() for _ in range(ORDERS)]
    for n in range(ORDERS):
        for i in range(len(ids) - n):
            out[n][tuple(ids[i : i + n + 1])] += 1
    return out


class CiderD:
    def __init__(self, references):
        """references: per picture, a list of id lists, each with its end token."""
        grams = [[ngrams(r) for r in refs] for refs in references]
        self.frequency = Counter()
        for refs in grams:
            for n in range(ORDERS):
                self.frequency.update({g for r in refs for g in r[n]})
        self.log_pictures = math.log(max(2, len(references)))
        self.references = [[self._vector(r) + (len(ids),) for r, ids in zip(refs, raw)]
                           for refs, raw in zip(grams, references)]

    def _vector(self, grams):
        vector, norm = [], []
        for n in range(ORDERS):
            v = {g: c * (self.log_pictures - math.log(max(1.0, self.frequency[g]))) for g, c in grams[n].items()}
            vector.append(v)
            norm.append(math.sqrt(sum(x * x for x in v.values())))
        return vector, norm

    def reward(self, picture, ids):
        """CIDEr-D (times ten, as usual) of one caption, end token included."""
        vector, norm = self._vector(ngrams(ids))
        score = 0.0
        for ref, ref_norm, ref_length in self.references[picture]:
            penalty = math.exp(-((len(ids) - ref_length) ** 2) / (2 * SIGMA ** 2))
            for n in range(ORDERS):
                if norm[n] and ref_norm[n]:
                    r = ref[n]
                    dot = sum(min(x, r[g]) * r[g] for g, x in vector[n].items() if g in r)
                    score += penalty * dot / (norm[n] * ref_norm[n])
        return 10.0 * score / (ORDERS * len(self.references[picture]))
