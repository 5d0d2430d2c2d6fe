"""Export to a model folder: graphs by the contract in the README's chapter on model folders, tokenizer, manifest."""
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from .net import Captioner, ImageHead, Shape, TextTower
from .tower import SIZE, Tower

TEXT_LENGTH = 32


class ImageGraph(nn.Module):
    def __init__(self, tower, head):
        super().__init__()
        self.tower, self.head = tower, head

    def forward(self, pixels):
        grid = self.tower(pixels)
        return self.head(grid), grid


class DecoderGraph(nn.Module):
    """The decoder as one graph for prefill and step: see the contract for every name and shape."""

    def __init__(self, decoder):
        super().__init__()
        self.d = decoder

    def forward(self, embeds, ids, source, k, *caches):
        d, layers = self.d, len(self.d.blocks)
        prefix, cache = caches[: 2 * layers], caches[2 * layers :]
        pictures, p = prefix[0].shape[0], prefix[0].shape[2]
        past = cache[0].shape[2]
        x = torch.cat((embeds, d.wte(ids)), 1)
        n, t, w = x.shape
        beams = n // pictures
        here = torch.arange(t)
        x = x + d.wpe(here + p + past)
        mask = torch.arange(past + t)[None, :] > (here + past)[:, None]
        grown = []
        for i, block in enumerate(d.blocks):
            heads, size = block.heads, w // block.heads
            q, key, value = block.qkv(x)
            q = q * size ** -0.5
            key = torch.cat((cache[2 * i].index_select(0, source), key), 2)
            value = torch.cat((cache[2 * i + 1].index_select(0, source), value), 2)
            grown += [key, value]
            # All beams of a picture ask its one prefix together.
            shared = q.reshape(pictures, beams, heads, t, size).transpose(1, 2).reshape(pictures, heads, beams * t, size)
            before = shared @ prefix[2 * i].transpose(2, 3)
            before = before.reshape(pictures, heads, beams, t, p).transpose(1, 2).reshape(n, heads, t, p)
            own = (q @ key.transpose(2, 3)).masked_fill(mask, -1e9)
            a = torch.cat((before, own), 3).softmax(-1)
            left = a[..., :p].reshape(pictures, beams, heads, t, p).transpose(1, 2).reshape(pictures, heads, beams * t, p)
            left = (left @ prefix[2 * i + 1]).reshape(pictures, heads, beams, t, size).transpose(1, 2)
            x = block.rest(x, left.reshape(n, heads, t, size) + a[..., p:] @ value)
        logp = d.logits(x[:, -1]).log_softmax(-1)
        top, token = logp.topk(k[0])
        return top, token, *grown


def finish(path, half):
    """Lengths of zero are lengths. `half`: large float weights are stored as float16 with a cast to float32, which ONNX
    Runtime folds when it loads."""
    model = onnx.load(path)
    graph, casts = model.graph, []
    for t in list(graph.initializer) if half else ():
        if t.data_type == TensorProto.FLOAT and int(np.prod(t.dims)) >= 1024:
            values = numpy_helper.to_array(t)
            graph.initializer.remove(t)
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), t.name + "_f16"))
            casts.append(helper.make_node("Cast", [t.name + "_f16"], [t.name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    for node in nodes:
        if node.op_type == "Reshape":   # a length of zero (no prefix yet) is a length, not "as before"
            kept = [a for a in node.attribute if a.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("allowzero", 1)])
    del graph.node[:]
    graph.node.extend(casts + nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def graph(module, inputs, path, names, outputs, dynamic, half=True):
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, str(path), input_names=names, output_names=outputs,
                          dynamic_axes=dynamic, opset_version=17, dynamo=False)
    finish(path, half)


def decoder_graph(decoder, shape, path, half=True):
    """One graph for prefill and step."""
    layers, head_dim = shape.layers, shape.width // shape.heads
    names = ["embeds", "ids", "source", "k"]
    names += [f"prefix_{x}_{i}" for i in range(layers) for x in ("key", "value")]
    names += [f"cache_{x}_{i}" for i in range(layers) for x in ("key", "value")]
    outputs = ["top_logprob", "top_id"] + [f"{x}_{i}" for i in range(layers) for x in ("key", "value")]
    kv = lambda rows, length: [torch.randn(rows, shape.heads, length, head_dim) for _ in range(2 * layers)]
    inputs = (torch.randn(6, 2, shape.width), torch.ones(6, 1, dtype=torch.long), torch.arange(6),
              torch.tensor([5]), *kv(2, 7), *kv(6, 3))
    dynamic = {"embeds": {0: "n", 1: "e"}, "ids": {0: "n", 1: "s"}, "source": {0: "n"},
               "top_logprob": {0: "n", 1: "k"}, "top_id": {0: "n", 1: "k"}}
    for name in names[4:]:
        dynamic[name] = {0: "b", 2: "p"} if name.startswith("prefix") else {0: "r", 2: "l"}
    for name in outputs[2:]:
        dynamic[name] = {0: "n", 2: "g"}
    graph(DecoderGraph(decoder), inputs, path, names, outputs, dynamic, half)


def tokenizer(words):
    """Words by spaces, lower case; `decode` joins with spaces."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
    from .data import END, UNKNOWN, WORD
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=UNKNOWN))
    t.normalizer = normalizers.Lowercase()
    t.pre_tokenizer = pre_tokenizers.Split(Regex(WORD.pattern), behavior="removed", invert=True)
    t.add_special_tokens([AddedToken(END, special=True), AddedToken(UNKNOWN, special=True)])
    return t


def export(out, shape: Shape, model: Captioner, words, image: ImageHead, text: TextTower, facts):
    """Writes the folder. `facts` are the manifest's name, version, licence, trained_on, description, score, dedup."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    model, image, text = model.eval(), image.eval(), text.eval()
    cells, layers, head_dim = shape.cells * shape.cells, shape.layers, shape.width // shape.heads
    graph(ImageGraph(Tower(), image), (torch.zeros(2, 3, SIZE, SIZE),), out / "image.onnx", ["pixels"],
          ["embedding", "grid"], {k: {0: "n"} for k in ("pixels", "embedding", "grid")})
    graph(model.mapper, (torch.zeros(2, cells, shape.features),), out / "mapper.onnx", ["input"], ["prefix"],
          {"input": {0: "n"}, "prefix": {0: "n"}})
    graph(text, (torch.ones(2, TEXT_LENGTH, dtype=torch.long),), out / "text.onnx", ["ids"], ["embedding"],
          {"ids": {0: "n"}, "embedding": {0: "n"}})
    decoder_graph(model.decoder, shape, out / "decoder.onnx")
    tokenizer(words).save(str(out / "tokenizer.json"))
    manifest = {
        "format": "descry-model/1",
        **{k: facts[k] for k in ("name", "version", "licence", "trained_on", "description")},
        "image": {"graph": "image.onnx", "size": SIZE, "resize": "squash", "resample": "bicubic",
                  "mean": [127 / 255] * 3, "std": [128 / 255] * 3, "embedding_dim": shape.embedding,
                  "grid": {"cells": cells, "dim": shape.features}},
        "mapper": {"graph": "mapper.onnx", "input": "grid", "normalize_prefix": False, "prefix_length": shape.prefix},
        "decoder": {"graph": "decoder.onnx", "layers": layers, "heads": shape.heads, "head_dim": head_dim,
                    "width": shape.width, "vocab": shape.vocab, "context": shape.context},
        "tokenizer": "tokenizer.json",
        "text": {"graph": "text.onnx", "tokenizer": "tokenizer.json", "context_length": TEXT_LENGTH, "pad_token": 0},
        "decoding": {"stop_tokens": [0], "max_tokens": 22, "beam": 5, "temperature": 1.0},
    }
    manifest.update({k: facts[k] for k in ("score", "dedup") if facts.get(k)})
    seal(out, manifest)


def seal(folder, manifest):
    """Writes model.json with the size and hash of every file that it names."""
    folder = Path(folder)
    named = {manifest["tokenizer"], *(manifest[k]["graph"] for k in ("image", "mapper", "decoder"))}
    if "text" in manifest:
        named |= {manifest["text"]["graph"], manifest["text"]["tokenizer"]}
    manifest["files"] = {n: {"sha256": hashlib.sha256((folder / n).read_bytes()).hexdigest(),
                             "bytes": (folder / n).stat().st_size} for n in sorted(named)}
    (folder / "model.json").write_text(json.dumps(manifest, indent=1) + "\n")
