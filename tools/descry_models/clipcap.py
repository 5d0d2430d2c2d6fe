"""Published ClipCap checkpoints (arXiv 2111.09734, rmokady/CLIP_prefix_caption) as model folders.

Mapper, prefix length, clip length, layers and widths come from the tensors' shapes. What shapes cannot say (whether the
embedding is normalised, the stop token, GPT-2's heads where they are not 64 wide) is asked for or comes from a preset.
"""
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from . import clip
from .clip import Missing, fill, read_tensors, take
from .export import decoder_graph, decoder_spec, graph, mapper_graph, seal
from .lm import gpt2_of
from .measure import rounding

MAPPER_HEADS = 8        # of the transformer mapper, in the paper and in its code
MAX_TOKENS, BEAM = 67, 5    # the released code's
LEAST_COSINE = 0.99         # of a picture's int8 embedding with its own in fp32


@dataclass
class Preset:
    """What is known of a published checkpoint; its shapes are checked against it."""
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


class MlpMapper(nn.Module):
    """Embedding [N,D] -> prefix [N,P,W] through one hidden layer and tanh."""

    def __init__(self, inside, hidden, prefix, width):
        super().__init__()
        self.prefix, self.width = prefix, width
        self.model = nn.ModuleDict({"0": nn.Linear(inside, hidden), "2": nn.Linear(hidden, prefix * width)})

    def forward(self, x):
        return self.model["2"](torch.tanh(self.model["0"](x))).view(-1, self.prefix, self.width)


class MapperLayer(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"to_queries": nn.Linear(width, width, bias=False),
                                   "to_keys_values": nn.Linear(width, 2 * width, bias=False),
                                   "project": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x):
        n, t, w = x.shape
        split = lambda z: z.view(n, t, MAPPER_HEADS, w // MAPPER_HEADS).transpose(1, 2)
        y = self.norm1(x)
        # Keys are the first half of the joint projection, values the second.
        k, v = self.attn["to_keys_values"](y).split(w, 2)
        a = (split(self.attn["to_queries"](y)) @ split(k).transpose(2, 3) * (w // MAPPER_HEADS) ** -0.5).softmax(-1)
        x = x + self.attn["project"]((a @ split(v)).transpose(1, 2).reshape(n, t, w))
        return x + self.mlp["fc2"](F.relu(self.mlp["fc1"](self.norm2(x))))


class TransformerMapper(nn.Module):
    """Embedding [N,D] -> clip_length vectors, the learned constants behind them; what becomes of these is the prefix."""

    def __init__(self, inside, clip_length, prefix, width, layers, hidden):
        super().__init__()
        self.clip_length, self.width = clip_length, width
        self.linear = nn.Linear(inside, clip_length * width)
        self.prefix_const = nn.Parameter(torch.zeros(prefix, width))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(MapperLayer(width, hidden) for _ in range(layers))})

    def forward(self, x):
        x = self.linear(x).view(-1, self.clip_length, self.width)
        x = torch.cat((x, self.prefix_const.expand(x.shape[0], -1, -1)), 1)
        for layer in self.transformer["layers"]:
            x = layer(x)
        return x[:, self.clip_length:]


def mapper_of(state, width, source):
    """(kind, module, width of the embedding, prefix length)"""
    own = {k[len("clip_project."):]: v.float() for k, v in state.items() if k.startswith("clip_project.")}
    if "prefix_const" in own:
        prefix = own["prefix_const"].shape[0]
        first = take(own, "linear.weight", f"{source}: clip_project")
        layers = clip.count(own, "transformer.layers.{}.")
        if first.shape[0] % width:
            raise Missing(f"{source}: clip_project.linear.weight is {list(first.shape)}: its rows are no multiple of "
                          f"the language model's width {width}")
        hidden = take(own, "transformer.layers.0.mlp.fc1.weight", f"{source}: clip_project").shape[0]
        module = TransformerMapper(first.shape[1], first.shape[0] // width, prefix, width, layers, hidden)
        kind = "transformer"
    elif "model.0.weight" in own:
        first, last = own["model.0.weight"], take(own, "model.2.weight", f"{source}: clip_project")
        if last.shape[0] % width:
            raise Missing(f"{source}: clip_project.model.2.weight is {list(last.shape)}: its rows are no multiple of "
                          f"the language model's width {width}")
        prefix = last.shape[0] // width
        module, kind = MlpMapper(first.shape[1], first.shape[0], prefix, width), "mlp"
    else:
        raise Missing(f"{source}: no mapper in it: neither clip_project.model.0.weight (MLP) nor "
                      f"clip_project.prefix_const (transformer)")
    return kind, fill(module, own, f"{source}: clip_project"), first.shape[1], prefix


def import_clipcap(a):
    source, preset = str(a.clipcap), PRESETS.get(a.preset)
    try:
        state = read_tensors(a.clipcap)
        shape, decoder = gpt2_of(state, a.heads, source)
        kind, mapper, inside, prefix = mapper_of(state, shape.width, source)
        tower, text = clip.load(a.clip, bool(a.text_tokenizer))
    except Missing as error:
        raise SystemExit(str(error))
    if preset:
        for what, found, known in (("mapper", kind, preset.mapper), ("prefix length", prefix, preset.prefix_length),
                                   ("embedding width", inside, preset.embedding)):
            if found != known:
                raise SystemExit(f"{source}: not {a.preset}: its {what} is {found}, that one's {known}")
    if tower.shape.out != inside:
        raise SystemExit(f"{source}: its mapper reads {inside} numbers, but {a.clip} gives embeddings of {tower.shape.out}: "
                         "another CLIP belongs to it")
    normalize = a.normalize_prefix if a.normalize_prefix is not None else preset and preset.normalize_prefix
    stop = a.stop_token if a.stop_token is not None else preset and preset.stop_token
    if normalize is None:
        raise SystemExit("whether the embedding is normalised stands in no checkpoint: say --normalize-prefix or "
                         "--no-normalize-prefix, or name a --preset")
    if stop is None:
        raise SystemExit("the stop token stands in no checkpoint: say --stop-token (GPT-2: '.'), or name a --preset")
    from tokenizers import Tokenizer
    out = Path(a.out)
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out}: is there already and not empty")
    some = []
    if a.precision == "int8":
        if not a.images:
            raise SystemExit("--precision int8 wants --images DIR: real pictures show what the rounding costs")
        some = sorted(p for p in Path(a.images).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[: a.limit]
        if not some:
            raise SystemExit(f"{a.images}: no .jpg or .png in it to try int8 on")
    tokenizer = Tokenizer.from_file(str(a.tokenizer)) if a.tokenizer else None
    stop_id = int(stop) if str(stop).lstrip("-").isdigit() else tokenizer and tokenizer.token_to_id(stop)
    if stop_id is None or not 0 <= stop_id < shape.vocab:
        raise SystemExit(f"--stop-token {stop}: not among the {shape.vocab} tokens")

    def write(out, precision):
        out.mkdir(parents=True, exist_ok=True)
        image = clip.write_image(tower, out, precision)
        mapper_graph(mapper, (inside,), out / "mapper.onnx", precision)
        decoder_graph([decoder], shape, out / "decoder.onnx", precision)
        (out / "tokenizer.json").write_bytes(Path(a.tokenizer).read_bytes())
        manifest = {
            "format": "descry-model/1", "name": a.name or a.preset or Path(a.clipcap).stem, "version": "1",
            "licence": a.licence or "as the checkpoint's own", "trained_on": preset.trained_on if preset else "",
            "description": f"ClipCap, {kind} mapper, imported at {precision}",
            "image": image,
            "mapper": {"graph": "mapper.onnx", "input": "embedding", "normalize_prefix": bool(normalize),
                       "prefix_length": prefix},
            "decoder": decoder_spec(shape),
            "tokenizer": "tokenizer.json",
            "decoding": {"stop_tokens": [stop_id], "max_tokens": min(MAX_TOKENS, shape.context - prefix), "beam": BEAM,
                         "temperature": 1.0},
        }
        if text is not None:
            t = text.shape
            graph(text, (torch.ones(2, t.context, dtype=torch.long),), out / "text.onnx", ["ids"], ["embedding"],
                  {"ids": {0: "n"}, "embedding": {0: "n"}}, precision)
            (out / "text_tokenizer.json").write_bytes(Path(a.text_tokenizer).read_bytes())
            manifest["text"] = {"graph": "text.onnx", "tokenizer": "text_tokenizer.json", "context_length": t.context,
                                "pad_token": 0}
        seal(out, manifest)

    report = {"out": str(out), "mapper": kind, "prefix_length": prefix, "embedding": inside,
              "gpt2": [shape.layers, shape.heads, shape.width, shape.vocab], "image": tower.shape.size,
              "normalize_prefix": bool(normalize), "stop_token": stop_id}
    if a.precision == "int8":
        # Written beside, and put in place once real pictures have shown what the rounding costs.
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            exact, rounded = Path(folder) / "fp32", Path(folder) / "int8"
            write(exact, "fp32")
            write(rounded, "int8")
            cost = rounding(a.binary, exact, rounded, some)
            report["against fp32"] = cost
            if cost["least cosine"] < LEAST_COSINE:
                raise SystemExit(f"{out}: not written, int8 changes the embeddings of real pictures too much: "
                                 f"{json.dumps(cost)}; the least cosine must be {LEAST_COSINE}. Take --precision fp16")
            if out.exists():
                out.rmdir()
            rounded.rename(out)
    else:
        write(out, a.precision)
    report["megabytes"] = round(sum(f.stat().st_size for f in out.iterdir()) / 1e6, 1)
    print(json.dumps(report))
