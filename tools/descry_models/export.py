"""Export to a model folder: graphs, tokenizer, manifest.

The inputs and outputs of each graph are documented at its class or function. descry checks them when it loads a folder.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from .int8 import quantise, to_int8
from .net import Decoder, Shape

OPSET = 17


class DecoderGraph(nn.Module):
    """The decoder as one graph for prefill and steps.

    There are B slots, each with the hypotheses of a picture, and T places for new vectors in each; N = E + S new
    vectors in all slots, C settled and R recent keys per slot, H heads of keys of size D.

    - `embeds` [E,W] are vectors, followed by the tokens `ids` [S]. `place` [N] are their positions, prefix counted.
    - `spread` [B,T] is the vector at each place of each slot. `rows` [N] is the place of each, counted through
      all slots. An empty place holds any of them, and nothing attends to it.
    - `mask` [B,T,M] is added to the scores of recent keys, new ones, settled ones, and columns without a key:
      M >= R + T + C.
    - `asked` [A] selects the new vectors whose `k` [1] likeliest next tokens are wanted.
    - `settled_key_i`, `settled_value_i` [B,H,C,D] and `recent_key_i`, `recent_value_i` [B,H,R,D] are the cache of layer
      i.
    - Outputs: `top_logprob` and `top_id` [A,k]; `key_i` and `value_i` [B,H,R+T,D], the recent keys followed by the new
      ones.

    Nearly all of the work is done on the N vectors; only attention has empty places. A picture's hypotheses share one
    cache: each key is stored once, whichever hypotheses descend from it, and the mask says which keys a new token
    attends to. So choosing beams copies nothing, and all beams of a picture query its keys in one product.

    Several decoders of one shape form an ensemble that looks like one decoder: as wide as all of them together, with
    the layers of the first before those of the second, and the mean of their log-probabilities.
    """

    def __init__(self, *decoders: Decoder) -> None:
        super().__init__()
        self.all = nn.ModuleList(decoders)

    def forward(  # noqa: PLR0913 - the inputs of the graph
        self,
        embeds: Tensor,
        ids: Tensor,
        place: Tensor,
        spread: Tensor,
        rows: Tensor,
        mask: Tensor,
        asked: Tensor,
        k: Tensor,
        *caches: Tensor,
    ) -> tuple[Tensor, ...]:
        layers = sum(len(d.blocks) for d in self.all)
        settled, recent = caches[: 2 * layers], caches[2 * layers :]
        (b, t), c, grown, logps, first, blank = spread.shape, settled[0].shape[2], [], [], 0, None
        seen = mask[:, None]
        for d, own_embeds in zip(self.all, embeds.chunk(len(self.all), 1), strict=True):
            x = d.placed(torch.cat((own_embeds, d.wte(ids)), 0), place)
            for i, block in enumerate(d.blocks, first):
                q, key, value = (z[spread].transpose(1, 2) for z in block.qkv(x, place))
                heads, shared = block.cache_heads, block.heads // block.cache_heads
                q, own = q * block.head_dim**-0.5, seen
                if shared > 1:  # several queries share a key: they line up as more tokens would
                    q, own = q.reshape(b, heads, shared * t, block.head_dim), seen.repeat(1, 1, shared, 1)
                key = torch.cat((recent[2 * i], key), 2)
                value = torch.cat((recent[2 * i + 1], value), 2)
                grown += [key, value]
                r = key.shape[2]
                if blank is None:  # the mask is wider than there are keys
                    blank = q.new_zeros(b, heads, q.shape[2], mask.shape[2] - r - c)
                a = torch.cat((q @ key.transpose(2, 3), q @ settled[2 * i].transpose(2, 3), blank), 3)
                a = (a + own).softmax(-1)
                a = a[..., :r] @ value + a[..., r : r + c] @ settled[2 * i + 1]
                if shared > 1:
                    a = a.reshape(b, block.heads, t, block.head_dim)
                x = block.rest(x, a.transpose(1, 2).reshape(b * t, block.heads * block.head_dim)[rows])
            first += len(d.blocks)
            logps.append(d.logits(x[asked]).log_softmax(-1))
        logp = logps[0] if len(logps) == 1 else (sum(logps) / len(logps)).log_softmax(-1)
        top, token = logp.topk(k[0])
        return top, token, *grown


# ---- how weights are stored ------------------------------------------------------------------------------------------


def nearest_int8(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values with a float32 scale per row or per column, whichever is nearer to the weights."""
    both = [to_int8(values, axis, 127) for axis in (0, 1)]
    return min(both, key=lambda stored: float(((stored[0] * stored[1] - values) ** 2).sum()))


# Operators that stay in float32 in half precision: sums of many numbers, squares, and the log-probabilities.
NOT_HALF = ["LogSoftmax", "TopK", "Pow", "ReduceMean", "Reciprocal", "Sqrt", "Cos", "Sin"]


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in half precision: weights, products and the cache. Other inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    outside = [v.name for v in (*model.graph.input, *model.graph.output)]
    outside = [n for n in outside if not n.startswith(("settled_", "recent_", "key_", "value_"))]
    model = convert_float_to_float16(model, keep_io_types=outside, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *NOT_HALF])
    # The converter appends its casts at the end, wherever they are read.
    sort_nodes(model.graph)
    return model


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Puts every node after those whose outputs it reads."""
    known = {v.name for v in (*graph.input, *graph.initializer)}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = []
        for node in waiting:
            if all(not i or i in known for i in node.input):
                known.update(node.output)
                ready.append(node)
        if not ready:
            raise ValueError(f"no input leads to some nodes, among them {waiting[0].name}")
        ordered += ready
        done = {id(n) for n in ready}
        waiting = [n for n in waiting if id(n) not in done]
    del graph.node[:]
    graph.node.extend(ordered)


def finish(path: Path, store: str) -> None:
    """Rewrites an exported graph in place, so that it accepts lengths of 0 and stores large weights as `store` says.

    `fp32` leaves them as they are. `fp16` adds a cast, `int8-stored` a cast and a scale; ONNX Runtime folds both when
    it loads, and computes in float32. `int8` and `half` also compute in that precision. A weight that is another one
    transposed (the token table) is stored once.
    """
    model = onnx.load(path)
    nodes = list(model.graph.node)
    for node in nodes:
        if node.op_type == "Reshape":  # a length of zero (no prefix yet) is a length, not "as before"
            others = [a for a in node.attribute if a.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend([*others, helper.make_attribute("allowzero", 1)])
    made = compact_weights(model.graph, store)
    del model.graph.node[:]
    model.graph.node.extend(made + nodes)
    if store == "int8":
        quantise(model)
    if store == "half":
        model = halved(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def compact_weights(graph: onnx.GraphProto, store: str) -> list[onnx.NodeProto]:
    """Replaces large float weights by smaller ones. Returns the nodes that restore them, in order."""
    made: list[tuple[int, onnx.NodeProto]] = []
    large = {
        t.name: numpy_helper.to_array(t)
        for t in graph.initializer
        if t.data_type == TensorProto.FLOAT and int(np.prod(t.dims)) >= 1024
    }
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, values in large.items():
        same_size = by_shape.get(values.shape[::-1], []) if values.ndim == 2 else []
        twin = next((n for n in same_size if np.array_equal(large[n], values.T)), None)
        by_shape.setdefault(values.shape, []).append(name)
        if not twin and store in ("fp32", "int8", "half"):
            continue
        graph.initializer.remove(next(t for t in graph.initializer if t.name == name))
        if twin:
            made.append((1, helper.make_node("Transpose", [twin], [name], perm=[1, 0])))
        elif store == "int8-stored" and values.ndim == 2:
            whole, scale = nearest_int8(values)
            graph.initializer.append(numpy_helper.from_array(whole, name + "_i8"))
            graph.initializer.append(numpy_helper.from_array(scale, name + "_scale"))
            made.append((0, helper.make_node("Cast", [name + "_i8"], [name + "_whole"], to=TensorProto.FLOAT)))
            made.append((0, helper.make_node("Mul", [name + "_whole", name + "_scale"], [name])))
        else:
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name + "_f16"))
            made.append((0, helper.make_node("Cast", [name + "_f16"], [name], to=TensorProto.FLOAT)))
    return [node for _, node in sorted(made, key=lambda m: m[0])]


# ---- graphs ----------------------------------------------------------------------------------------------------------


def gelu(g: Any, x: Any, approximate: Any) -> Any:
    """GELU as one node.

    ONNX has it from opset 20 on, which the exporter does not support; left alone it writes ten nodes, each of which
    reads and writes all numbers again.
    """
    if torch.onnx.symbolic_helper._get_const(approximate, "s", "approximate") == "tanh":
        return g.op("com.microsoft::FastGelu", x).setType(x.type())
    return g.op("com.microsoft::Gelu", x).setType(x.type())


Dynamic = Mapping[str, Mapping[int, str]]


def write_graph(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    names: tuple[Sequence[str], Sequence[str]],
    dynamic: Dynamic,
    store: str = "fp16",
) -> None:
    """Exports a module to `path`. `names` are those of the inputs and of the outputs, `dynamic` their variable axes."""
    input_names, output_names = names
    torch.onnx.register_custom_op_symbolic("aten::gelu", gelu, OPSET)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            str(path),
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    finish(path, store)


def batched(*names: str) -> dict[str, dict[int, str]]:
    """Inputs and outputs whose first axis is the batch."""
    return {name: {0: "n"} for name in names}


def write_decoder(decoders: Sequence[Decoder], shape: Shape, path: Path, store: str = "fp16") -> None:
    """Writes one graph for prefill and step of one decoder, or of an ensemble of decoders of one shape."""
    layers, head_dim, heads = shape.layers * len(decoders), shape.head_dim, shape.cache_heads
    each = [(kind, i) for i in range(layers) for kind in ("key", "value")]
    names = ["embeds", "ids", "place", "spread", "rows", "mask", "asked", "k"]
    caches = [f"settled_{kind}_{i}" for kind, i in each] + [f"recent_{kind}_{i}" for kind, i in each]
    outputs = ["top_logprob", "top_id"] + [f"{kind}_{i}" for kind, i in each]
    inputs = (
        torch.randn(4, shape.width * len(decoders)),
        torch.ones(3, dtype=torch.long),
        torch.arange(7),
        torch.tensor([[0, 1, 2, 3, 0], [4, 5, 0, 0, 6]]),
        torch.tensor([0, 1, 2, 3, 5, 6, 9]),
        torch.zeros(2, 5, 64),
        torch.tensor([3, 5]),
        torch.tensor([5]),
        *[torch.randn(2, heads, 7, head_dim) for _ in each],
        *[torch.randn(2, heads, 4, head_dim) for _ in each],
    )
    dynamic: dict[str, dict[int, str]] = {
        "embeds": {0: "e"},
        "ids": {0: "s"},
        "place": {0: "n"},
        "spread": {0: "b", 1: "t"},
        "rows": {0: "n"},
        "mask": {0: "b", 1: "t", 2: "seen"},
        "asked": {0: "a"},
        "top_logprob": {0: "a", 1: "k"},
        "top_id": {0: "a", 1: "k"},
    }
    for name in caches:
        dynamic[name] = {0: "b", 2: "c" if name.startswith("settled") else "r"}
    for name in outputs[2:]:
        dynamic[name] = {0: "b", 2: "g"}
    write_graph(DecoderGraph(*decoders), inputs, path, (names + caches, outputs), dynamic, store)


def decoder_spec(shape: Shape, members: int = 1) -> dict[str, Any]:
    """The manifest's entry for `write_decoder`."""
    return {
        "graph": "decoder.onnx",
        "layers": shape.layers * members,
        "heads": shape.cache_heads,
        "head_dim": shape.head_dim,
        "width": shape.width * members,
        "vocab": shape.vocab,
        "context": shape.context,
    }


def write_mapper(module: nn.Module, inside: tuple[int, ...], path: Path, store: str) -> None:
    """Writes a mapper; `inside` is the shape of one picture's input."""
    write_graph(module, (torch.zeros(2, *inside),), path, (["input"], ["prefix"]), batched("input", "prefix"), store)


def write_text(module: nn.Module, length: int, path: Path, store: str = "fp16") -> None:
    """Writes a text tower that reads `length` ids."""
    ids = torch.ones(2, length, dtype=torch.long)
    write_graph(module, (ids,), path, (["ids"], ["embedding"]), batched("ids", "embedding"), store)


def word_tokenizer(words: Sequence[str]) -> Any:
    """A tokenizer of whole lower-case words; `decode` joins them with spaces."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    from .data import END, UNKNOWN, WORD

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD.pattern), behavior="removed", invert=True)
    tokenizer.add_special_tokens([AddedToken(END, special=True), AddedToken(UNKNOWN, special=True)])
    return tokenizer


# ---- folders ---------------------------------------------------------------------------------------------------------


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes model.json with the size and hash of every file that it names."""
    named = {manifest["tokenizer"], *(manifest[k]["graph"] for k in ("image", "mapper", "decoder"))}
    if "text" in manifest:
        named |= {manifest["text"]["graph"], manifest["text"]["tokenizer"]}
    manifest["files"] = {
        name: {
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "bytes": (folder / name).stat().st_size,
        }
        for name in sorted(named)
    }
    (folder / "model.json").write_text(json.dumps(manifest, indent=1) + "\n")
