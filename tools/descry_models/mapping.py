"""Trains ClipCap's mapping network between any image tower and any causal language model that the importer reads.

Pictures are encoded once and cached. The mapper is trained, and the language model too unless it is frozen. The state
is saved every so many steps, random numbers included: a run that was killed and resumed ends with the result that it
would have had. Pictures of split "val" are never trained on; the epoch whose captions of them have the best CIDEr is
kept.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import lm
from .clipcap import BEAM, MlpMapper, TransformerMapper, TransformerMapperShape
from .data import Picture, read_pictures
from .export import decoder_spec, seal, write_decoder, write_mapper
from .image_towers import ImageTower, encode_pictures, image_tower
from .measure import plain_cider, rounding_cost
from .net import Captioner, Decoder

LONGEST = 40  # tokens of a caption; longer ones are cut
PADDING = -100


@dataclass(frozen=True)
class MappingOptions:
    """What `train` needs."""

    clip: str
    """A model folder, a CLIP, or the word built-in."""
    lm: Path
    captions: Sequence[str]
    images: Sequence[str]
    """One folder for each file of captions."""
    out: Path
    binary: Path
    work: Path | None = None
    mapper: str = "mlp"
    freeze_lm: bool = False
    tokenizer: str | None = None
    heads: int | None = None
    stop_token: str = "."
    normalize_prefix: bool = False
    prefix_length: int = 10
    clip_length: int = 10
    layers: int = 8
    epochs: int = 10
    batch: int = 40
    lr: float = 2e-5
    warmup: int = 5000
    weight_decay: float = 0.0
    bf16: bool = False
    seed: int = 0
    val_limit: int | None = None
    save_every: int = 200
    threads: int | None = None
    precision: str = "fp32"
    name: str | None = None
    licence: str | None = None

    # Options that do not change the trained weights.
    NOT_TRAINING = ("out", "binary", "work", "save_every", "threads", "precision", "name", "licence")

    def key(self, **more: Any) -> str:
        """Text that is equal for runs that train the same weights."""
        options = {k: v for k, v in asdict(self).items() if k not in self.NOT_TRAINING}
        return json.dumps({**options, **more}, sort_keys=True, default=str)


# ---- networks --------------------------------------------------------------------------------------------------------


class StandardisedMapper(nn.Module):
    """A mapper of standardised features: grids of a tower differ widely in scale from channel to channel.

    An MLP reads the mean of the cells, a transformer each cell as one of its vectors.
    """

    def __init__(self, mapper: nn.Module, width: int) -> None:
        super().__init__()
        self.mapper = mapper
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, grid: Tensor) -> Tensor:
        x = (grid - self.mean) / self.deviation
        return self.mapper(x.mean(1) if isinstance(self.mapper, MlpMapper) else x)


class CellMapper(TransformerMapper):
    """The transformer mapper with a vector for each cell of a grid, instead of several from one embedding."""

    def __init__(self, s: TransformerMapperShape, cells: int) -> None:
        super().__init__(s)
        self.clip_length = cells


def new_mapper(o: MappingOptions, tower: ImageTower, width: int, sample: Tensor) -> nn.Module:
    """The published shapes: an MLP of half the prefix's width, or eight layers with MLPs of twice the width."""
    if o.mapper == "mlp":
        inner: nn.Module = MlpMapper(tower.width, width * o.prefix_length // 2, o.prefix_length, width)
    else:
        clip_length = 1 if tower.cells else o.clip_length
        shape = TransformerMapperShape(tower.width, clip_length, o.prefix_length, width, o.layers, 2 * width)
        inner = CellMapper(shape, tower.cells) if tower.cells else TransformerMapper(shape)
        nn.init.normal_(inner.prefix_const)
    if not tower.cells:
        return inner
    module = StandardisedMapper(inner, tower.width)
    cells = sample.flatten(0, 1)
    module.mean.copy_(cells.mean(0))
    module.deviation.copy_(cells.std(0) + 1e-3)
    return module


class MappedCaptioner(Captioner):
    """A mapper in front of any decoder."""

    def __init__(self, mapper: nn.Module, decoder: Decoder, frozen: bool) -> None:
        super().__init__(mapper, decoder)
        self.frozen = frozen
        if frozen:
            decoder.requires_grad_(False)

    def train(self, mode: bool = True) -> MappedCaptioner:
        super().train(mode)
        if self.frozen:
            self.decoder.eval()
        return self

    def trained(self) -> dict[str, nn.Parameter]:
        """The trained parameters, by name."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad}


# ---- training --------------------------------------------------------------------------------------------------------


def sentence(caption: str, stop: str) -> str:
    """The caption as written, with one stop at its end."""
    return " ".join(caption.split()).rstrip(" .!") + stop


def language_model(o: MappingOptions) -> tuple[lm.LanguageModel, Any]:
    """The language model, and its tokenizer, which neither pads nor cuts."""
    model = lm.load(o.lm, o.heads)
    tokenizer = model.tokenizer
    if o.tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(o.tokenizer)
    if tokenizer is None:
        raise SystemExit(f"{o.lm}: it has no tokenizer.json; name one with --tokenizer")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return model, tokenizer


def batches(pairs: Sequence[tuple[int, list[int]]], size: int, seed: str, window: int = 50) -> list[list[int]]:
    """Batches of an epoch, as indices of `pairs`, in random order.

    Within `window` batches, captions of similar length go together, so that little work goes into padding.
    """
    rng = random.Random(seed)
    order = list(range(len(pairs)))
    rng.shuffle(order)
    out = []
    for start in range(0, len(order) // size * size, window * size):
        some = sorted(order[start : start + window * size], key=lambda j: len(pairs[j][1]))
        out += [some[k : k + size] for k in range(0, len(some) // size * size, size)]
    rng.shuffle(out)
    return out


def save_atomically(state: dict[str, Any], path: Path) -> None:
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    part.replace(path)


@dataclass
class Data:
    """Pictures, their encodings, and the captions of those that are trained on."""

    pictures: list[Picture]
    encoded: Tensor
    own: list[int]
    """Pictures to train on."""
    held_out: list[int]
    """Pictures of split val."""
    pairs: list[tuple[int, list[int]]]
    """(picture, ids of a caption with its stop token)."""


def read_data(o: MappingOptions, tower: ImageTower, tokenizer: Any, stop: int, work: Path) -> Data:
    pictures = [
        p
        for captions, images in zip(o.captions, o.images, strict=True)
        for p in read_pictures(captions, images, captions)
    ]
    encoded = encode_pictures(tower, pictures, work)
    if o.normalize_prefix:
        if tower.cells:
            raise SystemExit("--normalize-prefix: this tower gives a grid of features, which is standardised instead")
        encoded = F.normalize(encoded, dim=-1)
    held_out = [i for i, p in enumerate(pictures) if p.split == "val"]
    own = [i for i, p in enumerate(pictures) if p.split != "val"]
    if not own or not held_out:
        raise SystemExit(f"{len(own)} pictures to train on and {len(held_out)} of split val: both are needed")
    pairs = []
    for i in own:
        for caption in pictures[i].captions:
            ids = tokenizer.encode(sentence(caption, o.stop_token)).ids[:LONGEST]
            pairs.append((i, ids if ids[-1] == stop else [*ids, stop]))
    if len(pairs) < o.batch:
        raise SystemExit(f"{len(pairs)} captions are less than one batch of {o.batch}")
    return Data(pictures, encoded, own, held_out[: o.val_limit], pairs)


class MappingRun:
    """A training run that can be interrupted and resumed."""

    def __init__(self, o: MappingOptions, work: Path) -> None:
        self.o, self.work = o, work
        self.tower = image_tower(o.clip)
        self.language, self.tokenizer = language_model(o)
        stop = self.tokenizer.token_to_id(o.stop_token)
        if stop is None:
            raise SystemExit(f"--stop-token {o.stop_token}: not among the {self.language.shape.vocab} tokens")
        self.stop: int = stop
        self.data = read_data(o, self.tower, self.tokenizer, stop, work)
        torch.manual_seed(o.seed)
        sample = self.data.encoded[self.data.own[:2000]]
        mapper = new_mapper(o, self.tower, self.language.shape.width, sample)
        self.model = MappedCaptioner(mapper, self.language.decoder, o.freeze_lm)
        self.parameters = self.model.trained()
        self.optimiser = torch.optim.AdamW(self.parameters.values(), lr=o.lr, weight_decay=o.weight_decay)
        self.per_epoch = len(self.data.pairs) // o.batch
        self.total = o.epochs * self.per_epoch
        self.warm = min(o.warmup, self.total // 2)
        self.key = o.key(tower=self.tower.key, pairs=len(self.data.pairs))
        self.step, self.best, self.minutes = 0, -1.0, 0.0
        self.losses: list[float] = []
        self.started = time.time()

    def resume(self) -> None:
        """Continues from the saved state, if there is one."""
        path = self.work / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["config"] != self.key:
            raise SystemExit(f"{path}: belongs to a run with other options; give another --work, or remove it")
        self.model.load_state_dict(state["model"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        self.step, self.best, self.minutes, self.losses = (state[k] for k in ("step", "best", "minutes", "losses"))
        print(f"resuming at step {self.step} of {self.total}", flush=True)

    def weights(self) -> dict[str, Tensor]:
        return {n: p.detach() for n, p in self.model.trained().items()}

    def count_minutes(self) -> None:
        now = time.time()
        self.minutes, self.started = self.minutes + (now - self.started) / 60, now

    def save(self) -> None:
        state = {
            "config": self.key,
            "model": self.weights(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "step": self.step,
            "best": self.best,
            "minutes": self.minutes,
            "losses": self.losses,
        }
        save_atomically(state, self.work / "state.pt")

    def train_batch(self, chosen: Sequence[int]) -> None:
        """One step on the pairs of a batch."""
        some = [self.data.pairs[j] for j in chosen]
        longest = max(len(ids) for _, ids in some)
        target = torch.full((len(some), 1, longest), PADDING)
        for row, (_, ids) in zip(target, some, strict=True):
            row[0, : len(ids)] = torch.tensor(ids)
        rate = min((self.step + 1) / max(1, self.warm), (self.total - self.step) / max(1, self.total - self.warm))
        for group in self.optimiser.param_groups:
            group["lr"] = self.o.lr * rate
        keep = target.ne(PADDING)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.o.bf16):
            (hidden,) = self.model.teach(self.data.encoded[[i for i, _ in some]], target)
            logits = self.model.decoder.logits(hidden[keep]).float()
        loss = F.cross_entropy(logits, target[keep])
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimiser.step()
        self.losses.append(loss.item())
        self.step += 1

    def train_epoch(self) -> None:
        """The rest of the current epoch."""
        epoch, done = divmod(self.step, self.per_epoch)
        self.model.train()
        for chosen in batches(self.data.pairs, self.o.batch, f"{self.o.seed} {epoch}")[done:]:
            self.train_batch(chosen)
            if self.step % 50 == 0:
                minutes = (time.time() - self.started) / 60
                mean = np.mean(self.losses[-50:])
                print(f"{self.step}/{self.total} loss {mean:.3f} {minutes:.1f} min", flush=True)
                self.losses = self.losses[-50:]
            if self.step % self.o.save_every == 0 and self.step % self.per_epoch:
                self.count_minutes()
                self.save()

    def run(self) -> None:
        """Trains to the end, and leaves the model with the weights of the best epoch."""
        best_path = self.work / "best.pt"
        while self.step < self.total:
            epoch = self.step // self.per_epoch
            self.train_epoch()
            score, captions = self.judge()
            self.count_minutes()
            print(
                f"epoch {epoch + 1}/{self.o.epochs} CIDEr {score:.4f} {self.minutes:.1f} min | "
                f"{captions[0]} | {captions[-1]}",
                flush=True,
            )
            if score > self.best:
                self.best = score
                save_atomically({"model": self.weights(), "epoch": epoch + 1, "cider": score}, best_path)
            self.save()
        self.model.load_state_dict(torch.load(best_path, weights_only=True)["model"], strict=False)
        self.model.eval()

    def judge(self, batch: int = 25) -> tuple[float, list[str]]:
        """CIDEr of beam captions of the held-out pictures, and the captions."""
        self.model.eval()
        held_out, captions = self.data.held_out, []
        for start in range(0, len(held_out), batch):
            encoded = self.data.encoded[held_out[start : start + batch]]
            for ids, _ in self.model.beam(encoded, BEAM, LONGEST, self.stop):
                captions.append(self.tokenizer.decode(ids).strip())
        return plain_cider(self.data.pictures, dict(zip(held_out, captions, strict=True))), captions

    def write(self, out: Path, precision: str) -> None:
        """Writes the model folder. The image tower stays as it was."""
        o, shape = self.o, self.language.shape
        out.mkdir(parents=True, exist_ok=True)
        parts = self.tower.export(out)
        inside = (self.tower.cells, self.tower.width) if self.tower.cells else (self.tower.width,)
        write_mapper(self.model.mapper, inside, out / "mapper.onnx", precision)
        write_decoder([self.model.decoder], shape, out / "decoder.onnx", precision)
        self.tokenizer.save(str(out / "tokenizer.json"))
        manifest = {
            "format": "descry-model/1",
            "name": o.name or out.name,
            "version": "1",
            "licence": o.licence or "",
            "trained_on": ", ".join(Path(c).name for c in o.captions),
            "description": f"{o.mapper} mapper on {Path(o.clip).name}, "
            f"{'frozen' if o.freeze_lm else 'tuned'} {o.lm.name}",
            "image": parts["image"],
            "mapper": {
                "graph": "mapper.onnx",
                "input": self.tower.output,
                "normalize_prefix": o.normalize_prefix,
                "prefix_length": o.prefix_length,
            },
            "decoder": decoder_spec(shape),
            "tokenizer": "tokenizer.json",
            "decoding": {
                "stop_tokens": [self.stop],
                "max_tokens": min(LONGEST, shape.context - o.prefix_length),
                "beam": BEAM,
                "temperature": 1.0,
            },
        }
        if "text" in parts:
            manifest["text"] = parts["text"]
        seal(out, manifest)


def train_mapping(o: MappingOptions) -> None:
    """Trains, writes the model folder, and prints a report."""
    out, work = o.out, o.work or Path(f"{o.out}.work")
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out}: exists and is not empty")
    if o.threads:
        torch.set_num_threads(o.threads)
    run = MappingRun(o, work)
    run.resume()
    trained = sum(p.numel() for p in run.parameters.values())
    print(
        f"training {trained:,} parameters on {len(run.data.own)} pictures, {len(run.data.pairs)} captions, "
        f"{run.total} steps",
        flush=True,
    )
    run.started = time.time()
    run.run()
    run.write(out, o.precision)
    report: dict[str, Any] = {}
    if o.precision == "int8":
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            exact = Path(folder) / "fp32"
            run.write(exact, "fp32")
            paths = [run.data.pictures[i].path for i in run.data.held_out]
            report["against fp32"] = rounding_cost(o.binary, exact, out, paths)
    report = {
        "out": str(out),
        "mapper": o.mapper,
        "frozen": o.freeze_lm,
        "trained parameters": trained,
        "minutes": round(run.minutes, 1),
        "CIDEr": round(run.best, 4),
        "megabytes": round(sum(f.stat().st_size for f in out.iterdir()) / 1e6, 1),
        **report,
    }
    print(json.dumps(report))
