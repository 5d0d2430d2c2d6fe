#!/usr/bin/env python3
"""Compares imported ClipCap checkpoints with a reference implementation in PyTorch, token by token.

The reference is a script with a command `make`, which writes seeded weights in the published layout, and with the
functions that its command `run` calls. Each case is made, imported with `descry model import`, captioned by the
reference and by the descry binary, and compared. Where ids differ, the margin between the mean log-probabilities of
both captions shows whether it is a tie of floats or a fault.

Results are appended to WORK/results.jsonl and not computed again. A table of all of them is printed at the end.

With --golden it writes the small cases that `make test` runs without Python: model folders and the reference's ids.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

TOOLS = Path(__file__).parent
DECODINGS = [("--beam", "1"), ("--beam", "3"), ("--beam", "5"), ("--beam", "10"), ("--decode", "greedy")]
LONGEST = 67  # tokens of a caption; a shorter one ended with the stop token

Case = dict[str, Any]
Row = dict[str, Any]
Decoding = tuple[str, str]


def shell(*command: object, text: str | None = None) -> str:
    """Runs a command and returns its standard output; its failure ends the script."""
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def pictures(folder: Path, images: Path, limit: int) -> list[Path]:
    """Photographs, and pictures that resizers get wrong: odd, portrait, tiny, huge, grey, alpha."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(p for p in images.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[:limit]
    out = [folder / p.name for p in found]
    for p, copy in zip(found, out, strict=True):
        shutil.copy(p, copy)
    first = Image.open(found[0]).convert("RGB")
    for name, image in (
        ("odd.png", first.resize((37, 211))),
        ("portrait.png", first.resize((90, 133))),
        ("tiny.png", first.resize((7, 5))),
        ("huge.png", first.resize((3001, 1203))),
        ("grey.png", first.resize((120, 80)).convert("L")),
        ("alpha.png", with_alpha(first)),
    ):
        image.save(folder / name)
        out.append(folder / name)
    return out


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.resize((101, 77)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def cut_tokenizer(source: Path, vocab: int, to: Path) -> None:
    """The first `vocab` tokens of a byte-level BPE tokenizer and the merges that make them."""

    def merged(merge: Any) -> str:
        return "".join(merge) if isinstance(merge, list) else merge.replace(" ", "")

    t = json.loads(source.read_text())
    model = t["model"]
    model["vocab"] = {w: i for w, i in model["vocab"].items() if i < vocab}
    model["merges"] = [m for m in model["merges"] if merged(m) in model["vocab"]]
    t["added_tokens"] = [a for a in t.get("added_tokens", []) if a["id"] < vocab]
    to.write_text(json.dumps(t, ensure_ascii=False))


def make(args: argparse.Namespace, case: Case, folder: Path) -> tuple[Path, Path]:
    """The reference checkpoint and the imported model folder of a case."""
    reference, model = folder / "reference", folder / "model"
    if not (model / "model.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make_reference(args, case, reference)
        import_case(args, case, folder, reference, model)
    return reference, model


def make_reference(args: argparse.Namespace, case: Case, out: Path) -> None:
    command = ["--size", case["size"], "--mapper", case["mapper"], "--seed", case["seed"], "--out", out]
    command += ["--prefix-length", case["prefix"], "--clip-length", case["prefix"], "--stop-gain", case["stop_gain"]]
    if case["normalize"]:
        command += ["--normalize"]
    if case.get("vocab"):
        command += ["--vocab", case["vocab"]]
    shell(sys.executable, args.reference, "make", *command)
    perturb(out, case["seed"])


def import_case(args: argparse.Namespace, case: Case, folder: Path, reference: Path, model: Path) -> None:
    tokenizer = args.tokenizer
    if case.get("vocab"):
        tokenizer = folder / "tokenizer.json"
        cut_tokenizer(args.tokenizer, case["vocab"], tokenizer)
    spec = json.loads((reference / "clipcap.json").read_text())
    precision = case.get("precision", "fp32")
    command = ["--clipcap", reference / "clipcap.pt", "--clip", reference / "clip", "--tokenizer", tokenizer]
    command += ["--out", model, "--heads", spec["n_head"], "--stop-token", spec["stop_token"]]
    command += ["--normalize-prefix" if case["normalize"] else "--no-normalize-prefix", "--name", name_of(case)]
    command += ["--precision", precision]
    if precision == "int8":
        command += ["--images", args.images, "--limit", "32"]
    shell(args.binary, "model", "import", *command)


def perturb(reference: Path, seed: int) -> None:
    """Gives biases and norms random values.

    Those of a new network are zeros and ones, and would hide that one of them is left out.
    """
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(seed)

    def perturbed(state: dict[str, Any]) -> dict[str, Any]:
        return {
            n: v + 0.1 * torch.randn_like(v) if v.is_floating_point() and v.dim() == 1 and v.numel() > 1 else v
            for n, v in state.items()
        }

    checkpoint, clip = reference / "clipcap.pt", reference / "clip/model.safetensors"
    torch.save(perturbed(torch.load(checkpoint, weights_only=True)), checkpoint)
    save_file(perturbed(load_file(clip)), clip, {"format": "pt"})


def name_of(case: Case) -> str:
    name = f"{case['size']}-{case['mapper']}-{case['prefix']}{'-normalized' if case['normalize'] else ''}"
    name += f"-seed{case['seed']}-stop{case['stop_gain']}"
    return name + (f"-vocab{case['vocab']}" if case.get("vocab") else "")


def json_lines(text: str) -> list[Row]:
    return [json.loads(line) for line in text.splitlines()]


class Reference:
    """The reference's own functions on one checkpoint. Its command `run` would load it again for each decoding."""

    def __init__(self, script: Path, folder: Path) -> None:
        import torch

        self.module: Any = sys.modules.get("reference")
        if self.module is None:
            spec: Any = importlib.util.spec_from_file_location("reference", script)
            self.module = sys.modules["reference"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.module)
        shape = self.module.Spec(**json.loads((folder / "clipcap.json").read_text()))
        self.clip = self.module.CLIPModel.from_pretrained(folder / "clip").eval()
        self.model = self.module.ClipCap(shape).eval()
        self.model.load_state_dict(torch.load(folder / "clipcap.pt", map_location="cpu", weights_only=True))

    def prefix(self, picture: Path) -> Any:
        import torch

        pixels = self.module.preprocess(Image.open(picture), self.clip.config.vision_config.image_size)[None]
        with torch.no_grad():
            e = self.clip.get_image_features(pixel_values=pixels)
            return self.model.prefix(e if torch.is_tensor(e) else e.pooler_output)

    def captions(self, decoding: Decoding, some: Sequence[Path]) -> list[Row]:
        rows = []
        for picture in some:
            prefix = self.prefix(picture)
            if decoding[0] == "--decode":
                ids, score = self.module.greedy(self.model, prefix)
            else:
                ids, score = self.module.beam_search(self.model, prefix, int(decoding[1]))
            rows.append({"image": picture.name, "ids": ids, "mean_logprob": round(score, 5)})
        return rows


def descry(binary: Path, model: Path, decoding: Decoding, some: Sequence[Path]) -> list[Row]:
    """The captions of the descry binary."""
    own = ["--greedy"] if decoding[0] == "--decode" else list(decoding)
    return json_lines(shell(binary, "--quiet", "caption", *some, "--json", "--min-score", "0", "--model", model, *own))


def compare(args: argparse.Namespace, case: Case, some: Sequence[Path], known: set[tuple[str, Decoding]]) -> None:
    """Compares the decodings of a case that are not in the results yet, and appends them."""
    name = name_of(case)
    missing = [d for d in DECODINGS if (name, d) not in known]
    if not missing:
        return
    folder, model = make(args, case, args.work / name)
    reference = Reference(args.reference, folder)
    for decoding in missing:
        want, got = reference.captions(decoding, some), descry(args.binary, model, decoding, some)
        row = compared(case, decoding, want, got)
        print_row(row, want, got)
        with (args.work / "results.jsonl").open("a") as out:
            out.write(json.dumps(row) + "\n")
    if case["size"] != "tiny":
        shutil.rmtree(args.work / name)  # a gigabyte and a half


def compared(case: Case, decoding: Decoding, want: list[Row], got: list[Row]) -> Row:
    """One row of the results."""
    pairs = list(zip(want, got, strict=True))
    margins = [(w["mean_logprob"] - g["mean_logprob"], w["ids"] == g["ids"]) for w, g in pairs]
    return {
        "case": name_of(case),
        **{k: case[k] for k in ("size", "mapper", "prefix", "normalize")},
        "decoding": decoding,
        "pictures": len(want),
        "equal": sum(equal for _, equal in margins),
        "early": sum(len(w["ids"]) < LONGEST for w in want),
        "tokens": sum(len(w["ids"]) for w in want),
        "score": max((abs(margin) for margin, equal in margins if equal), default=0.0),
        "margins": [margin for margin, equal in margins if not equal],
    }


def print_row(row: Row, want: list[Row], got: list[Row]) -> None:
    print(
        f"{row['case']:48} {' '.join(row['decoding']):16} {row['equal']}/{len(want)} equal, {row['early']} stop early, "
        f"mean log-probability within {row['score']:.0e}",
        flush=True,
    )
    for w, g in zip(want, got, strict=True):
        if w["ids"] == g["ids"]:
            continue
        same = zip(w["ids"], g["ids"], strict=False)
        first = next((k for k, (x, y) in enumerate(same) if x != y), min(len(w["ids"]), len(g["ids"])))
        print(
            f"    {w['image']}: differs from token {first} on; mean log-probability {w['mean_logprob']:.6f} against "
            f"{g['mean_logprob']:.6f}, margin {w['mean_logprob'] - g['mean_logprob']:.1e}",
            flush=True,
        )


def print_table(rows: list[Row]) -> None:
    """The results by size, mapper and prefix."""

    def key(row: Row) -> tuple[str, str, int]:
        return row["size"], row["mapper"], row["prefix"]

    print("| size | mapper, prefix | cases | captions | equal | tokens | stop early | log-probability within |")
    print("|---|---|---|---|---|---|---|---|")
    for (size, mapper, prefix), group in itertools.groupby(sorted(rows, key=key), key):
        some = list(group)
        captions, equal, tokens, early = (sum(r[k] for r in some) for k in ("pictures", "equal", "tokens", "early"))
        print(
            f"| {size} | {mapper}, {prefix} | {len({r['case'] for r in some})} | {captions} | {equal} | {tokens} | "
            f"{early} | {max(r['score'] for r in some):.0e} |"
        )


def cases(sizes: Sequence[str]) -> Iterator[Case]:
    for size, mapper, prefix, normalize in itertools.product(sizes, ("mlp", "transformer"), (10, 40), (False, True)):
        seeds = ((0, 1.0), (1, 4.0), (2, 8.0)) if size == "tiny" else ((0, 1.0), (1, 4.0))
        for seed, stop_gain in seeds:
            yield {
                "size": size,
                "mapper": mapper,
                "prefix": prefix,
                "normalize": normalize,
                "seed": seed,
                "stop_gain": stop_gain,
            }


def write_golden(args: argparse.Namespace) -> None:
    """Two small model folders, and the reference's captions of a few small pictures."""
    out = args.golden
    some = pictures(args.work / "small", args.images, 1)
    names = [p.name for p in some if p.name in ("odd.png", "portrait.png", "tiny.png", "grey.png", "alpha.png")]
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(args.work / "small" / name, out / "pictures" / name)
    chosen = [out / "pictures" / name for name in names]
    for mapper, prefix, normalize, stop_gain in (("mlp", 10, False, 4.0), ("transformer", 40, True, 5.0)):
        case = {
            "size": "tiny",
            "mapper": mapper,
            "prefix": prefix,
            "normalize": normalize,
            "seed": 3,
            "stop_gain": stop_gain,
            "vocab": 500,
        }
        folder, model = make(args, case, args.work / name_of(case))
        shutil.copytree(model, out / mapper, dirs_exist_ok=True)
        for precision in ("half", "int8") if mapper == "mlp" else ():
            _, model = make(args, {**case, "precision": precision}, args.work / precision)
            shutil.copytree(model, out / precision, dirs_exist_ok=True)
        reference = Reference(args.reference, folder)
        rows = [{"decoding": list(d), **row} for d in DECODINGS for row in reference.captions(d, chosen)]
        (out / f"{mapper}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reference", required=True, type=Path, metavar="SCRIPT", help="the reference implementation")
    p.add_argument("--tokenizer", required=True, type=Path, metavar="FILE", help="GPT-2's tokenizer.json")
    p.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of photographs")
    p.add_argument(
        "--work",
        type=Path,
        default=Path("target/parity"),
        metavar="DIR",
        help="folder for checkpoints, model folders and results (default: target/parity)",
    )
    p.add_argument("--sizes", default="tiny,base", help="sizes of the reference (default: tiny,base)")
    p.add_argument(
        "--limit", type=int, default=10, help="photographs, in addition to the six odd pictures (default: 10)"
    )
    p.add_argument("--each", type=int, help="pictures per case, taking turns through all of them (default: all)")
    p.add_argument("--threads", type=int, help="threads of PyTorch")
    p.add_argument("--binary", type=Path, default=TOOLS.parent / "target/release/descry", help="the descry binary")
    p.add_argument("--golden", type=Path, metavar="DIR", help="write the cases of `make test` there, and stop")
    args = p.parse_args()
    if args.golden:
        write_golden(args)
        return
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    some = pictures(args.work / "pictures", args.images, args.limit)
    results = args.work / "results.jsonl"

    def read() -> list[Row]:
        return json_lines(results.read_text()) if results.exists() else []

    known: set[tuple[str, Decoding]] = {(r["case"], tuple(r["decoding"])) for r in read()}
    turn = itertools.cycle(some)
    for case in cases(args.sizes.split(",")):
        compare(args, case, list(itertools.islice(turn, args.each or len(some))), known)
    rows = read()
    print_table(rows)
    wrong = sum(r["pictures"] - r["equal"] for r in rows)
    print(f"{wrong} captions differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
