#!/usr/bin/env python3
"""Speed of a published-size ClipCap (CLIP ViT-B/32, MLP mapper, GPT-2, beam 5): descry, a plain PyTorch reference, and
`transformers`' batched `generate`, on the same weights in one run.

  clipcap.py --reference SCRIPT --tokenizer FILE --images DIR [--pictures 64] [--work DIR]

The reference is a script with `make` (seeded weights in the published layout) and `run` (one JSON object a picture with its
ids and seconds). First the floor: what the arithmetic and the reading of weights would take by themselves on this machine, and
at the end how near each stage comes to it.
"""
import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
BEAM, TOKENS = 5, 67
# A GPT-2 small: twelve layers of width 768, and its table of 50,257 tokens as the head.
LAYERS, WIDTH, VOCAB = 12, 768, 50257
GPT2 = LAYERS * 12 * WIDTH * WIDTH + WIDTH * VOCAB          # multiplications a token
# A picture through ViT-B/32; of the last layer only what becomes of the class vector is wanted.
VIT = 12 * (12 * 768 * 768 * 50 + 2 * 50 * 50 * 768) - 49 * 9 * 768 * 768 + 3 * 32 * 32 * 768 * 49


def shell(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:6]))} …\n{done.stderr}")
    return done.stdout, done.stderr


def best(times, run):
    out = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        out.append(time.perf_counter() - start)
    return min(out)


def floor():
    """GFLOP/s of a product of floats and of whole numbers, each by the fastest library for it here, and GB/s of reading memory."""
    a, b = torch.randn(400, 3072), torch.randn(3072, 3072)
    count = 2 * 400 * 3072 * 3072 / 1e9
    big = torch.ones(64 << 20)
    whole = whole_numbers(3072)
    rows = {"rows": np.random.randint(0, 255, (400, 3072)).astype(np.uint8)}
    return {"fp32": count / best(20, lambda: a @ b), "int8": count / best(20, lambda: whole.run(None, rows)),
            "bandwidth": big.numel() * 4 / best(10, big.sum) / 1e9}


def whole_numbers(width):
    """A session that multiplies rows of 8-bit numbers by a square matrix."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
    weight = np.random.randint(-63, 64, (width, width)).astype(np.int8)
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.uint8(128), "zero")]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["rows", "weight", "zero"], ["sums"])], "product",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, ["n", width])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, ["n", width])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def import_model(a, precision):
    out = a.work / precision
    if not (out / "model.json").exists():
        shell(sys.executable, ROOT / "tools/models.py", "import", "--clipcap", a.work / "reference/clipcap.pt", "--clip",
              a.work / "reference/clip", "--tokenizer", a.tokenizer, "--out", out, "--stop-token", "13",
              "--no-normalize-prefix", "--precision", precision, "--images", a.images, "--limit", "32", "--binary", a.binary)
    return out


def descry(a, command, model, pictures, *more):
    """What a command of the binary says of the pictures, an object each, and its statistics."""
    out, err = shell(a.binary, "--quiet", command, *pictures, "--stats", "--model", model, "--model-threads",
                     torch.get_num_threads(), *more)
    stats = json.loads(next(line for line in err.splitlines() if line.startswith("{")))
    return [json.loads(line) for line in out.splitlines()], stats


class Generate:
    """What someone who knows the libraries would write."""

    def __init__(self, a):
        spec = importlib.util.spec_from_file_location("reference", a.reference)
        self.reference = importlib.util.module_from_spec(spec)
        sys.modules["reference"] = self.reference
        spec.loader.exec_module(self.reference)
        r, folder = self.reference, a.work / "reference"
        s = r.Spec(**json.loads((folder / "clipcap.json").read_text()))
        self.clip = r.CLIPModel.from_pretrained(folder / "clip").eval()
        self.model = r.ClipCap(s).eval()
        self.model.load_state_dict(torch.load(folder / "clipcap.pt", map_location="cpu", weights_only=True))
        self.stop = s.stop_token

    @torch.no_grad()
    def one_by_one(self, pictures):
        """Seconds in which the reference reads, prepares and encodes a picture: the median, the cold first ones left out."""
        from PIL import Image
        times = []
        for p in pictures:
            start = time.perf_counter()
            self.clip.get_image_features(pixel_values=self.reference.preprocess(Image.open(p), 224)[None])
            times.append(time.perf_counter() - start)
        return float(np.median(times[len(times) // 4 :]))

    @torch.no_grad()
    def run(self, pictures, batch):
        from PIL import Image
        ids, encode, decode = [], 0.0, 0.0
        for k in range(0, len(pictures), batch):
            start = time.perf_counter()
            x = torch.stack([self.reference.preprocess(Image.open(p), 224) for p in pictures[k : k + batch]])
            e = self.clip.get_image_features(pixel_values=x)
            e = e if torch.is_tensor(e) else e.pooler_output
            encode += time.perf_counter() - start
            start = time.perf_counter()
            prefix = self.model.prefix(e)
            out = self.model.gpt.generate(
                inputs_embeds=prefix, attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long), num_beams=BEAM,
                max_new_tokens=TOKENS, do_sample=False, eos_token_id=self.stop, pad_token_id=0)
            decode += time.perf_counter() - start
            for row in out.tolist():
                ids.append(row[: row.index(self.stop) + 1] if self.stop in row else row)
        return ids, encode, decode


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reference", required=True, type=Path)
    p.add_argument("--tokenizer", required=True, type=Path)
    p.add_argument("--images", required=True, type=Path)
    p.add_argument("--pictures", type=int, default=64)
    p.add_argument("--slow", type=int, default=2, help="pictures that the reference captions (default: 2)")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--work", type=Path, default=ROOT / "target/bench/clipcap")
    p.add_argument("--binary", default=str(ROOT / "target/release/descry"))
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    if not (a.work / "reference/clipcap.pt").exists():
        shell(sys.executable, a.reference, "make", "--size", "base", "--mapper", "mlp", "--out", a.work / "reference")
    pictures = [str(f) for f in sorted(a.images.rglob("*.jpg"))[: a.pictures]]
    models = {precision: import_model(a, precision) for precision in ("fp32", "int8")}
    rows = {}

    speed = floor()
    read = {"fp32": 4, "int8": 1}
    least = {p: {"encode": 2 * VIT / speed[p] / 1e6, "token": 2 * GPT2 * BEAM / speed[p] / 1e6,
                 "read": GPT2 * read[p] / speed["bandwidth"] / 1e6 / a.batch} for p in read}
    for p, f in least.items():
        print(f"floor {p}: {speed[p]:.0f} GFLOP/s; a picture through ViT-B/32 {f['encode']:.1f} ms; a token of one picture ({BEAM} "
              f"beams) {f['token']:.2f} ms, and {f['read']:.2f} ms of reading weights at {speed['bandwidth']:.0f} GB/s in a "
              f"batch of {a.batch}")

    def add(name, ids, encode, decode):
        tokens = sum(map(len, ids))
        rows[name] = {"ids": ids, "encode": 1e3 * encode / len(ids), "token": 1e3 * decode / tokens,
                      "rate": len(ids) / (encode + decode)}

    out, _ = shell(sys.executable, a.reference, "run", "--dir", a.work / "reference", "--beam", BEAM, *pictures[: a.slow])
    lines = [json.loads(line) for line in out.splitlines()]
    generate = Generate(a)
    # Of the few pictures that it captions the first is cold: it is timed on more.
    encode = len(lines) * generate.one_by_one(pictures[:24])
    add("reference", [o["ids"] for o in lines], encode, sum(o["seconds"]["decode"] for o in lines))
    add("generate", *generate.run(pictures, a.batch))
    for precision, model in models.items():
        said, stats = descry(a, "caption", model, pictures, "--json", "--min-score", "0", "--batch", a.batch)
        ids = [o["ids"] for o in said]
        # Pictures are encoded while others are captioned: encoding is timed by itself.
        alone = descry(a, "embed", model, pictures)[1]
        # Pictures are read on all cores while others are encoded: its share is the time on one core over their number.
        add(f"descry {precision}", ids, alone["encode"] + alone["prepare"] / torch.get_num_threads(), stats["caption"])
        rows[f"descry {precision}"].update(rss=stats["peak_rss_mb"], rate=len(ids) / stats["wall"])
    exact, slow = rows["descry fp32"], rows["reference"]
    for name, row in rows.items():
        alike = np.mean([x == y for x, y in zip(row["ids"], exact["ids"])])
        rss = f", {row['rss']:.0f} MB" if "rss" in row else ""
        f = least.get(name.split()[-1])
        near = f", {f['encode'] / row['encode']:.2f} and {f['token'] / row['token']:.2f} of the floor" if f else ""
        print(f"{name:12} {row['encode']:7.1f} ms a picture ({slow['encode'] / row['encode']:5.1f} ×)   "
              f"{row['token']:7.2f} ms a token ({slow['token'] / row['token']:6.1f} × reference, "
              f"{rows['generate']['token'] / row['token']:5.2f} × generate)   {row['rate']:6.2f} pictures/s   "
              f"captions as fp32's {alike:.2f}{rss}{near}")


if __name__ == "__main__":
    main()
