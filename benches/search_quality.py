#!/usr/bin/env python3
"""How well search finds pictures: every caption that people wrote is a query, the picture that they wrote it of the answer.

  search_quality.py --images DIR --captions FILE.jsonl [--split val] [--limit 1000] [--binary descry] [--work DIR]

Captions and embeddings come from `descry caption`; each picture becomes a film of one keyframe in an archive that is written
with pyarrow, and `descry search --queries` answers. Prints recall@1, @5 and @10 by meaning, by words and by both.
"""
import argparse
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:4]))} …\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def archive(folder, described, model, model_hash):
    """Writes each picture as a film of a second, in the layout of `descry-archive/1`."""
    width = len(described[0]["embedding"])
    schema = pa.schema([
        pa.field("video", pa.string(), False), pa.field("start_ms", pa.int64(), False), pa.field("end_ms", pa.int64(), False),
        pa.field("keyframe_ms", pa.int64(), False), pa.field("scene", pa.int32(), False), pa.field("transition", pa.string(), False),
        pa.field("caption", pa.string()), pa.field("said", pa.bool_(), False), pa.field("score", pa.float32()),
        pa.field("mean_logprob", pa.float32()), pa.field("repeats", pa.bool_(), False), pa.field("thumbnail", pa.string()),
        pa.field("model", pa.string(), False), pa.field("model_hash", pa.string(), False),
        pa.field("embedding", pa.list_(pa.field("element", pa.float32(), False), width), False)])
    folder.mkdir(parents=True)
    (folder / "archive.json").write_text('{"format":"descry-archive/1"}\n')
    for one in described:
        key = hashlib.sha256(one["image"].encode()).hexdigest()[:16]
        name = f"{key}.{model_hash[:16]}"
        row = {"video": one["image"], "start_ms": 0, "end_ms": 1000, "keyframe_ms": 0, "scene": 1, "transition": "start",
               "caption": one["text"], "said": one["said"], "score": one["score"], "mean_logprob": one["mean_logprob"],
               "repeats": False, "thumbnail": None, "model": model, "model_hash": model_hash, "embedding": one["embedding"]}
        home = folder / "videos" / key[:2] / name
        home.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row], schema=schema), home / "keyframes.parquet")
        record = folder / "records" / key[:2] / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"format": "descry-archive/1", "video": one["image"]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/descry")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--work", type=Path, help="kept, with the archive in it")
    args = parser.parse_args()
    wanted = [c for c in map(json.loads, args.captions.open()) if c["split"] == args.split][:args.limit]
    with tempfile.TemporaryDirectory() as passing:
        work = args.work or Path(passing)
        work.mkdir(parents=True, exist_ok=True)
        paths = [args.images / c["image"] for c in wanted]
        described = run(args.binary, "caption", *paths, "--json", "--embedding", "--model", args.model)
        manifest = ROOT / "models" / args.model / "model.json"
        manifest = (manifest if manifest.exists() else Path(args.model) / "model.json").read_bytes()
        about = json.loads(manifest)
        archive(work / "archive", described, f"{about['name']} {about['version']}", hashlib.sha256(manifest).hexdigest())
        asked = [(text.replace("\n", " "), str(path)) for path, c in zip(paths, wanted) for text in c["captions"]]
        (work / "queries.txt").write_text("".join(f"{text}\n" for text, _ in asked))
        print(f"{len(paths)} pictures, {len(asked)} queries")
        for by in ["meaning", "words", "both"]:
            told = run(args.binary, "search", work / "archive", "--queries", work / "queries.txt", "--by", by, "--json",
                       "--model", args.model)
            places = []
            for (text, path), answer in zip(asked, told, strict=True):
                assert answer["query"] == text
                found = [m["video"] for m in answer["moments"]]
                places.append(found.index(path) if path in found else 10)
            recall = {k: sum(p < k for p in places) / len(places) for k in (1, 5, 10)}
            print(f"by {by:8} " + "   ".join(f"recall@{k} {r:.3f}" for k, r in recall.items()))


if __name__ == "__main__":
    main()
