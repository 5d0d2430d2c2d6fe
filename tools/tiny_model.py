#!/usr/bin/env python3
"""Make a tiny seeded model folder for tests, and what a plain PyTorch loop says of it.

usage: tiny_model.py OUT [--golden FILE] [--seed 0]

The folder follows descry-model/1 with everything small: a convolutional image tower with a grid, a mapper that reads
the grid, a two-layer GPT-2, a text tower. The golden file holds pictures (as seeds of a formula), their embeddings,
and the ids of beam search, greedy and other settings, computed here without a key/value cache, one picture at a time.
Needs: torch, onnx, tokenizers, numpy.
"""
import argparse, hashlib, json, math
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SIZE, DIM, CELLS, CELL_DIM = 32, 24, 16, 24
PREFIX, LAYERS, HEADS, HEAD_DIM, VOCAB, CONTEXT = 5, 2, 2, 16, 120, 48
WIDTH = HEADS * HEAD_DIM
STOP, MAX_TOKENS = 13, 20
TEXT_LENGTH = 12


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 12, 4, 4)
        self.b = nn.Conv2d(12, CELL_DIM, 3, 2, 1)
        self.out = nn.Linear(CELL_DIM, DIM)

    def forward(self, pixels):
        x = torch.tanh(self.b(torch.tanh(self.a(pixels))))
        grid = x.flatten(2).transpose(1, 2)
        # A mean over a middle axis would not do: ONNX Runtime's kernel for it changes with batch size and threads.
        return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1)), grid


class Mapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(CELL_DIM, WIDTH)
        self.mix = nn.Linear(CELLS, PREFIX)

    def forward(self, input):
        return self.mix(torch.tanh(self.cell(input)).transpose(1, 2)).transpose(1, 2)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc, self.out = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def heads(self, x):
        n, t = x.shape[0], x.shape[1]
        return self.qkv(self.n1(x)).reshape(n, t, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4).unbind(0)

    def rest(self, x, a):
        x = x + self.proj(a.transpose(1, 2).flatten(2))
        return x + self.out(F.gelu(self.fc(self.n2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x):
        """The plain way: everything again, no cache. -> log-probabilities behind the last position"""
        t = x.shape[1]
        x = x + self.wpe.weight[:t]
        for layer in self.layers:
            q, k, v = layer.heads(x)
            x = layer.rest(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return (self.norm(x[:, -1]) @ self.wte.weight.T).log_softmax(-1)


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(VOCAB, DIM), nn.Linear(DIM, DIM)

    def forward(self, ids):
        keep = (ids != 0).float().unsqueeze(-1)
        return self.out((self.table(ids) * keep).sum(1) / keep.sum(1).clamp(min=1))


def decoder_graph(gpt):
    """The contract's decoder, prefill and step in one, by onnx.helper: zero-length inputs are what exporters stumble over."""
    import onnx
    from onnx import TensorProto as T, helper as h, numpy_helper
    nodes, inits, count = [], [], [0]

    def const(value, kind=None):
        a = value.detach().numpy() if torch.is_tensor(value) else np.array(value)
        a = a.astype(kind) if kind else a
        count[0] += 1
        inits.append(numpy_helper.from_array(a.copy(), f"c{count[0]}"))
        return f"c{count[0]}"

    def op(kind, *inputs, out=None, n=1, **attrs):
        count[0] += 1
        outs = [out] if out else [f"v{count[0]}_{i}" for i in range(n)]
        nodes.append(h.make_node(kind, list(inputs), outs, **attrs))
        return outs[0] if n == 1 else outs

    def ints(*v):
        return const(list(v), np.int64)

    def linear(x, m):
        return op("Add", op("MatMul", x, const(m.weight.T)), const(m.bias))

    def norm(x, m):
        return op("LayerNormalization", x, const(m.weight), const(m.bias), epsilon=m.eps)

    def size(x, axis):
        return op("Gather", op("Shape", x), ints(axis))

    table = const(gpt.wte.weight)
    x = op("Concat", "embeds", op("Gather", table, "ids"), axis=0)
    x = op("Add", x, op("Gather", const(gpt.wpe.weight), "place"))
    mask = op("Unsqueeze", "mask", ints(1))
    for i, layer in enumerate(gpt.layers):
        # From vectors to places in slots, and back behind the attention.
        qkv = op("Gather", linear(norm(x, layer.n1), layer.qkv), "spread", axis=0)
        qkv = op("Reshape", qkv, ints(0, 0, 3, HEADS, HEAD_DIM))
        qkv = op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        q, key, value = [op("Squeeze", s, ints(0)) for s in op("Split", qkv, n=3, axis=0, num_outputs=3)]

        # Recent and new keys first, then the settled ones; the mask is wider than both.
        def whole(kind, own):
            own = op("Concat", f"recent_{kind}_{i}", own, axis=2, out=f"{kind}_{i}")
            return op("Concat", own, f"settled_{kind}_{i}", axis=2)

        key, value = whole("key", key), whole("value", value)
        # Scores are as wide as the mask, whose width is such that a row's sum does not hang on how many keys others have.
        keys = size(key, 2)
        a = op("MatMul", op("Mul", q, const(np.float32(1 / math.sqrt(HEAD_DIM)))), op("Transpose", key, perm=[0, 1, 3, 2]))
        a = op("Pad", a, op("Concat", ints(0, 0, 0, 0, 0, 0, 0), op("Sub", size(mask, 3), keys), axis=0))
        a = op("Slice", op("Softmax", op("Add", a, mask), axis=-1), ints(0), keys, ints(3))
        a = op("MatMul", a, value)
        a = op("Gather", op("Reshape", op("Transpose", a, perm=[0, 2, 1, 3]), ints(-1, WIDTH)), "rows", axis=0)
        x = op("Add", x, linear(a, layer.proj))
        f = linear(norm(x, layer.n2), layer.fc)
        c = op("Mul", f, op("Add", const(np.float32(1)), op("Tanh", op("Mul", const(np.float32(math.sqrt(2 / math.pi))),
               op("Add", f, op("Mul", const(np.float32(0.044715)), op("Mul", f, op("Mul", f, f))))))))
        x = op("Add", x, linear(op("Mul", c, const(np.float32(0.5))), layer.out))
    last = op("Gather", x, "asked", axis=0)
    logp = op("LogSoftmax", op("MatMul", norm(last, gpt.norm), const(gpt.wte.weight.T)), axis=-1)
    nodes.append(h.make_node("TopK", [logp, "k"], ["top_logprob", "top_id"], axis=-1, largest=1, sorted=1))
    f32 = lambda name, *s: h.make_tensor_value_info(name, T.FLOAT, s)
    i64 = lambda name, *s: h.make_tensor_value_info(name, T.INT64, s)
    inputs = [f32("embeds", "E", WIDTH), i64("ids", "S"), i64("place", "N"), i64("spread", "B", "T"), i64("rows", "N"),
              f32("mask", "B", "T", "M"), i64("asked", "A"), i64("k", 1)]
    outputs = [f32("top_logprob", "A", "K"), i64("top_id", "A", "K")]
    for i in range(LAYERS):
        for kind in ("key", "value"):
            inputs += [f32(f"settled_{kind}_{i}", "B", HEADS, "C", HEAD_DIM), f32(f"recent_{kind}_{i}", "B", HEADS, "R", HEAD_DIM)]
            outputs += [f32(f"{kind}_{i}", "B", HEADS, "G", HEAD_DIM)]
    graph = h.make_graph(nodes, "decoder", inputs, outputs, inits)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9, producer_name="descry")
    onnx.checker.check_model(model)
    return model.SerializeToString()


def export(module, args, path, inputs, outputs):
    torch.onnx.export(module, args, path, input_names=inputs, output_names=outputs, opset_version=18, dynamo=False,
                      dynamic_axes={name: {0: "N"} for name in inputs + outputs})


def tokenizer(path, special):
    words = [f"w{i}" for i in range(VOCAB)]
    words[STOP] = "."
    for i, word in enumerate("a the man dog car on of with street tree red blue".split()):
        words[20 + i] = word
    words[0], words[1], words[2] = "<pad>", "<start>", "<end>"
    data = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"}, "decoder": None,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<start>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "<end>", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {s: {"id": s, "ids": [i], "tokens": [s]} for s, i in (("<start>", 1), ("<end>", 2))}} if special else None,
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": "<pad>"},
    }
    path.write_text(json.dumps(data))


def picture(seed):
    """A picture that Rust can make from the same seed: an LCG's bytes, SIZE × SIZE × 3."""
    state, out = (seed * 747796405 + 1) & 0xFFFFFFFF, []
    for _ in range(SIZE * SIZE * 3):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(state >> 24)
    # Noise averages out; a tint a picture keeps them apart.
    a = np.array(out, np.float32).reshape(SIZE, SIZE, 3)
    tint = np.array([(seed * 37) % 256, (seed * 91) % 256, (seed * 151) % 256], np.float32)
    return np.floor((a + 3 * tint) / 4).astype(np.uint8)


@torch.no_grad()
def beam_search(gpt, prefix, beam, limit, temperature):
    logp = gpt_logp(gpt, prefix, temperature)
    total, first = logp[0].topk(beam)
    ids, length, stopped = first[:, None], torch.ones(beam), first.eq(STOP)
    for _ in range(limit - 1):
        if stopped.all():
            break
        context = torch.cat((prefix.expand(beam, -1, -1), gpt.wte(ids)), 1)
        logp = gpt_logp(gpt, context, temperature)
        logp[stopped] = -float("inf")
        logp[stopped, 0] = 0
        length = length + (~stopped).float()
        mean, flat = ((total[:, None] + logp) / length[:, None]).view(-1).topk(beam)
        source, token = flat // VOCAB, flat % VOCAB
        length, stopped = length[source], stopped[source]
        total = mean * length
        ids = torch.cat((ids[source], token[:, None]), 1)
        stopped = stopped | token.eq(STOP)
    mean = total / length
    best = int(mean.argmax())
    return ids[best, : int(length[best])].tolist(), float(mean[best])


def gpt_logp(gpt, context, temperature):
    logp = gpt(context)
    return logp if temperature == 1 else (logp / temperature).log_softmax(-1)


@torch.no_grad()
def greedy(gpt, prefix, limit):
    ids, total = [], 0.0
    for _ in range(limit):
        context = torch.cat((prefix, gpt.wte(torch.tensor([ids], dtype=torch.long))), 1)
        logp = gpt(context)
        ids.append(int(logp.argmax()))
        total += float(logp.max())
        if ids[-1] == STOP:
            break
    return ids, total / len(ids)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--golden")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    torch.manual_seed(a.seed)
    torch.set_num_threads(1)
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    tower, mapper, gpt, text = Tower().eval(), Mapper().eval(), Gpt().eval(), Text().eval()
    with torch.no_grad():   # random logits are near ties, which no two runtimes break alike
        for m in (tower, mapper):
            for q in m.parameters():
                q.mul_(2.5)
        for q in gpt.layers.parameters():
            if q.dim() > 1:
                q.mul_(3)
        gpt.wte.weight.mul_(0.8)
        gpt.wte.weight[STOP] *= 3
    export(tower, torch.zeros(2, 3, SIZE, SIZE), out / "image.onnx", ["pixels"], ["embedding", "grid"])
    export(mapper, torch.zeros(2, CELLS, CELL_DIM), out / "mapper.onnx", ["input"], ["prefix"])
    export(text, torch.zeros(2, TEXT_LENGTH, dtype=torch.long), out / "text.onnx", ["ids"], ["embedding"])
    (out / "decoder.onnx").write_bytes(decoder_graph(gpt))
    tokenizer(out / "tokenizer.json", False)
    tokenizer(out / "text_tokenizer.json", True)
    mean, std = [0.5, 0.45, 0.4], [0.25, 0.3, 0.35]
    manifest = {
        "format": "descry-model/1", "name": "tiny", "version": "1.0.0", "licence": "MIT OR Apache-2.0",
        "trained_on": "nothing: seeded random weights for tests", "description": "says nothing that is true",
        "image": {"graph": "image.onnx", "size": SIZE, "resize": "squash", "resample": "bicubic", "mean": mean, "std": std,
                  "embedding_dim": DIM, "grid": {"cells": CELLS, "dim": CELL_DIM}},
        "mapper": {"graph": "mapper.onnx", "input": "grid", "normalize_prefix": False, "prefix_length": PREFIX},
        "decoder": {"graph": "decoder.onnx", "layers": LAYERS, "heads": HEADS, "head_dim": HEAD_DIM, "width": WIDTH,
                    "vocab": VOCAB, "context": CONTEXT},
        "tokenizer": "tokenizer.json",
        "text": {"graph": "text.onnx", "tokenizer": "text_tokenizer.json", "context_length": TEXT_LENGTH, "pad_token": 0},
        "decoding": {"stop_tokens": [STOP], "max_tokens": MAX_TOKENS, "beam": 5, "temperature": 1.0},
        "score": {"calibration": [[-4.0, 0.05], [-1.0, 0.6], [0.0, 0.95]], "default_min_score": 0.0},
        "dedup": {"same": 0.98, "returning": 0.99},
        "files": {f.name: {"sha256": hashlib.sha256(f.read_bytes()).hexdigest(), "bytes": f.stat().st_size}
                  for f in sorted(out.iterdir()) if f.name != "model.json"},
    }
    (out / "model.json").write_text(json.dumps(manifest, indent=1) + "\n")
    if not a.golden:
        return
    cases = []
    for seed in range(1, 13):
        x = torch.from_numpy(picture(seed).astype(np.float32) / 255)
        x = ((x - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)[None]
        with torch.no_grad():
            embedding, grid = tower(x)
            prefix = mapper(grid)
        found = {}
        for beam in (1, 3, 5, 10):
            found[f"beam {beam}"] = beam_search(gpt, prefix, beam, MAX_TOKENS, 1.0)
        found["beam 5 warm"] = beam_search(gpt, prefix, 5, MAX_TOKENS, 0.7)
        found["greedy"] = greedy(gpt, prefix, MAX_TOKENS)
        cases.append({"seed": seed, "embedding": [round(float(v), 6) for v in embedding[0]],
                      **{k: {"ids": i, "mean_logprob": round(m, 6)} for k, (i, m) in found.items()}})
    texts = {}
    for words in ("a dog", "a red car on the street", "A man with a blue tree of the dog on the red street with a car"):
        from tokenizers import Tokenizer
        ids = Tokenizer.from_file(str(out / "text_tokenizer.json")).encode(words).ids
        ids = ids if len(ids) <= TEXT_LENGTH else ids[: TEXT_LENGTH - 1] + ids[-1:]
        ids += [0] * (TEXT_LENGTH - len(ids))
        with torch.no_grad():
            e = text(torch.tensor([ids]))[0]
        texts[words] = [round(float(v), 6) for v in e / e.norm()]
    Path(a.golden).write_text(json.dumps({"pictures": cases, "texts": texts}, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
