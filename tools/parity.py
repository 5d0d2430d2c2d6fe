#!/usr/bin/env python3
"""Token parity of imported ClipCap checkpoints with a reference implementation in PyTorch, through the descry binary.

  parity.py --reference SCRIPT --tokenizer FILE --images DIR [--work DIR] [--sizes tiny,base] [--limit N] [--each N]
            [--threads N] [--golden DIR]

The reference is a script with `make` (seeded weights in the published layout) and the functions that its `run` calls. Every
case is made, imported with `models.py import`, captioned by both and compared token by token. Where ids
differ, the margin between the two captions' mean log-probabilities is printed: it tells a tie of floats from a fault. What was
compared is kept in WORK/results.jsonl and not done again; a table of all of it comes last.
`--golden` writes the small cases that `make test` runs without Python: model folders and the reference's ids.
"""
import argparse
import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parent
DECODINGS = [("--beam", "1"), ("--beam", "3"), ("--beam", "5"), ("--beam", "10"), ("--decode", "greedy")]


def shell(*command, text=None):
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True)
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
    precision = case.get("precision", "fp32")
    if not (out / "model.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        args = ["--size", case["size"], "--mapper", case["mapper"], "--seed", case["seed"], "--out", ref,
                "--prefix-length", case["prefix"], "--clip-length", case["prefix"], "--stop-gain", case["stop_gain"]]
        args += ["--normalize"] if case["normalize"] else []
        args += ["--vocab", case["vocab"]] if case.get("vocab") else []
        shell(sys.executable, a.reference, "make", *args)
        stir(ref, case["seed"])
        tokenizer = a.tokenizer
        if case.get("vocab"):
            tokenizer = folder / "tokenizer.json"
            cut_tokenizer(a.tokenizer, case["vocab"], tokenizer)
        spec = json.loads((ref / "clipcap.json").read_text())
        shell(sys.executable, TOOLS / "models.py", "import", "--clipcap", ref / "clipcap.pt", "--clip", ref / "clip",
              "--tokenizer", tokenizer, "--out", out, "--heads", spec["n_head"], "--stop-token", spec["stop_token"],
              "--normalize-prefix" if case["normalize"] else "--no-normalize-prefix", "--name", name(case),
              "--precision", precision, *(["--images", a.images, "--limit", "32"] if precision == "int8" else []))
    return ref, out


def stir(ref, seed):
    """Gives biases and norms other values than zeros and ones, which those of a fresh network are: nothing would show where one
    is left out."""
    import torch
    from safetensors.torch import load_file, save_file
    torch.manual_seed(seed)

    def stirred(state):
        return {n: v + 0.1 * torch.randn_like(v) if v.is_floating_point() and v.dim() == 1 and v.numel() > 1 else v
                for n, v in state.items()}

    torch.save(stirred(torch.load(ref / "clipcap.pt", weights_only=True)), ref / "clipcap.pt")
    save_file(stirred(load_file(ref / "clip/model.safetensors")), ref / "clip/model.safetensors", {"format": "pt"})


def name(case):
    return (f"{case['size']}-{case['mapper']}-{case['prefix']}{'-normalized' if case['normalize'] else ''}"
            f"-seed{case['seed']}-stop{case['stop_gain']}" + (f"-vocab{case['vocab']}" if case.get("vocab") else ""))


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


class Reference:
    """The reference's own functions on one checkpoint. Its `run` would load it anew for each decoding."""

    def __init__(self, script, folder):
        import torch
        self.module = sys.modules.get("reference")
        if self.module is None:
            spec = importlib.util.spec_from_file_location("reference", script)
            self.module = sys.modules["reference"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.module)
        spec = self.module.Spec(**json.loads((folder / "clipcap.json").read_text()))
        self.clip = self.module.CLIPModel.from_pretrained(folder / "clip").eval()
        self.model = self.module.ClipCap(spec).eval()
        self.model.load_state_dict(torch.load(folder / "clipcap.pt", map_location="cpu", weights_only=True))

    def prefix(self, picture):
        import torch
        from PIL import Image
        pixels = self.module.preprocess(Image.open(picture), self.clip.config.vision_config.image_size)[None]
        with torch.no_grad():
            e = self.clip.get_image_features(pixel_values=pixels)
            return self.model.prefix(e if torch.is_tensor(e) else e.pooler_output)

    def said(self, decoding, some):
        out = []
        for picture in some:
            prefix = self.prefix(picture)
            greedy = decoding[0] == "--decode"
            ids, score = (self.module.greedy(self.model, prefix) if greedy else
                          self.module.beam_search(self.model, prefix, int(decoding[1])))
            out.append({"image": picture.name, "ids": ids, "mean_logprob": round(score, 5)})
        return out


def descry(a, model, decoding, some):
    own = ["--greedy"] if decoding[0] == "--decode" else list(decoding)
    return lines(shell(a.binary, "--quiet", "caption", *some, "--json", "--min-score", "0", "--model", model, *own))


def compare(a, case, some, known):
    """Compares all decodings of a case that are not known yet; adds them to the results."""
    if all((name(case), d) in known for d in DECODINGS):
        return
    ref, model = make(a, case, a.work / name(case))
    reference = Reference(a.reference, ref)
    for decoding in DECODINGS:
        if (name(case), decoding) in known:
            continue
        want, got = reference.said(decoding, some), descry(a, model, decoding, some)
        apart = [(w, g) for w, g in zip(want, got) if w["ids"] != g["ids"]]
        row = {"case": name(case), **{k: case[k] for k in ("size", "mapper", "prefix", "normalize")}, "decoding": decoding,
               "pictures": len(want), "equal": len(want) - len(apart), "early": sum(len(w["ids"]) < 67 for w in want),
               "tokens": sum(len(w["ids"]) for w in want),
               "score": max((abs(w["mean_logprob"] - g["mean_logprob"]) for w, g in zip(want, got) if w["ids"] == g["ids"]),
                            default=0.0),
               "margins": [w["mean_logprob"] - g["mean_logprob"] for w, g in apart]}
        print(f"{name(case):48} {' '.join(decoding):16} {row['equal']}/{len(want)} equal, {row['early']} stop early, "
              f"mean log-probability within {row['score']:.0e}", flush=True)
        for w, g in apart:
            at = next((k for k, (x, y) in enumerate(zip(w["ids"], g["ids"])) if x != y), min(len(w["ids"]), len(g["ids"])))
            print(f"    {w['image']}: apart from token {at} on; mean log-probability {w['mean_logprob']:.6f} against "
                  f"{g['mean_logprob']:.6f}, margin {w['mean_logprob'] - g['mean_logprob']:.1e}", flush=True)
        with open(a.work / "results.jsonl", "a") as out:
            out.write(json.dumps(row) + "\n")
    if case["size"] != "tiny":
        shutil.rmtree(a.work / name(case))      # a gigabyte and a half


def table(rows):
    """The results by size, mapper and prefix."""
    print("| size | mapper, prefix | cases | captions | equal | tokens | stop early | log-probability within |")
    print("|---|---|---|---|---|---|---|---|")
    key = lambda r: (r["size"], r["mapper"], r["prefix"])
    for (size, mapper, prefix), some in itertools.groupby(sorted(rows, key=key), key):
        some = list(some)
        total = lambda k: sum(r[k] for r in some)
        print(f"| {size} | {mapper}, {prefix} | {len({r['case'] for r in some})} | {total('pictures')} | {total('equal')} | "
              f"{total('tokens')} | {total('early')} | {max(r['score'] for r in some):.0e} |")


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
        for precision in ("half", "int8") if mapper == "mlp" else ():
            _, model = make(a, {**case, "precision": precision}, a.work / precision)
            shutil.copytree(model, out / precision, dirs_exist_ok=True)
        reference = Reference(a.reference, ref)
        rows = [{"decoding": list(d), **w} for d in DECODINGS for w in reference.said(d, kept)]
        (out / f"{mapper}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reference", required=True, metavar="SCRIPT")
    p.add_argument("--tokenizer", required=True, metavar="FILE", help="GPT-2's tokenizer.json")
    p.add_argument("--images", required=True, metavar="DIR")
    p.add_argument("--work", type=Path, default=Path("target/parity"))
    p.add_argument("--sizes", default="tiny,base")
    p.add_argument("--limit", type=int, default=10, help="photographs, beside the six odd shapes")
    p.add_argument("--each", type=int, help="pictures of a case, in turn through all of them (default: all)")
    p.add_argument("--threads", type=int, help="of PyTorch")
    p.add_argument("--binary", default=str(TOOLS.parent / "target/release/descry"))
    p.add_argument("--golden", type=Path)
    a = p.parse_args()
    if a.golden:
        return golden(a)
    if a.threads:
        import torch
        torch.set_num_threads(a.threads)
    some = pictures(a.work / "pictures", a.images, a.limit)
    results = a.work / "results.jsonl"
    read = lambda: lines(results.read_text()) if results.exists() else []
    known = {(r["case"], tuple(r["decoding"])) for r in read()}
    turn = itertools.cycle(some)
    for case in cases(a.sizes.split(",")):
        compare(a, case, list(itertools.islice(turn, a.each or len(some))), known)
    rows = read()
    table(rows)
    wrong = sum(r["pictures"] - r["equal"] for r in rows)
    print(f"{wrong} captions differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
