"""Export to a model folder: graphs, tokenizer, manifest. Names and shapes of what a graph reads and gives stand at its class or
function; descry checks them when it loads a folder."""
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn as nn
from onnx import TensorProto, helper, numpy_helper

from .int8 import quantise, whole_numbers
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


class Prefixes(nn.Module):
    """The mappers of an ensemble side by side: grid -> prefix vectors as wide as all decoders together."""

    def __init__(self, mappers):
        super().__init__()
        self.mappers = nn.ModuleList(mappers)

    def forward(self, grid):
        return torch.cat([m(grid) for m in self.mappers], 2)


class DecoderGraph(nn.Module):
    """The decoder as one graph for prefixes and steps. B slots, each with the hypotheses of a picture, T places for new vectors in
    each; N = E + S new vectors of all slots, C settled and R recent keys a slot, H heads of keys, D their size:

    - `embeds` [E,W] vectors, then `ids` [S] tokens; `place` [N] their positions, prefix counted
    - `spread` [B,T] which of them stands at each place of each slot, `rows` [N] the place of each, counted through all slots;
      at a place that nobody has stands any of them, and nobody sees it
    - `mask` [B,T,M], added to the scores of recent keys, new ones, settled ones, and columns without a key: M >= R + T + C
    - `asked` [A] of the new vectors are asked for their `k` [1] likeliest next tokens
    - `settled_key_i`, `settled_value_i` [B,H,C,D] and `recent_key_i`, `recent_value_i` [B,H,R,D] of each layer i
    - gives `top_logprob` and `top_id` [A,k], `key_i` and `value_i` [B,H,R+T,D]: recent keys with the new ones behind

    Nearly all of the work is done on the N vectors that there are; only attention has places that are empty. What a picture's
    hypotheses have read stands in one cache, which they share: each key is there once, whoever grew out of it,
    and the mask says which keys a new token sees. So nothing is copied when beams are chosen, and all of a picture's beams
    ask its keys in one product. Several decoders of one size make an ensemble that looks like one: as wide as all of them
    together, with the layers of the first before those of the second, and the mean of their log-probabilities.
    """

    def __init__(self, *decoders):
        super().__init__()
        self.all = nn.ModuleList(decoders)

    def forward(self, embeds, ids, place, spread, rows, mask, asked, k, *caches):
        layers = sum(len(d.blocks) for d in self.all)
        settled, recent = caches[: 2 * layers], caches[2 * layers :]
        (b, t), c, grown, said, first, blank = spread.shape, settled[0].shape[2], [], [], 0, None
        seen = mask[:, None]
        for d, own_embeds in zip(self.all, embeds.chunk(len(self.all), 1)):
            x = d.placed(torch.cat((own_embeds, d.wte(ids)), 0), place)
            for i, block in enumerate(d.blocks, first):
                q, key, value = (z[spread].transpose(1, 2) for z in block.qkv(x, place))
                heads, shared = block.cache_heads, block.heads // block.cache_heads
                q, own = q * block.head_dim ** -0.5, seen
                if shared > 1:              # several queries share a key: they stand in line as more tokens would
                    q, own = q.reshape(b, heads, shared * t, block.head_dim), seen.repeat(1, 1, shared, 1)
                key = torch.cat((recent[2 * i], key), 2)
                value = torch.cat((recent[2 * i + 1], value), 2)
                grown += [key, value]
                r = key.shape[2]
                if blank is None:           # the mask is wider than there are keys
                    blank = q.new_zeros(b, heads, q.shape[2], mask.shape[2] - r - c)
                a = torch.cat((q @ key.transpose(2, 3), q @ settled[2 * i].transpose(2, 3), blank), 3)
                a = (a + own).softmax(-1)
                a = a[..., :r] @ value + a[..., r:r + c] @ settled[2 * i + 1]
                if shared > 1:
                    a = a.reshape(b, block.heads, t, block.head_dim)
                x = block.rest(x, a.transpose(1, 2).reshape(b * t, block.heads * block.head_dim)[rows])
            first += len(d.blocks)
            said.append(d.logits(x[asked]).log_softmax(-1))
        logp = said[0] if len(said) == 1 else (sum(said) / len(said)).log_softmax(-1)
        top, token = logp.topk(k[0])
        return top, token, *grown


def rows_of_int8(values):
    """int8 values and a float32 scale for each row or each column, whichever is nearer to the weights."""
    both = [whole_numbers(values, axis, 127) for axis in (0, 1)]
    return min(both, key=lambda stored: float(((stored[0] * stored[1] - values) ** 2).sum()))


# Left in float32 where the rest is in half precision: sums of many numbers, squares, and what is told of the vocabulary.
NOT_HALF = ["LogSoftmax", "TopK", "Pow", "ReduceMean", "Reciprocal", "Sqrt", "Cos", "Sin"]


def halved(model):
    """The same in half precision: weights, products and the cache. What else goes in and comes out stays float32."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    outside = [v.name for v in (*model.graph.input, *model.graph.output)]
    outside = [n for n in outside if not n.startswith(("settled_", "recent_", "key_", "value_"))]
    model = convert_float_to_float16(model, keep_io_types=outside, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *NOT_HALF])
    # Its casts stand at the end, wherever they are read.
    known = {v.name for v in (*model.graph.input, *model.graph.initializer)}
    waiting, ordered = list(model.graph.node), []
    while waiting:
        ready = []
        for node in waiting:
            if all(not i or i in known for i in node.input):
                known.update(node.output)
                ready.append(node)
        if not ready:
            raise ValueError(f"nodes that nothing leads to, {waiting[0].name} among them")
        ordered += ready
        done = {id(n) for n in ready}
        waiting = [n for n in waiting if id(n) not in done]
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    return model


def finish(path, store):
    """Lengths of zero are lengths; a weight that is another one transposed (the token table) is stored once; and large float
    weights are stored as `store` says: `fp32` as they are, `fp16` with a cast, `int8-stored` with a cast and a scale (ONNX
    Runtime folds both when it loads, and sums are made in float32), `int8` and `half` to be multiplied as they are."""
    model = onnx.load(path)
    graph, made = model.graph, []
    large = {t.name: numpy_helper.to_array(t) for t in graph.initializer
             if t.data_type == TensorProto.FLOAT and int(np.prod(t.dims)) >= 1024}
    by_shape = {}
    for name, values in large.items():
        twin = next((n for n in by_shape.get(values.shape[::-1], []) if values.ndim == 2
                     and np.array_equal(large[n], values.T)), None)
        by_shape.setdefault(values.shape, []).append(name)
        if not twin and store in ("fp32", "int8", "half"):
            continue
        graph.initializer.remove(next(t for t in graph.initializer if t.name == name))
        if twin:
            made.append((1, helper.make_node("Transpose", [twin], [name], perm=[1, 0])))
        elif store == "int8-stored" and values.ndim == 2:
            whole, scale = rows_of_int8(values)
            graph.initializer.append(numpy_helper.from_array(whole, name + "_i8"))
            graph.initializer.append(numpy_helper.from_array(scale, name + "_scale"))
            made.append((0, helper.make_node("Cast", [name + "_i8"], [name + "_whole"], to=TensorProto.FLOAT)))
            made.append((0, helper.make_node("Mul", [name + "_whole", name + "_scale"], [name])))
        else:
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name + "_f16"))
            made.append((0, helper.make_node("Cast", [name + "_f16"], [name], to=TensorProto.FLOAT)))
    nodes = list(graph.node)
    for node in nodes:
        if node.op_type == "Reshape":   # a length of zero (no prefix yet) is a length, not "as before"
            kept = [a for a in node.attribute if a.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("allowzero", 1)])
    del graph.node[:]
    graph.node.extend([n for _, n in sorted(made, key=lambda m: m[0])] + nodes)
    if store == "int8":
        quantise(model)
    if store == "half":
        model = halved(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def gelu(g, x, approximate):
    """GELU as one node. ONNX has it from opset 20 on, which the exporter has not; left to itself it writes ten nodes, each of
    which goes over all numbers again."""
    if torch.onnx.symbolic_helper._get_const(approximate, "s", "approximate") == "tanh":
        return g.op("com.microsoft::FastGelu", x).setType(x.type())
    return g.op("com.microsoft::Gelu", x).setType(x.type())


def graph(module, inputs, path, names, outputs, dynamic, store="fp16"):
    torch.onnx.register_custom_op_symbolic("aten::gelu", gelu, 17)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, str(path), input_names=names, output_names=outputs,
                          dynamic_axes=dynamic, opset_version=17, dynamo=False)
    finish(path, store)


def decoder_graph(decoders, shape, path, store="fp16"):
    """One graph for prefill and step of one decoder, or of an ensemble of several of one shape."""
    layers, head_dim, heads = shape.layers * len(decoders), shape.head_dim, shape.cache_heads
    each = [(x, i) for i in range(layers) for x in ("key", "value")]
    names = ["embeds", "ids", "place", "spread", "rows", "mask", "asked", "k"]
    own = len(names)
    names += [f"settled_{x}_{i}" for x, i in each] + [f"recent_{x}_{i}" for x, i in each]
    outputs = ["top_logprob", "top_id"] + [f"{x}_{i}" for x, i in each]
    kv = lambda length: [torch.randn(2, heads, length, head_dim) for _ in each]
    inputs = (torch.randn(4, shape.width * len(decoders)), torch.ones(3, dtype=torch.long), torch.arange(7),
              torch.tensor([[0, 1, 2, 3, 0], [4, 5, 0, 0, 6]]), torch.tensor([0, 1, 2, 3, 5, 6, 9]), torch.zeros(2, 5, 64),
              torch.tensor([3, 5]), torch.tensor([5]), *kv(7), *kv(4))
    dynamic = {"embeds": {0: "e"}, "ids": {0: "s"}, "place": {0: "n"}, "spread": {0: "b", 1: "t"}, "rows": {0: "n"},
               "mask": {0: "b", 1: "t", 2: "seen"}, "asked": {0: "a"}, "top_logprob": {0: "a", 1: "k"},
               "top_id": {0: "a", 1: "k"}}
    for name in names[own:]:
        dynamic[name] = {0: "b", 2: "c" if name.startswith("settled") else "r"}
    for name in outputs[2:]:
        dynamic[name] = {0: "b", 2: "g"}
    graph(DecoderGraph(*decoders), inputs, path, names, outputs, dynamic, store)


def decoder_spec(shape, members=1):
    """What the manifest says of `decoder_graph`."""
    return {"graph": "decoder.onnx", "layers": shape.layers * members, "heads": shape.cache_heads,
            "head_dim": shape.head_dim, "width": shape.width * members, "vocab": shape.vocab, "context": shape.context}


def mapper_graph(module, inside, path, store):
    """`inside`: the shape of one picture's input."""
    graph(module, (torch.zeros(2, *inside),), path, ["input"], ["prefix"], {"input": {0: "n"}, "prefix": {0: "n"}}, store)


def tokenizer(words):
    """Words by spaces, lower case; `decode` joins with spaces."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
    from .data import END, UNKNOWN, WORD
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=UNKNOWN))
    t.normalizer = normalizers.Lowercase()
    t.pre_tokenizer = pre_tokenizers.Split(Regex(WORD.pattern), behavior="removed", invert=True)
    t.add_special_tokens([AddedToken(END, special=True), AddedToken(UNKNOWN, special=True)])
    return t


def export(out, shape: Shape, models: list[Captioner], words, tower: Tower, image: ImageHead, text: TextTower, facts):
    """Writes the folder; several captioners of one shape become an ensemble. `facts` are the manifest's name, version,
    licence, trained_on, description, score, dedup."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    models, image, text = [m.eval() for m in models], image.eval(), text.eval()
    cells = shape.cells * shape.cells
    graph(ImageGraph(tower, image), (torch.zeros(2, 3, SIZE, SIZE),), out / "image.onnx", ["pixels"],
          ["embedding", "grid"], {k: {0: "n"} for k in ("pixels", "embedding", "grid")})
    mapper_graph(Prefixes([m.mapper for m in models]), (cells, shape.features), out / "mapper.onnx", "int8-stored")
    graph(text, (torch.ones(2, TEXT_LENGTH, dtype=torch.long),), out / "text.onnx", ["ids"], ["embedding"],
          {"ids": {0: "n"}, "embedding": {0: "n"}})
    decoder_graph([m.decoder for m in models], shape, out / "decoder.onnx", "int8")
    tokenizer(words).save(str(out / "tokenizer.json"))
    manifest = {
        "format": "descry-model/1",
        **{k: facts[k] for k in ("name", "version", "licence", "trained_on", "description")},
        "image": {"graph": "image.onnx", "size": SIZE, "resize": "squash", "resample": "bicubic",
                  "mean": [127 / 255] * 3, "std": [128 / 255] * 3, "embedding_dim": shape.embedding,
                  "grid": {"cells": cells, "dim": shape.features}},
        "mapper": {"graph": "mapper.onnx", "input": "grid", "normalize_prefix": False, "prefix_length": shape.prefix},
        "decoder": decoder_spec(shape, len(models)),
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
