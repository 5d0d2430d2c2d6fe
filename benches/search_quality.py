#!/usr/bin/env python3
"""Measures how well search finds pictures: every human caption is a query, and its picture is the answer.

Captions and embeddings come from `descry caption`. Each picture becomes a film of one keyframe in an archive that is
written with pyarrow, and `descry search --queries` answers. It prints recall@1, @5 and @10 by meaning, by words and by
both. It needs benches/requirements-search.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
FORMAT = "descry-archive/1"
# The rank of a picture that is not among the answers.
NOT_FOUND = 10


@dataclass(frozen=True)
class Model:
    """The model that described the pictures, as the archive records it."""

    name: str
    hash: str


def run(*command: object) -> list[dict[str, Any]]:
    """Runs a command and reads the JSON lines that it prints."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:4]))} …\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def read_model(model: str) -> Model:
    """A model of the repository by name, or a model folder."""
    manifest = ROOT / "models" / model / "model.json"
    data = (manifest if manifest.exists() else Path(model) / "model.json").read_bytes()
    facts = json.loads(data)
    return Model(f"{facts['name']} {facts['version']}", hashlib.sha256(data).hexdigest())


def keyframe_schema(width: int) -> pa.Schema:
    """The columns of keyframes.parquet, for embeddings of this width."""
    return pa.schema(
        [
            pa.field("video", pa.string(), False),
            pa.field("start_ms", pa.int64(), False),
            pa.field("end_ms", pa.int64(), False),
            pa.field("keyframe_ms", pa.int64(), False),
            pa.field("scene", pa.int32(), False),
            pa.field("transition", pa.string(), False),
            pa.field("caption", pa.string()),
            pa.field("said", pa.bool_(), False),
            pa.field("score", pa.float32()),
            pa.field("mean_logprob", pa.float32()),
            pa.field("repeats", pa.bool_(), False),
            pa.field("thumbnail", pa.string()),
            pa.field("model", pa.string(), False),
            pa.field("model_hash", pa.string(), False),
            pa.field("embedding", pa.list_(pa.field("element", pa.float32(), False), width), False),
        ]
    )


def write_archive(folder: Path, described: Sequence[dict[str, Any]], model: Model) -> None:
    """Writes each picture as a film of one second, in the layout of the archive format."""
    schema = keyframe_schema(len(described[0]["embedding"]))
    folder.mkdir(parents=True)
    (folder / "archive.json").write_text('{"format":"' + FORMAT + '"}\n')
    for picture in described:
        key = hashlib.sha256(picture["image"].encode()).hexdigest()[:16]
        name = f"{key}.{model.hash[:16]}"
        row = {
            "video": picture["image"],
            "start_ms": 0,
            "end_ms": 1000,
            "keyframe_ms": 0,
            "scene": 1,
            "transition": "start",
            "caption": picture["text"],
            "said": picture["said"],
            "score": picture["score"],
            "mean_logprob": picture["mean_logprob"],
            "repeats": False,
            "thumbnail": None,
            "model": model.name,
            "model_hash": model.hash,
            "embedding": picture["embedding"],
        }
        home = folder / "videos" / key[:2] / name
        home.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row], schema=schema), home / "keyframes.parquet")
        record = folder / "records" / key[:2] / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"format": FORMAT, "video": picture["image"]}))


def rank(query: str, path: str, answer: dict[str, Any]) -> int:
    """The place of the picture among the answers to a query."""
    assert answer["query"] == query
    found = [moment["video"] for moment in answer["moments"]]
    return found.index(path) if path in found else NOT_FOUND


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of pictures")
    p.add_argument(
        "--captions",
        type=Path,
        required=True,
        metavar="JSONL",
        help='captions file: {"image": NAME, "captions": [...], "split": NAME} per line',
    )
    p.add_argument("--split", default="val", help="use the pictures of this split (default: val)")
    p.add_argument("--limit", type=int, default=1000, help="use the first N pictures (default: 1000)")
    p.add_argument("--binary", type=Path, default=ROOT / "target/release/descry", help="the descry binary")
    p.add_argument("--model", default="builtin", help="model of the repository, or a model folder (default: builtin)")
    p.add_argument("--work", type=Path, metavar="DIR", help="folder that keeps the archive (default: a temporary one)")
    args = p.parse_args()
    rows = [json.loads(line) for line in args.captions.read_text().splitlines()]
    wanted = [row for row in rows if row["split"] == args.split][: args.limit]
    paths = [args.images / row["image"] for row in wanted]
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        described = run(args.binary, "caption", *paths, "--json", "--embedding", "--model", args.model)
        write_archive(work / "archive", described, read_model(args.model))
        queries = [
            (caption.replace("\n", " "), str(path))
            for path, row in zip(paths, wanted, strict=True)
            for caption in row["captions"]
        ]
        (work / "queries.txt").write_text("".join(f"{query}\n" for query, _ in queries))
        print(f"{len(paths)} pictures, {len(queries)} queries")
        for by in ("meaning", "words", "both"):
            search = ["search", work / "archive", "--queries", work / "queries.txt", "--by", by, "--json"]
            answers = run(args.binary, *search, "--model", args.model)
            ranks = [rank(query, path, a) for (query, path), a in zip(queries, answers, strict=True)]
            recall = {k: sum(r < k for r in ranks) / len(ranks) for k in (1, 5, 10)}
            print(f"by {by:8} " + "   ".join(f"recall@{k} {r:.3f}" for k, r in recall.items()))


if __name__ == "__main__":
    main()
