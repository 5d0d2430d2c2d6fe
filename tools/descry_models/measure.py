"""Judges a model folder through the descry binary, so that what is scored is what users run.

Captions: BLEU-1 … 4 and CIDEr by pycocoevalcap after its PTB tokenizer (needs Java). Retrieval: every human caption is a
query among all pictures. Calibration: how often a caption of that mean log-probability says what people say.
"""
import json
import random
import subprocess
from pathlib import Path

import numpy as np

from .data import read_captions, words

# A caption is a hit where at least this share of its content words stands in the human captions.
SHARE = 0.5
# Captions less often right than this are better left unsaid, but never more than MOST_UNSAID of all.
WORTH_SAYING, MOST_UNSAID = 0.5, 0.10
# Words that say little of a picture: function words, and what nearly every caption holds.
STOP = set("""a an the and or of in on at to with by for from is are was be being it its his her their there that this
these those as up down out into over while who which one some something other another next near behind front top side
background standing sitting looking being has have having""".split())


class Binary:
    def __init__(self, path, model):
        self.path, self.model = str(path), str(model)

    def run(self, *args, text=None):
        command = [self.path, "--quiet", *args, "--model", self.model]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[:4])} … exit {done.returncode}\n{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def captions(self, rows, beam=None):
        """One object a picture, in order: text, mean_logprob, score, embedding."""
        out = []
        for k in range(0, len(rows), 1000):      # command lines have a longest length
            args = ["caption", *(r["path"] for r in rows[k : k + 1000]), "--json", "--embedding", "--min-score", "0"]
            out += self.run(*args, *(["--beam", str(beam)] if beam else []))
        if len(out) != len(rows):
            raise SystemExit(f"{len(out)} captions came for {len(rows)} pictures")
        return out

    def texts(self, lines):
        return np.array([o["embedding"] for o in self.run("embed", "--text", text="\n".join(lines) + "\n")], np.float32)


def rounding(binary, exact, rounded, pictures):
    """What int8 changes on real pictures, through the descry binary: the ids of beam captions, their mean log-probability,
    and the embeddings."""
    rows = [{"path": str(p)} for p in pictures]
    before, after = (Binary(binary, folder).captions(rows) for folder in (exact, rounded))
    e, f = (np.array([o["embedding"] for o in got], np.float64) for got in (before, after))
    cosine = (e * f).sum(1) / np.linalg.norm(e, axis=1) / np.linalg.norm(f, axis=1)
    same = [sum(x == y for x, y in zip(o["ids"], p["ids"])) / max(len(o["ids"]), len(p["ids"]))
            for o, p in zip(before, after)]
    change = [p["mean_logprob"] - o["mean_logprob"] for o, p in zip(before, after)]
    return {"pictures": len(rows), "least cosine": round(float(cosine.min()), 5),
            "mean cosine": round(float(cosine.mean()), 5), "tokens alike": round(float(np.mean(same)), 4),
            "captions alike": round(float(np.mean([o["ids"] == p["ids"] for o, p in zip(before, after)])), 4),
            "change of mean log-probability": round(float(np.mean(change)), 5)}


def rows_of(captions, images, split, limit=None):
    rows = [r for r in read_captions(captions, images, "") if split == "all" or r["split"] == split]
    if not rows:
        raise SystemExit(f"{captions}: no picture of split {split}")
    return rows[:limit]


def bleu_and_cider(got, rows):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    tokens = PTBTokenizer()
    refs = tokens.tokenize({i: [{"caption": c} for c in r["captions"]] for i, r in enumerate(rows)})
    said = tokens.tokenize({i: [{"caption": o["text"] or ""}] for i, o in enumerate(got)})
    bleu, _ = Bleu(4).compute_score(refs, said, verbose=0)
    return {**{f"BLEU-{n + 1}": round(b, 4) for n, b in enumerate(bleu)},
            "CIDEr": round(float(Cider().compute_score(refs, said)[0]), 4)}


def plain_cider(rows, said):
    """CIDEr of {picture: caption} on plainly split words: near to `score`'s, without Java, for use while training."""
    from pycocoevalcap.cider.cider import Cider
    plain = lambda caption: " ".join(words(caption))
    refs = {i: [plain(c) for c in rows[i]["captions"]] for i in said}
    return float(Cider().compute_score(refs, {i: [plain(c)] for i, c in said.items()})[0])


def retrieval(binary, got, rows):
    """Text to picture and picture to text: recall@1/5/10."""
    queries = [(i, c) for i, r in enumerate(rows) for c in r["captions"]]
    pictures = np.array([o["embedding"] for o in got], np.float32)
    s = binary.texts([c.replace("\n", " ") for _, c in queries]) @ pictures.T
    own = np.array([i for i, _ in queries])
    rank = (s > s[np.arange(len(own)), own][:, None]).sum(1)
    back = np.full(len(rows), len(own))
    for i in range(len(rows)):
        back[i] = (s[:, i] > s[own == i, i].max()).sum()
    at = lambda r: {f"@{k}": round(float((r < k).mean()), 4) for k in (1, 5, 10)}
    return {"text to picture": at(rank), "picture to text": at(back)}


def score(a):
    binary, rows = Binary(a.binary, a.model), rows_of(a.captions, a.images, a.split, a.limit)
    got = binary.captions(rows, a.beam)
    manifest = json.loads((Path(a.model) / "model.json").read_text())
    result = {"model": f"{manifest['name']} {manifest['version']}", "pictures": len(rows), "split": a.split,
              "beam": a.beam or manifest["decoding"]["beam"], **bleu_and_cider(got, rows)}
    if "text" in manifest:
        result["recall"] = retrieval(binary, got, rows)
    rate = right(got, rows)
    result["right"] = round(float(rate.mean()), 4)
    scores = np.array([o["score"] if o["score"] is not None else np.nan for o in got], np.float64)
    if not np.isnan(scores).any():
        result["right, by score"] = [[round(float(scores[part].mean()), 3), round(float(rate[part].mean()), 3)]
                                     for part in np.array_split(np.argsort(scores, kind="stable"), 5)]
    print(json.dumps(result, indent=1))


def stem(word):
    """Plural, -ing and -ed off; enough to let "dogs run" meet "a dog is running"."""
    for end in ("ing", "ed", "es", "s"):
        if word.endswith(end) and len(word) - len(end) >= 3:
            word = word[: -len(end)]
            if len(word) > 3 and word[-1] == word[-2]:
                word = word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def content(caption):
    return {stem(w) for w in words(caption) if w not in STOP}


def right(got, rows):
    """1 where the caption shares its content with a human's, else 0."""
    hits = []
    for o, r in zip(got, rows):
        said, human = content(o["text"] or ""), set().union(*(content(c) for c in r["captions"]))
        hits.append(float(bool(said) and len(said & human) >= SHARE * len(said)))
    return np.array(hits)


def rising(x, y, bins=24):
    """Points (x, rate) of a curve that never falls: pool adjacent violators on equal-sized bins."""
    order = np.argsort(x, kind="stable")
    pools = [[float(x[b].mean()), float(y[b].mean()), len(b)] for b in np.array_split(order, bins)]
    out = []
    for p in pools:
        out.append(p)
        while len(out) > 1 and out[-2][1] >= out[-1][1]:
            (x1, y1, n1), (x2, y2, n2) = out[-2:]
            out[-2:] = [[(x1 * n1 + x2 * n2) / (n1 + n2), (y1 * n1 + y2 * n2) / (n1 + n2), n1 + n2]]
    return [[round(a, 3), round(b, 3)] for a, b, _ in out]


def area(x, y):
    """Area under the ROC curve."""
    up, down = x[y > 0.5], x[y < 0.5]
    return float(((up[:, None] > down).mean() + (up[:, None] >= down).mean()) / 2) if len(up) and len(down) else 0.5


def calibrate(a):
    from .export import seal
    rows = rows_of(a.captions, a.images, a.split, a.limit)
    got = Binary(a.binary, a.model).captions(rows)
    x, y = np.array([o["mean_logprob"] for o in got]), right(got, rows)
    # The honest error: a curve of one half, judged on the other.
    order = list(range(len(x)))
    random.Random(0).shuffle(order)
    halves, gaps = np.array_split(order, 2), []
    for fit, test in (halves, halves[::-1]):
        curve = np.array(rising(x[fit], y[fit], 12))
        said = np.interp(x[test], curve[:, 0], curve[:, 1])
        for part in np.array_split(np.argsort(said, kind="stable"), 5):
            gaps.append(abs(said[part].mean() - y[test][part].mean()))
    curve = rising(x, y)
    scores = np.interp(x, *np.array(curve).T)
    least = float(min(WORTH_SAYING, np.quantile(scores, MOST_UNSAID)))
    path = Path(a.model) / "model.json"
    manifest = json.loads(path.read_text())
    manifest["score"] = {"calibration": curve, "default_min_score": round(least, 3)}
    seal(a.model, manifest)
    print(json.dumps({"pictures": len(rows), "right": round(float(y.mean()), 3), "area under ROC": round(area(x, y), 3),
                      "error of a fifth, held out": round(float(np.mean(gaps)), 3), "calibration": curve,
                      "default_min_score": round(least, 3),
                      "unsaid": round(float((scores < round(least, 3)).mean()), 3),
                      "right among the unsaid": round(float(y[scores < round(least, 3)].mean()), 3)
                      if (scores < round(least, 3)).any() else None}, indent=1))


def neighbours(a):
    """Cosines that dedup's thresholds rest on: views of one picture against different pictures."""
    import tempfile
    from PIL import Image
    rows = rows_of(a.captions, a.images, a.split, a.limit)
    binary = Binary(a.binary, a.model)
    plain = np.array([o["embedding"] for o in binary.captions(rows, 1)], np.float32)
    rng, result = random.Random(0), {}

    def flip(im):
        return im.transpose(Image.FLIP_LEFT_RIGHT)

    def crop(im):
        w, h = im.size
        cw, ch = int(w * 0.85), int(h * 0.85)
        x, y = rng.randint(0, w - cw), rng.randint(0, h - ch)
        return im.crop((x, y, x + cw, y + ch))

    with tempfile.TemporaryDirectory() as folder:
        for name, change in (("mirrored", flip), ("cropped to 0.72 of the area", crop)):
            views = []
            for i, r in enumerate(rows):
                path = Path(folder) / f"{i}.png"
                change(Image.open(r["path"]).convert("RGB")).save(path, compress_level=1)
                views.append({"path": str(path)})
            other = np.array([o["embedding"] for o in binary.captions(views, 1)], np.float32)
            c = (plain * other).sum(1)
            result[name] = {q: round(float(np.quantile(c, float(q))), 3) for q in ("0.01", "0.1", "0.5")}
    s = plain @ plain.T
    np.fill_diagonal(s, -1)
    result["different pictures, a pair"] = {q: round(float(np.quantile(s, float(q))), 3) for q in ("0.5", "0.99", "0.9999")}
    result["different pictures, the nearest"] = {q: round(float(np.quantile(s.max(1), float(q))), 3)
                                                 for q in ("0.5", "0.9", "0.99")}
    print(json.dumps(result, indent=1))


def command(a):
    {"score": score, "calibrate": calibrate, "neighbours": neighbours}[a.command](a)
