"""Imports published ClipCap checkpoints (arXiv 2111.09734, rmokady/CLIP_prefix_caption) as model folders.

Mapper, prefix length, clip length, layers and widths follow from the shapes of the tensors. What shapes cannot show
(whether the embedding is normalised, the stop token, GPT-2's heads where they are not 64 wide) comes from an option or
a preset.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import clip
from .clip import MissingTensorsError, State, fill, read_tensors, take
from .export import decoder_spec, seal, write_decoder, write_mapper, write_text
from .lm import gpt2_from
from .measure import rounding_cost
from .net import Decoder, Shape

MAPPER_HEADS = 8  # of the transformer mapper, in the paper and in its code
MAX_TOKENS, BEAM = 67, 5  # the released code's
LEAST_COSINE = 0.99  # of a picture's int8 embedding with its fp32 one


@dataclass(frozen=True)
class Preset:
    """What is known about a published checkpoint; its shapes are checked against it."""

    mapper: str
    normalize_prefix: bool
    prefix_length: int
    embedding: int
    trained_on: str
    stop_token: str = "."


PRESETS = {
    "coco-mlp": Preset("mlp", False, 10, 512, "COCO captions"),
    "conceptual-mlp": Preset("mlp", False, 10, 512, "Conceptual Captions"),
    "coco-transformer": Preset("transformer", True, 40, 640, "COCO captions"),
}


@dataclass(frozen=True)
class ImportOptions:
    """What `import` needs."""

    clipcap: Path
    clip: Path
    tokenizer: Path
    out: Path
    binary: Path
    preset: str | None = None
    normalize_prefix: bool | None = None
    stop_token: str | None = None
    heads: int | None = None
    text_tokenizer: Path | None = None
    precision: str = "fp32"
    images: Path | None = None
    """Pictures that show what int8 costs."""
    limit: int = 100
    """How many of them."""
    name: str | None = None
    licence: str | None = None


# ---- mappers ---------------------------------------------------------------------------------------------------------


class MlpMapper(nn.Module):
    """Embedding [N,D] -> prefix [N,P,W] through one hidden layer and tanh."""

    def __init__(self, inside: int, hidden: int, prefix: int, width: int) -> None:
        super().__init__()
        self.prefix, self.width = prefix, width
        self.model = nn.ModuleDict({"0": nn.Linear(inside, hidden), "2": nn.Linear(hidden, prefix * width)})

    def forward(self, x: Tensor) -> Tensor:
        return self.model["2"](torch.tanh(self.model["0"](x))).view(-1, self.prefix, self.width)


class MapperLayer(nn.Module):
    """A pre-norm layer of the transformer mapper."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict(
            {
                "to_queries": nn.Linear(width, width, bias=False),
                "to_keys_values": nn.Linear(width, 2 * width, bias=False),
                "project": nn.Linear(width, width),
            }
        )
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        n, t, w = x.shape

        def split(z: Tensor) -> Tensor:
            return z.view(n, t, MAPPER_HEADS, w // MAPPER_HEADS).transpose(1, 2)

        y = self.norm1(x)
        # Keys are the first half of the joint projection, values the second.
        k, v = self.attn["to_keys_values"](y).split(w, 2)
        a = (split(self.attn["to_queries"](y)) @ split(k).transpose(2, 3) * (w // MAPPER_HEADS) ** -0.5).softmax(-1)
        x = x + self.attn["project"]((a @ split(v)).transpose(1, 2).reshape(n, t, w))
        return x + self.mlp["fc2"](F.relu(self.mlp["fc1"](self.norm2(x))))


@dataclass(frozen=True)
class TransformerMapperShape:
    """Shape of a transformer mapper: `inside` and `width` are those of the embedding and of the language model."""

    inside: int
    clip_length: int
    prefix: int
    width: int
    layers: int
    hidden: int


class TransformerMapper(nn.Module):
    """Embedding [N,D] -> clip_length vectors, followed by learned constants; the outputs of these are the prefix."""

    def __init__(self, s: TransformerMapperShape) -> None:
        super().__init__()
        self.clip_length, self.width = s.clip_length, s.width
        self.linear = nn.Linear(s.inside, s.clip_length * s.width)
        self.prefix_const = nn.Parameter(torch.zeros(s.prefix, s.width))
        layers = nn.ModuleList(MapperLayer(s.width, s.hidden) for _ in range(s.layers))
        self.transformer = nn.ModuleDict({"layers": layers})

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x).view(-1, self.clip_length, self.width)
        x = torch.cat((x, self.prefix_const.expand(x.shape[0], -1, -1)), 1)
        for layer in self.transformer["layers"]:
            x = layer(x)
        return x[:, self.clip_length :]


# ---- import ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mapper:
    """A mapper of a checkpoint, and what its shapes show."""

    kind: str
    module: nn.Module
    embedding: int
    prefix: int


def mapper_from(state: State, width: int, source: str) -> Mapper:
    """Reads the mapper of a checkpoint whose language model has this width."""
    where = f"{source}: clip_project"
    own = {k.removeprefix("clip_project."): v.float() for k, v in state.items() if k.startswith("clip_project.")}
    if "prefix_const" in own:
        prefix, first = own["prefix_const"].shape[0], take(own, "linear.weight", where)
        check_multiple(first, "linear.weight", width, source)
        hidden = take(own, "transformer.layers.0.mlp.fc1.weight", where).shape[0]
        layers = clip.count_layers(own, "transformer.layers.{}.")
        clip_length = first.shape[0] // width
        shape = TransformerMapperShape(first.shape[1], clip_length, prefix, width, layers, hidden)
        module: nn.Module = TransformerMapper(shape)
        kind = "transformer"
    elif "model.0.weight" in own:
        first, last = own["model.0.weight"], take(own, "model.2.weight", where)
        check_multiple(last, "model.2.weight", width, source)
        prefix = last.shape[0] // width
        module, kind = MlpMapper(first.shape[1], first.shape[0], prefix, width), "mlp"
    else:
        raise MissingTensorsError(
            f"{source}: no mapper in it: neither clip_project.model.0.weight (MLP) nor "
            f"clip_project.prefix_const (transformer)"
        )
    return Mapper(kind, fill(module, own, where), first.shape[1], prefix)


def check_multiple(weight: Tensor, name: str, width: int, source: str) -> None:
    if weight.shape[0] % width:
        raise MissingTensorsError(
            f"{source}: clip_project.{name} is {list(weight.shape)}: its rows are no multiple of "
            f"the language model's width {width}"
        )


@dataclass(frozen=True)
class Checkpoint:
    """Everything that goes into the model folder."""

    shape: Shape
    decoder: Decoder
    mapper: Mapper
    tower: nn.Module
    text: nn.Module | None
    normalize: bool
    stop: int
    preset: Preset | None


def read_checkpoint(o: ImportOptions) -> Checkpoint:
    """Reads all networks, and settles what their shapes do not show."""
    source, preset = str(o.clipcap), PRESETS.get(o.preset or "")
    try:
        state = read_tensors(o.clipcap)
        shape, decoder = gpt2_from(state, o.heads, source)
        mapper = mapper_from(state, shape.width, source)
        tower, text = clip.load(o.clip, bool(o.text_tokenizer))
    except MissingTensorsError as error:
        raise SystemExit(str(error)) from error
    if preset:
        check_preset(o, preset, mapper)
    if tower.shape.out != mapper.embedding:
        raise SystemExit(
            f"{source}: its mapper reads {mapper.embedding} numbers, but {o.clip} gives embeddings of "
            f"{tower.shape.out}: this checkpoint belongs to another CLIP"
        )
    normalize, stop = o.normalize_prefix, o.stop_token
    if preset:
        normalize = preset.normalize_prefix if normalize is None else normalize
        stop = preset.stop_token if stop is None else stop
    if normalize is None:
        raise SystemExit(
            "No checkpoint says whether its embedding is normalised: give --normalize-prefix or --no-normalize-prefix, "
            "or a --preset"
        )
    if stop is None:
        raise SystemExit("No checkpoint names its stop token: give --stop-token (GPT-2: '.'), or a --preset")
    return Checkpoint(shape, decoder, mapper, tower, text, normalize, stop_id(o.tokenizer, stop, shape.vocab), preset)


def check_preset(o: ImportOptions, preset: Preset, mapper: Mapper) -> None:
    for what, found, expected in (
        ("mapper", mapper.kind, preset.mapper),
        ("prefix length", mapper.prefix, preset.prefix_length),
        ("embedding width", mapper.embedding, preset.embedding),
    ):
        if found != expected:
            raise SystemExit(f"{o.clipcap}: not {o.preset}: its {what} is {found}, the preset's is {expected}")


def stop_id(tokenizer: Path, stop: str, vocab: int) -> int:
    """The id of a stop token that is given as text or as an id."""
    from tokenizers import Tokenizer

    number = int(stop) if stop.lstrip("-").isdigit() else Tokenizer.from_file(str(tokenizer)).token_to_id(stop)
    if number is None or not 0 <= number < vocab:
        raise SystemExit(f"--stop-token {stop}: not among the {vocab} tokens")
    return number


def trial_pictures(o: ImportOptions) -> list[Path]:
    """The pictures that show what int8 costs."""
    if not o.images:
        raise SystemExit("--precision int8 needs --images DIR: real pictures show what rounding costs")
    pictures = sorted(p for p in o.images.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[: o.limit]
    if not pictures:
        raise SystemExit(f"{o.images}: it has no .jpg or .png to try int8 on")
    return pictures


def import_clipcap(o: ImportOptions) -> None:
    """Writes the model folder and prints what it holds."""
    checkpoint = read_checkpoint(o)
    out = o.out
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out}: exists and is not empty")
    shape, mapper = checkpoint.shape, checkpoint.mapper
    report: dict[str, Any] = {
        "out": str(out),
        "mapper": mapper.kind,
        "prefix_length": mapper.prefix,
        "embedding": mapper.embedding,
        "gpt2": [shape.layers, shape.heads, shape.width, shape.vocab],
        "image": checkpoint.tower.shape.size,
        "normalize_prefix": checkpoint.normalize,
        "stop_token": checkpoint.stop,
    }
    if o.precision == "int8":
        report["against fp32"] = write_int8(o, checkpoint, trial_pictures(o))
    else:
        write_folder(o, checkpoint, out, o.precision)
    report["megabytes"] = round(sum(f.stat().st_size for f in out.iterdir()) / 1e6, 1)
    print(json.dumps(report))


def write_int8(o: ImportOptions, checkpoint: Checkpoint, pictures: list[Path]) -> dict[str, Any]:
    """Writes the folder elsewhere and moves it into place once real pictures have shown what the rounding costs."""
    o.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=o.out.parent) as folder:
        exact, rounded = Path(folder) / "fp32", Path(folder) / "int8"
        write_folder(o, checkpoint, exact, "fp32")
        write_folder(o, checkpoint, rounded, "int8")
        cost = rounding_cost(o.binary, exact, rounded, pictures)
        if cost["least cosine"] < LEAST_COSINE:
            raise SystemExit(
                f"{o.out}: not written, int8 changes the embeddings of real pictures too much: {json.dumps(cost)}; "
                f"the least cosine must be {LEAST_COSINE}. Use --precision fp16"
            )
        if o.out.exists():
            o.out.rmdir()
        rounded.rename(o.out)
    return cost


def write_folder(o: ImportOptions, checkpoint: Checkpoint, out: Path, precision: str) -> None:
    """Writes the model folder at a precision."""
    shape, mapper, preset = checkpoint.shape, checkpoint.mapper, checkpoint.preset
    out.mkdir(parents=True, exist_ok=True)
    image = clip.write_image(checkpoint.tower, out, precision)
    write_mapper(mapper.module, (mapper.embedding,), out / "mapper.onnx", precision)
    write_decoder([checkpoint.decoder], shape, out / "decoder.onnx", precision)
    (out / "tokenizer.json").write_bytes(o.tokenizer.read_bytes())
    manifest = {
        "format": "descry-model/1",
        "name": o.name or o.preset or o.clipcap.stem,
        "version": "1",
        "licence": o.licence or "as the checkpoint's own",
        "trained_on": preset.trained_on if preset else "",
        "description": f"ClipCap, {mapper.kind} mapper, imported at {precision}",
        "image": image,
        "mapper": {
            "graph": "mapper.onnx",
            "input": "embedding",
            "normalize_prefix": checkpoint.normalize,
            "prefix_length": mapper.prefix,
        },
        "decoder": decoder_spec(shape),
        "tokenizer": "tokenizer.json",
        "decoding": {
            "stop_tokens": [checkpoint.stop],
            "max_tokens": min(MAX_TOKENS, shape.context - mapper.prefix),
            "beam": BEAM,
            "temperature": 1.0,
        },
    }
    if checkpoint.text is not None and o.text_tokenizer:
        context = checkpoint.text.shape.context
        write_text(checkpoint.text, context, out / "text.onnx", precision)
        (out / "text_tokenizer.json").write_bytes(o.text_tokenizer.read_bytes())
        manifest["text"] = {
            "graph": "text.onnx",
            "tokenizer": "text_tokenizer.json",
            "context_length": context,
            "pad_token": 0,
        }
    seal(out, manifest)
