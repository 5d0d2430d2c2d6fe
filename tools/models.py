#!/usr/bin/env python3
"""Makes model folders for descry. Never needed to run it.

  models.py train-builtin --flickr8k X.jsonl DIR --coco X.jsonl DIR --work DIR --out DIR
  models.py train --clip built-in|DIR|FILE --lm DIR|FILE --mapper mlp|transformer --captions X.jsonl --images DIR --out DIR
  models.py import --clipcap FILE --clip DIR|FILE --tokenizer FILE --out DIR [--preset NAME]    a published ClipCap
  models.py score      --model DIR --captions X.jsonl --images DIR    BLEU, CIDEr, retrieval, through the descry binary
  models.py calibrate  --model DIR --captions X.jsonl --images DIR    what a caption's score means; into model.json
  models.py round-tower --model DIR --captions X.jsonl --images DIR   a convolutional image tower in whole numbers, in place
  models.py neighbours --model DIR --captions X.jsonl --images DIR    cosines that the dedup thresholds rest on

A captions file has one JSON object a line: {"image": NAME, "captions": [...], "split": "train" | "val"}.
"""
import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
BINARY = str(Path(__file__).parent.parent / "target/release/descry")

PRECISIONS = ["fp32", "fp16", "half", "int8"]
PRECISION = "fp16: how weights are stored; half: also how they are multiplied, for GPUs; int8: the same in whole numbers, for CPUs"

# Photographs that show the ranges of a tower's activations, and what rounding costs.
ROUND_ON = 800

FACTS = {
    "name": "descry-builtin",
    "version": "0.5.0",
    "licence": "MIT OR Apache-2.0; image tower weights Apache-2.0; trained on research data, see README.md",
    "trained_on": "Flickr8k train and a COCO subset (captions), ImageNet (image tower)",
    "description": "A small captioner of everyday scenes",
    # Cosines between views of one picture and between different pictures: see the model's README.
    "dedup": {"same": 0.90, "returning": 0.94},
}


def train_builtin(a):
    import torch
    from descry_models.cache import grids, maps
    from descry_models.data import read_captions
    from descry_models.export import export
    from descry_models.net import ImageHead, Shape, TextTower
    from descry_models.tower import Tower
    from descry_models.train import Features, Job, load
    work = Path(a.work)
    rows = read_captions(*a.flickr8k, "flickr8k") + read_captions(*a.coco, "coco")
    maps(rows, work, a.views)
    grids(work, work / "plain", Tower().tail)
    job = Job(rows, Features(work / "plain"))
    shape = Shape(vocab=len(job.words))

    def stage(name, seed, run):
        """A stage that was finished is not done again; what it makes does not depend on those before it being run now."""
        path, part = work / name, work / (name + ".part")
        if not path.exists():
            started = time.time()
            job.seed(a.seed + seed)
            run(part)
            if not part.exists():
                raise SystemExit(f"{name}: not one epoch was better than nothing; look at the numbers above")
            part.rename(path)
            print(f"{name}: {(time.time() - started) / 60:.1f} minutes", flush=True)
        return path

    first = stage("xe.pt", 0, lambda p: job.cross_entropy(shape, p, a.epochs))
    tuned = stage("tower.pt", 1, lambda p: job.fine_tune(load(first)[1], Tower().tail, p, Features(work, "maps"), a.tune_epochs))
    tower = Tower(torch.load(tuned, weights_only=True)["tail"])
    grids(work, work / "tuned", tower.tail)
    job.features = Features(work / "tuned")
    state = torch.load(stage("embedding.pt", 2, lambda p: job.contrastive(shape, p, a.contrastive_epochs)), weights_only=True)
    members = []
    for n in range(a.members):
        # The first goes on from what the tower was tuned with, others begin anew: the more they differ, the better.
        xe = tuned if n == 0 else stage(f"xe-{n}.pt", 10 + n, lambda p: job.cross_entropy(shape, p, a.epochs))
        members.append(load(stage(f"scst-{n}.pt", 20 + n, lambda p: job.self_critical(
            load(xe)[1], shape, p, a.scst_epochs)))[1])
    image, text = ImageHead(shape), TextTower(shape)
    image.load_state_dict(state["image"])
    text.load_state_dict(state["text"])
    export(a.out, shape, members, job.words, tower, image, text, FACTS)
    rounded(a.out, [r["path"] for r in rows if r["source"] == "flickr8k" and r["split"] == "train"])


def rounded(folder, photographs):
    from descry_models.convs import round_tower
    some = photographs[:: max(1, len(photographs) // ROUND_ON)]
    mean, least = round_tower(folder, some)
    print(f"image tower in whole numbers: cosine {mean:.4f} on average, {least:.4f} at least, {len(some) // 2} photographs")


def round_command(a):
    from descry_models.data import read_captions
    rounded(a.model, [r["path"] for r in read_captions(a.captions, a.images, "") if r["split"] == "train"])


def imported(a):
    from descry_models.clipcap import import_clipcap
    import_clipcap(a)


def trained(a):
    from descry_models.mapping import train
    if len(a.captions) != len(a.images):
        raise SystemExit("--captions and --images go together: one folder for each file of captions")
    train(a)


def measured(a):
    from descry_models.measure import command
    if not Path(a.binary).exists():
        raise SystemExit(f"{a.binary} is missing: run `make build`, or name the binary with --binary")
    command(a)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="command", required=True)
    t = sub.add_parser("train-builtin", help="train the built-in model and export its folder")
    t.add_argument("--flickr8k", nargs=2, required=True, metavar=("JSONL", "DIR"))
    t.add_argument("--coco", nargs=2, required=True, metavar=("JSONL", "DIR"))
    t.add_argument("--work", required=True, help="features and checkpoints; a finished stage there is not done again")
    t.add_argument("--out", required=True)
    t.add_argument("--views", type=int, default=4)
    t.add_argument("--epochs", type=int, default=9)
    t.add_argument("--tune-epochs", type=int, default=7)
    t.add_argument("--members", type=int, default=2, help="decoders whose predictions are averaged (default: 2)")
    t.add_argument("--scst-epochs", type=int, default=8)
    t.add_argument("--contrastive-epochs", type=int, default=6)
    t.add_argument("--seed", type=int, default=0)
    t.set_defaults(run=train_builtin)
    m = sub.add_parser("train", help="train a mapping network between an image tower and a language model")
    m.add_argument("--clip", required=True, metavar="built-in|DIR|FILE",
                   help="image tower: a model folder's, a Hugging Face folder, or OpenAI's own file")
    m.add_argument("--lm", required=True, metavar="DIR|FILE",
                   help="language model: a Hugging Face folder (gpt2, llama), a GGUF file (llama), or tensors in GPT-2's layout")
    m.add_argument("--mapper", choices=["mlp", "transformer"], default="mlp")
    m.add_argument("--freeze-lm", action="store_true", help="train nothing but the mapper")
    m.add_argument("--captions", required=True, action="append", metavar="JSONL", help="may be given several times")
    m.add_argument("--images", required=True, action="append", metavar="DIR", help="one for each --captions")
    m.add_argument("--out", required=True, metavar="DIR")
    m.add_argument("--work", metavar="DIR", help="cached embeddings and the state to go on from (default: OUT.work)")
    m.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json, where none lies beside the language model")
    m.add_argument("--heads", type=int, help="GPT-2's attention heads, where they are not 64 wide")
    m.add_argument("--stop-token", default=".", help="ends a caption, and is put at the end of each (default: .)")
    m.add_argument("--normalize-prefix", action="store_true", help="L2-normalise embeddings first")
    m.add_argument("--prefix-length", type=int, default=10)
    m.add_argument("--clip-length", type=int, default=10, help="vectors that the transformer makes of one embedding")
    m.add_argument("--layers", type=int, default=8, help="of the transformer mapper (default: 8)")
    # The published recipe.
    m.add_argument("--epochs", type=int, default=10)
    m.add_argument("--batch", type=int, default=40)
    m.add_argument("--lr", type=float, default=2e-5)
    m.add_argument("--warmup", type=int, default=5000, help="steps, at most half of all (default: 5000)")
    m.add_argument("--weight-decay", type=float, default=0.0)
    m.add_argument("--bf16", action="store_true", help="matrix products in bfloat16: faster where the processor has them")
    m.add_argument("--seed", type=int, default=0)
    m.add_argument("--val-limit", type=int, help="only the first N pictures of split val are judged each epoch")
    m.add_argument("--save-every", type=int, default=200, help="steps between saved states (default: 200)")
    m.add_argument("--threads", type=int, help="of PyTorch; the result is the same again only with as many")
    m.add_argument("--precision", choices=PRECISIONS, default="fp32", help=PRECISION)
    m.add_argument("--binary", default=BINARY)
    m.add_argument("--name")
    m.add_argument("--licence")
    m.set_defaults(run=trained)
    i = sub.add_parser("import", help="a published ClipCap checkpoint as a model folder")
    i.add_argument("--clipcap", required=True, metavar="FILE", help="checkpoint: gpt.* and clip_project.*")
    i.add_argument("--clip", required=True, metavar="DIR|FILE", help="Hugging Face folder, or OpenAI's own file")
    i.add_argument("--tokenizer", required=True, metavar="FILE", help="GPT-2's tokenizer.json")
    i.add_argument("--out", required=True, metavar="DIR")
    i.add_argument("--preset", choices=["coco-mlp", "conceptual-mlp", "coco-transformer"])
    i.add_argument("--normalize-prefix", action=argparse.BooleanOptionalAction, default=None)
    i.add_argument("--stop-token", metavar="TEXT|ID", help="token that ends a caption")
    i.add_argument("--heads", type=int, help="GPT-2's attention heads, where they are not 64 wide")
    i.add_argument("--text-tokenizer", metavar="FILE", help="CLIP's tokenizer.json: its text tower comes along")
    i.add_argument("--precision", choices=PRECISIONS, default="fp32", help=PRECISION)
    i.add_argument("--images", metavar="DIR", help="pictures that int8 is tried on")
    i.add_argument("--limit", type=int, default=100, help="how many of them (default: 100)")
    i.add_argument("--binary", default=BINARY)
    i.add_argument("--name")
    i.add_argument("--licence")
    i.set_defaults(run=imported)
    for name, what in (("score", "BLEU, CIDEr and retrieval of a folder through the descry binary"),
                       ("calibrate", "measure what a caption's score means and write it into model.json"),
                       ("neighbours", "cosines of like and unlike pictures")):
        m = sub.add_parser(name, help=what)
        m.add_argument("--model", required=True, metavar="DIR")
        m.add_argument("--captions", required=True, metavar="JSONL")
        m.add_argument("--images", required=True, metavar="DIR")
        m.add_argument("--split", default="val", help="pictures of this split, or 'all' (default: val)")
        m.add_argument("--limit", type=int, help="only the first N pictures")
        m.add_argument("--beam", type=int, help="beams (default: the model's)")
        m.add_argument("--binary", default=BINARY)
        m.set_defaults(run=measured)
    r = sub.add_parser("round-tower", help="a convolutional image tower in whole numbers, in place")
    r.add_argument("--model", required=True, metavar="DIR")
    r.add_argument("--captions", required=True, metavar="JSONL", help="pictures of split train are used")
    r.add_argument("--images", required=True, metavar="DIR")
    r.set_defaults(run=round_command)
    a = p.parse_args()
    a.run(a)


if __name__ == "__main__":
    main()
