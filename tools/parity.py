#!/usr/bin/env python3
"""Token parity of imported ClipCap checkpoints with a reference implementation in PyTorch, through the descry binary.

  parity.py --reference SCRIPT --tokenizer FILE --images DIR [--work DIR] [--sizes tiny,base] [--limit N] [--golden DIR]

The reference is a script with `make` (seeded weights in the published layout) and `run` (token ids, one JSON object a
picture). Every case is made, imported with `models.py import`, captioned by both and compared token by token. Where ids
differ, the margin between the two captions' mean log-probabilities is printed: it tells a tie of floats from a fault.
`--golden` writes the small cases that `make test` runs without Python: model folders and the reference's ids.
"""
import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parent
DECODINGS = [("--beam", "1"), ("--beam", "3"), ("--beam", "5"), ("--beam", "10"), ("--decode", "greedy")]


def shell(*command, env=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env={**os.environ, **(env or {})})
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def pictures(folder, images, limit):
    """Photographs, and shapes that resizers stumble over: odd, portrait, tiny, huge, grey, alpha."""
    from PIL import Image
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(p for p in Path(images).iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[:limit]
    out = []
    for p in found:
        out.append(folder / p.name)
        shutil.copy(p, out[-1])
    first = Image.open(found[0]).convert("RGB")
    for name, image in (("odd.png", first.resize((37, 211))), ("portrait.png", first.resize((90, 133))),
                        ("tiny.png", first.resize((7, 5))), ("huge.png", first.resize((3001, 1203))),
                        ("grey.png", first.resize((120, 80)).convert("L")), ("alpha.png", with_alpha(first))):
        image.save(folder / name)
        out.append(folder / name)
    return out


def with_alpha(image):
    from PIL import Image
    image = image.resize((101, 77)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def cut_tokenizer(source, vocab, to):
    """The first `vocab` tokens of a byte-level BPE tokenizer and the merges that make them."""
    t = json.loads(Path(source).read_text())
    model = t["model"]
    model["vocab"] = {w: i for w, i in model["vocab"].items() if i < vocab}
    pair = lambda m: "".join(m) if isinstance(m, list) else m.replace(" ", "")
    model["merges"] = [m for m in model["merges"] if pair(m) in model["vocab"]]
    t["added_tokens"] = [a for a in t.get("added_tokens", []) if a["id"] < vocab]
    Path(to).write_text(json.dumps(t, ensure_ascii=False))


def make(a, case, folder):
    """Reference checkpoint and the imported folder of one case."""
    ref, out = folder / "reference", folder / "model"
    if not (out / "model.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        args = ["--size", case["size"], "--mapper", case["mapper"], "--seed", case["seed"], "--out", ref,
                "--prefix-length", case["prefix"], "--clip-length", case["prefix"], "--stop-gain", case["stop_gain"]]
        args += ["--normalize"] if case["normalize"] else []
        args += ["--vocab", case["vocab"]] if case.get("vocab") else []
        shell(sys.executable, a.reference, "make", *args)
        tokenizer = a.tokenizer
        if case.get("vocab"):
            tokenizer = folder / "tokenizer.json"
            cut_tokenizer(a.tokenizer, case["vocab"], tokenizer)
        spec = json.loads((ref / "clipcap.json").read_text())
        shell(sys.executable, TOOLS / "models.py", "import", "--clipcap", ref / "clipcap.pt", "--clip", ref / "clip",
              "--tokenizer", tokenizer, "--out", out, "--heads", spec["n_head"], "--stop-token", spec["stop_token"],
              "--normalize-prefix" if case["normalize"] else "--no-normalize-prefix", "--name", name(case))
    return ref, out


def name(case):
    return (f"{case['size']}-{case['mapper']}-{case['prefix']}{'-normalized' if case['normalize'] else ''}"
            f"-seed{case['seed']}-stop{case['stop_gain']}" + (f"-vocab{case['vocab']}" if case.get("vocab") else ""))


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def said(a, ref, decoding, some):
    return lines(shell(sys.executable, a.reference, "run", "--dir", ref, *decoding, *some))


def descry(a, model, decoding, some):
    own = ["--greedy"] if decoding[0] == "--decode" else list(decoding)
    return lines(shell(a.binary, "--quiet", "caption", *some, "--json", "--min-score", "0", "--model", model, *own))


def compare(a, case, some):
    ref, model = make(a, case, a.work / name(case))
    wrong = 0
    for decoding in DECODINGS:
        want, got = said(a, ref, decoding, some), descry(a, model, decoding, some)
        equal = sum(w["ids"] == g["ids"] for w, g in zip(want, got))
        far = max(abs(w["mean_logprob"] - g["mean_logprob"]) for w, g in zip(want, got) if w["ids"] == g["ids"])
        stops = sum(len(w["ids"]) < 67 for w in want)
        print(f"{name(case):48} {' '.join(decoding):16} {equal}/{len(want)} equal, {stops} stop early, "
              f"mean log-probability within {far:.0e}", flush=True)
        for w, g in zip(want, got):
            if w["ids"] != g["ids"]:
                wrong += 1
                at = next((k for k, (x, y) in enumerate(zip(w["ids"], g["ids"])) if x != y), min(len(w["ids"]), len(g["ids"])))
                print(f"    {w['image']}: apart from token {at} on; mean log-probability {w['mean_logprob']:.6f} against "
                      f"{g['mean_logprob']:.6f}, margin {w['mean_logprob'] - g['mean_logprob']:.1e}", flush=True)
    return wrong


def cases(sizes):
    for size, mapper, prefix, normalize in itertools.product(sizes, ("mlp", "transformer"), (10, 40), (False, True)):
        for seed, stop_gain in ((0, 1.0), (1, 4.0), (2, 8.0)) if size == "tiny" else ((0, 1.0), (1, 4.0)):
            yield {"size": size, "mapper": mapper, "prefix": prefix, "normalize": normalize, "seed": seed,
                   "stop_gain": stop_gain}


def golden(a):
    """Two small folders and what the reference says of a few small pictures."""
    out = a.golden
    some = pictures(a.work / "small", a.images, 1)
    kept = [p for p in some if p.name in ("odd.png", "portrait.png", "tiny.png", "grey.png", "alpha.png")]
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    for p in kept:
        shutil.copy(p, out / "pictures" / p.name)
    kept = [out / "pictures" / p.name for p in kept]
    for mapper, prefix, normalize, stop_gain in (("mlp", 10, False, 4.0), ("transformer", 40, True, 5.0)):
        case = {"size": "tiny", "mapper": mapper, "prefix": prefix, "normalize": normalize, "seed": 3,
                "stop_gain": stop_gain, "vocab": 500}
        ref, model = make(a, case, a.work / name(case))
        shutil.copytree(model, out / mapper, dirs_exist_ok=True)
        rows = [{"decoding": list(d), **{k: w[k] for k in ("image", "ids", "mean_logprob")}}
                for d in DECODINGS for w in said(a, ref, d, kept)]
        (out / f"{mapper}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reference", required=True, metavar="SCRIPT")
    p.add_argument("--tokenizer", required=True, metavar="FILE", help="GPT-2's tokenizer.json")
    p.add_argument("--images", required=True, metavar="DIR")
    p.add_argument("--work", type=Path, default=Path("target/parity"))
    p.add_argument("--sizes", default="tiny,base")
    p.add_argument("--limit", type=int, default=10, help="photographs, beside the six odd shapes")
    p.add_argument("--binary", default=str(TOOLS.parent / "target/release/descry"))
    p.add_argument("--golden", type=Path)
    a = p.parse_args()
    if a.golden:
        return golden(a)
    some = pictures(a.work / "pictures", a.images, a.limit)
    wrong = sum(compare(a, case, some) for case in cases(a.sizes.split(",")))
    print(f"{wrong} captions differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
