"""Captions, vocabulary and cached features of the training pictures."""
import json
import re
from collections import Counter
from pathlib import Path

WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")
# Sides are swapped by a flip, so captions that name one do not go with a flipped picture.
SIDES = {"left", "right"}
END, UNKNOWN = "<end>", "<unk>"


def words(caption):
    return WORD.findall(caption.lower())


def vocabulary(captions, at_least=4):
    """Words by falling frequency after <end> (0) and <unk> (1): word -> id."""
    counts = Counter(w for c in captions for w in words(c))
    kept = sorted((w for w, n in counts.items() if n >= at_least), key=lambda w: (-counts[w], w))
    return {w: i for i, w in enumerate([END, UNKNOWN, *kept])}


def read_captions(path, images, source):
    """One dict a picture: path, captions, split, source."""
    files = {p.name: p for p in Path(images).rglob("*") if p.is_file()}
    rows = []
    for line in Path(path).read_text().splitlines():
        row = json.loads(line)
        if row["image"] not in files:
            raise SystemExit(f"{path}: {row['image']} is not under {images}")
        rows.append({"image": row["image"], "path": str(files[row["image"]]), "captions": row["captions"],
                     "split": row["split"], "source": source})
    return rows
