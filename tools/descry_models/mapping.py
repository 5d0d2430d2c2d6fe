"""Training of ClipCap's mapping network: between any image tower and any causal language model that the importer reads.

Pictures are encoded once and cached. What is trained is the mapper, and the language model too unless it is frozen. The
state is saved every so many steps, random numbers included: a run that was killed goes on to the result that it would have
had. Pictures of split "val" are never trained on; the epoch whose captions of them have the best CIDEr is kept.
"""
import hashlib
import json
import os
import random
import tempfile
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from . import clip, lm
from .clip import Missing
from .clipcap import BEAM, MlpMapper, TransformerMapper
from .data import read_captions
from .export import decoder_graph, decoder_spec, mapper_graph, seal
from .measure import plain_cider, rounding
from .net import Captioner

BUILTIN = Path(__file__).parent.parent.parent / "models" / "builtin"
CHUNK = 512         # pictures in a file of the cache
LONGEST = 40        # tokens of a caption; longer ones are cut


class FolderTower:
    """The image tower of a model folder, run by ONNX Runtime; its mapper reads the grid where it gives one."""

    def __init__(self, folder):
        import onnxruntime
        self.folder = Path(folder)
        self.manifest = json.loads((self.folder / "model.json").read_text())
        self.image = self.manifest["image"]
        self.path = self.folder / self.image["graph"]
        self.session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        grid = self.image.get("grid")
        self.output, self.cells = ("grid", grid["cells"]) if grid else ("embedding", 0)
        self.width = grid["dim"] if grid else self.image["embedding_dim"]

    @cached_property
    def key(self):
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def encode(self, pixels):
        return self.session.run([self.output], {"pixels": pixels})[0]

    def export(self, out):
        """Writes the graphs; returns the manifest's parts."""
        parts = {"image": self.image}
        files = [self.image["graph"]]
        if "text" in self.manifest:
            parts["text"] = dict(self.manifest["text"], tokenizer="text_tokenizer.json")
            files.append(self.manifest["text"]["graph"])
            (out / "text_tokenizer.json").write_bytes((self.folder / self.manifest["text"]["tokenizer"]).read_bytes())
        for name in files:
            (out / name).write_bytes((self.folder / name).read_bytes())
        return parts


class ClipTower:
    """A CLIP of Hugging Face's or OpenAI's."""

    def __init__(self, path):
        self.path = Path(path)
        try:
            self.module, _ = clip.load(path)
        except Missing as error:
            raise SystemExit(str(error))
        self.module.eval()
        self.output, self.cells, self.width = "embedding", 0, self.module.shape.out
        self.image = clip.image_spec(self.module)

    @cached_property
    def key(self):
        digest = hashlib.sha256()
        for tensor in self.module.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def encode(self, pixels):
        return self.module(torch.from_numpy(pixels)).numpy()

    def export(self, out):
        return {"image": clip.write_image(self.module, out, "fp32")}


def tower(name):
    path = BUILTIN if name == "built-in" else Path(name)
    return FolderTower(path) if (path / "model.json").exists() else ClipTower(path)


def pixels(path, image):
    """A picture file as the tower reads it: float32 [3,size,size]."""
    from PIL import Image
    size = image["size"]
    kind = Image.BICUBIC if image["resample"] == "bicubic" else Image.BILINEAR
    with Image.open(path) as opened:
        x = opened.convert("RGB")
    if image["resize"] == "squash":
        x = x.resize((size, size), kind)
    else:
        w, h = x.size
        w, h = (size, int(size * h / w)) if w <= h else (int(size * w / h), size)
        x = x.resize((w, h), kind)
        left, top = round((w - size) / 2), round((h - size) / 2)
        x = x.crop((left, top, left + size, top + size))
    x = (np.asarray(x, np.float32) / 255 - np.array(image["mean"], np.float32)) / np.array(image["std"], np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def embeddings(source, rows, work, batch=16):
    """[pictures, (cells,) width] float32. A file for each CHUNK pictures, named by the tower and the pictures: what is there
    is not computed again."""
    from concurrent.futures import ThreadPoolExecutor
    work.mkdir(parents=True, exist_ok=True)
    out, t0 = [], time.time()
    with ThreadPoolExecutor(2) as pool:
        for first in range(0, len(rows), CHUNK):
            some = rows[first : first + CHUNK]
            names = "\n".join(f"{r['image']} {os.path.getsize(r['path'])}" for r in some)
            path = work / f"pictures-{hashlib.sha256((source.key + names).encode()).hexdigest()[:24]}.npy"
            if not path.exists():
                got = []
                for k in range(0, len(some), batch):
                    x = pool.map(lambda r: pixels(r["path"], source.image), some[k : k + batch])
                    got.append(source.encode(np.stack(list(x))))
                part = path.with_suffix(".part.npy")
                np.save(part, np.concatenate(got))
                part.rename(path)
                done = first + len(some)
                print(f"pictures {done}/{len(rows)} {done / (time.time() - t0):.0f}/s", flush=True)
            out.append(np.load(path))
    return torch.from_numpy(np.concatenate(out))


class Standard(nn.Module):
    """A mapper behind standardised features: grids of a tower differ widely in scale from channel to channel. An MLP reads
    the mean of the cells, a transformer each cell as one of its vectors."""

    def __init__(self, mapper, width):
        super().__init__()
        self.mapper = mapper
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, grid):
        x = (grid - self.mean) / self.deviation
        return self.mapper(x.mean(1) if isinstance(self.mapper, MlpMapper) else x)


class CellMapper(TransformerMapper):
    """The transformer mapper with a vector for each cell of a grid in place of several from one embedding."""

    def __init__(self, inside, cells, prefix, width, layers, hidden):
        super().__init__(inside, 1, prefix, width, layers, hidden)
        self.clip_length = cells


def mapper_for(a, source, width, sample):
    """The published shapes: an MLP of half the prefix's width, or eight layers with MLPs of twice the width."""
    if a.mapper == "mlp":
        inner = MlpMapper(source.width, width * a.prefix_length // 2, a.prefix_length, width)
    elif source.cells:
        inner = CellMapper(source.width, source.cells, a.prefix_length, width, a.layers, 2 * width)
    else:
        inner = TransformerMapper(source.width, a.clip_length, a.prefix_length, width, a.layers, 2 * width)
    if hasattr(inner, "prefix_const"):
        nn.init.normal_(inner.prefix_const)
    if not source.cells:
        return inner
    module = Standard(inner, source.width)
    flat = sample.flatten(0, 1)
    module.mean.copy_(flat.mean(0))
    module.deviation.copy_(flat.std(0) + 1e-3)
    return module


class Model(Captioner):
    """A mapper before any decoder."""

    def __init__(self, mapper, decoder, frozen):
        nn.Module.__init__(self)
        self.mapper, self.decoder, self.frozen = mapper, decoder, frozen
        if frozen:
            decoder.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        if self.frozen:
            self.decoder.eval()
        return self

    def own(self):
        """What is trained, by name."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad}


def sentence(caption, stop):
    """As it is written, with one stop at its end."""
    return " ".join(caption.split()).rstrip(" .!") + stop


def language_model(a):
    shape, decoder, tokenizer = lm.load(a.lm, a.heads)
    if a.tokenizer:
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(a.tokenizer)
    if tokenizer is None:
        raise SystemExit(f"{a.lm}: there is no tokenizer.json beside it; name one with --tokenizer")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return shape, decoder, tokenizer


def batches(pairs, size, seed, window=50):
    """Batches of an epoch, in random order. Within `window` batches captions of like lengths stand together: little of the
    work goes to padding."""
    draw = random.Random(seed)
    order = list(range(len(pairs)))
    draw.shuffle(order)
    out = []
    for first in range(0, len(order) // size * size, window * size):
        some = sorted(order[first : first + window * size], key=lambda j: len(pairs[j][1]))
        out += [some[k : k + size] for k in range(0, len(some) // size * size, size)]
    draw.shuffle(out)
    return out


def atomic(state, path):
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    os.replace(part, path)


def train(a):
    out, work = Path(a.out), Path(a.work or a.out + ".work")
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out}: is there already and not empty")
    if a.threads:
        torch.set_num_threads(a.threads)
    source = tower(a.clip)
    shape, decoder, tokenizer = language_model(a)
    stop = tokenizer.token_to_id(a.stop_token)
    if stop is None:
        raise SystemExit(f"--stop-token {a.stop_token}: not among the {shape.vocab} tokens")
    rows = [r for c, i in zip(a.captions, a.images) for r in read_captions(c, i, c)]
    seen = embeddings(source, rows, work)
    if a.normalize_prefix:
        if source.cells:
            raise SystemExit("--normalize-prefix: this tower gives a grid of features, which is standardised instead")
        seen = F.normalize(seen, dim=-1)
    held = [i for i, r in enumerate(rows) if r["split"] == "val"]
    own = [i for i, r in enumerate(rows) if r["split"] != "val"]
    if not own or not held:
        raise SystemExit(f"{len(own)} pictures to train on and {len(held)} of split val: both are needed")
    held = held[: a.val_limit]
    pairs = []
    for i in own:
        for c in rows[i]["captions"]:
            ids = tokenizer.encode(sentence(c, a.stop_token)).ids[:LONGEST]
            pairs.append((i, ids if ids[-1] == stop else [*ids, stop]))
    torch.manual_seed(a.seed)
    model = Model(mapper_for(a, source, shape.width, seen[own[:2000]]), decoder, a.freeze_lm)
    names = model.own()
    opt = torch.optim.AdamW(names.values(), lr=a.lr, weight_decay=a.weight_decay)
    per_epoch = len(pairs) // a.batch
    if not per_epoch:
        raise SystemExit(f"{len(pairs)} captions are less than one batch of {a.batch}")
    total, warm = a.epochs * per_epoch, min(a.warmup, a.epochs * per_epoch // 2)
    config = {k: v for k, v in vars(a).items() if k not in ("run", "command", "out", "work", "threads", "save_every", "precision", "binary", "name", "licence")}
    config = json.dumps({**config, "tower": source.key, "pairs": len(pairs)}, sort_keys=True, default=str)
    state_path, best_path = work / "state.pt", work / "best.pt"
    step, best, minutes, losses = 0, -1.0, 0.0, []
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        if state["config"] != config:
            raise SystemExit(f"{state_path}: is of a run with other options; give another --work, or remove it")
        model.load_state_dict(state["model"], strict=False)
        opt.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        step, best, minutes, losses = state["step"], state["best"], state["minutes"], state["losses"]
        print(f"goes on at step {step} of {total}", flush=True)
    trained = sum(p.numel() for p in names.values())
    print(f"{trained:,} parameters are trained; {len(own)} pictures, {len(pairs)} captions, {total} steps", flush=True)

    def keep():
        atomic({"config": config, "model": {n: p.detach() for n, p in model.own().items()}, "optimiser": opt.state_dict(),
                "random": torch.get_rng_state(), "step": step, "best": best, "minutes": minutes, "losses": losses}, state_path)

    started = time.time()
    while step < total:
        epoch, at = divmod(step, per_epoch)
        model.train()
        for chosen in batches(pairs, a.batch, f"{a.seed} {epoch}")[at:]:
            some = [pairs[j] for j in chosen]
            longest = max(len(ids) for _, ids in some)
            target = torch.full((len(some), 1, longest), -100)
            for row, (_, ids) in zip(target, some):
                row[0, : len(ids)] = torch.tensor(ids)
            rate = min((step + 1) / max(1, warm), (total - step) / max(1, total - warm))
            for g in opt.param_groups:
                g["lr"] = a.lr * rate
            keeping = target.ne(-100)
            with torch.autocast("cpu", torch.bfloat16, enabled=a.bf16):
                hidden, = model.teach(seen[[i for i, _ in some]], target)
                logits = model.decoder.logits(hidden[keeping]).float()
            loss = F.cross_entropy(logits, target[keeping])
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(names.values(), 1.0)
            opt.step()
            losses.append(loss.item())
            step += 1
            if step % 50 == 0:
                print(f"{step}/{total} loss {np.mean(losses[-50:]):.3f} {(time.time() - started) / 60:.1f} min", flush=True)
                losses = losses[-50:]
            if step % a.save_every == 0 and step % per_epoch:
                minutes, started = minutes + (time.time() - started) / 60, time.time()
                keep()
        score, said = judge(model, seen, rows, held, tokenizer, stop)
        minutes, started = minutes + (time.time() - started) / 60, time.time()
        print(f"epoch {epoch + 1}/{a.epochs} CIDEr {score:.4f} {minutes:.1f} min | {said[0]} | {said[-1]}", flush=True)
        if score > best:
            best = score
            atomic({"model": {n: p.detach() for n, p in model.own().items()}, "epoch": epoch + 1, "cider": best}, best_path)
        keep()
    model.load_state_dict(torch.load(best_path, weights_only=True)["model"], strict=False)
    parts = (source, shape, model.eval(), tokenizer, stop)
    write(a, out, a.precision, *parts)
    report = {}
    if a.precision == "int8":
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            exact = Path(folder) / "fp32"
            write(a, exact, "fp32", *parts)
            report["against fp32"] = rounding(a.binary, exact, out, [rows[i]["path"] for i in held])
    megabytes = sum(f.stat().st_size for f in out.iterdir()) / 1e6
    print(json.dumps({"out": str(out), "mapper": a.mapper, "frozen": a.freeze_lm, "trained parameters": trained,
                      "minutes": round(minutes, 1), "CIDEr": round(best, 4), "megabytes": round(megabytes, 1), **report}))


def judge(model, seen, rows, held, tokenizer, stop, batch=25):
    """CIDEr of beam captions by `plain_cider`, and the captions."""
    model.eval()
    said = []
    for k in range(0, len(held), batch):
        said += [tokenizer.decode(ids).strip() for ids, _ in model.beam(seen[held[k : k + batch]], BEAM, LONGEST, stop)]
    return plain_cider(rows, dict(zip(held, said))), said


def write(a, out, precision, source, shape, model, tokenizer, stop):
    """The model folder. The image tower stays as it was."""
    out.mkdir(parents=True, exist_ok=True)
    parts = source.export(out)
    inside = (source.cells, source.width) if source.cells else (source.width,)
    mapper_graph(model.mapper, inside, out / "mapper.onnx", precision)
    decoder_graph([model.decoder], shape, out / "decoder.onnx", precision)
    tokenizer.save(str(out / "tokenizer.json"))
    seal(out, {
        "format": "descry-model/1", "name": a.name or out.name, "version": "1", "licence": a.licence or "",
        "trained_on": ", ".join(Path(c).name for c in a.captions),
        "description": f"{a.mapper} mapper on {Path(a.clip).name}, {'frozen' if a.freeze_lm else 'tuned'} {Path(a.lm).name}",
        "image": parts["image"],
        "mapper": {"graph": "mapper.onnx", "input": source.output, "normalize_prefix": a.normalize_prefix,
                   "prefix_length": a.prefix_length},
        "decoder": decoder_spec(shape),
        "tokenizer": "tokenizer.json",
        "decoding": {"stop_tokens": [stop], "max_tokens": min(LONGEST, shape.context - a.prefix_length),
                     "beam": BEAM, "temperature": 1.0},
        **({"text": parts["text"]} if "text" in parts else {}),
    })
