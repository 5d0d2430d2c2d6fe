"""Causal language models as decoders that export: GPT-2's form and Llama's (SmolLM2 and its like).

Read from a Hugging Face folder (config.json, safetensors or pytorch_model.bin, tokenizer.json), from one GGUF file, whose
quantised weights are taken as the numbers that they stand for, or from tensors in GPT-2's layout. Both
forms answer the same calls as `net.Decoder`.
"""
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from . import clip
from .clip import Missing, fill, read_folder, read_tensors, take
from .net import Block, Decoder, Shape


@dataclass
class LlamaShape(Shape):
    kv_heads: int = 0
    hidden: int = 0
    eps: float = 1e-5
    base: float = 10_000.0      # of the rotary positions

    @property
    def cache_heads(self):
        return self.kv_heads


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return x * (x.float().pow(2).mean(-1, keepdim=True) + self.eps).rsqrt().to(x.dtype) * self.weight


class LlamaBlock(Block):
    """Pre-norm block with rotary positions, keys shared by groups of queries, and a gated MLP."""

    def __init__(self, s: LlamaShape):
        nn.Module.__init__(self)
        self.heads, self.cache_heads, self.head_dim = s.heads, s.kv_heads, s.head_dim
        self.ln_1, self.ln_2 = RmsNorm(s.width, s.eps), RmsNorm(s.width, s.eps)
        self.q = nn.Linear(s.width, s.heads * s.head_dim, bias=False)
        self.k = nn.Linear(s.width, s.kv_heads * s.head_dim, bias=False)
        self.v = nn.Linear(s.width, s.kv_heads * s.head_dim, bias=False)
        self.proj = nn.Linear(s.heads * s.head_dim, s.width, bias=False)
        self.gate, self.up = nn.Linear(s.width, s.hidden, bias=False), nn.Linear(s.width, s.hidden, bias=False)
        self.down = nn.Linear(s.hidden, s.width, bias=False)
        self.register_buffer("turns", s.base ** -(torch.arange(0, s.head_dim, 2).float() / s.head_dim), persistent=False)

    def turned(self, x, place):
        """Rotary positions of vectors [...,T,H,D]: the two halves of a head are the two coordinates."""
        angle = place.float()[:, None, None] * self.turns
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def qkv(self, x, place):
        y = self.ln_1(x)
        q, k, v = (f(y).unflatten(-1, (-1, self.head_dim)) for f in (self.q, self.k, self.v))
        return self.turned(q, place), self.turned(k, place), v

    def rest(self, x, a):
        x = x + self.proj(a)
        y = self.ln_2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(Decoder):
    def __init__(self, s: LlamaShape, tied=True):
        nn.Module.__init__(self)
        self.s = s
        self.wte = nn.Embedding(s.vocab, s.width)
        self.blocks = nn.ModuleList(LlamaBlock(s) for _ in range(s.layers))
        self.ln_f = RmsNorm(s.width, s.eps)
        self.drop = nn.Identity()
        self.head = None if tied else nn.Parameter(torch.zeros(s.vocab, s.width))

    def placed(self, x, place):
        return x


def gpt2_of(state, heads, source, prefix="gpt."):
    """GPT-2 as the decoder that exports. Its matrices are stored the other way round (Conv1D)."""
    g = prefix + "transformer."
    table = take(state, g + "wte.weight", source)
    place = take(state, g + "wpe.weight", source)
    vocab, width = table.shape
    layers = clip.count(state, g + "h.{}.")
    if not layers:
        raise Missing(f"{source}: there is no layer {g}h.0 of a GPT-2")
    if heads is None:
        if width % 64:
            raise SystemExit(f"{source}: GPT-2 of width {width}: its heads cannot be told from shapes; name them with --heads")
        heads = width // 64
    if width % heads:
        raise SystemExit(f"{source}: --heads {heads} does not divide GPT-2's width {width}")
    own = {"wte.weight": table, "wpe.weight": place, "ln_f.weight": take(state, g + "ln_f.weight", source),
           "ln_f.bias": take(state, g + "ln_f.bias", source)}
    for i in range(layers):
        a, b = f"{g}h.{i}.", f"blocks.{i}."
        for new, old in (("attn", "attn.c_attn"), ("proj", "attn.c_proj"), ("fc", "mlp.c_fc"), ("fc_out", "mlp.c_proj")):
            own[f"{b}{new}.weight"] = take(state, f"{a}{old}.weight", source).T.contiguous()
            own[f"{b}{new}.bias"] = take(state, f"{a}{old}.bias", source)
        for name in ("ln_1", "ln_2"):
            for kind in ("weight", "bias"):
                own[f"{b}{name}.{kind}"] = take(state, f"{a}{name}.{kind}", source)
    shape = Shape(vocab=vocab, width=width, layers=layers, heads=heads, context=place.shape[0])
    decoder = fill(Decoder(shape), own, f"{source}: GPT-2")
    head = state.get(prefix + "lm_head.weight")
    if head is not None and not torch.equal(head.float(), table):
        decoder.head = nn.Parameter(head.float())
    return shape, decoder


# Where a Llama's tensors stand: our name, Hugging Face's, GGUF's.
LLAMA_BLOCK = [
    ("ln_1", "input_layernorm", "attn_norm"), ("ln_2", "post_attention_layernorm", "ffn_norm"),
    ("q", "self_attn.q_proj", "attn_q"), ("k", "self_attn.k_proj", "attn_k"), ("v", "self_attn.v_proj", "attn_v"),
    ("proj", "self_attn.o_proj", "attn_output"), ("gate", "mlp.gate_proj", "ffn_gate"), ("up", "mlp.up_proj", "ffn_up"),
    ("down", "mlp.down_proj", "ffn_down"),
]


def llama_of(state, shape, source):
    """From tensors under Hugging Face's names."""
    own = {"wte.weight": take(state, "model.embed_tokens.weight", source),
           "ln_f.weight": take(state, "model.norm.weight", source)}
    for i in range(shape.layers):
        for new, old, _ in LLAMA_BLOCK:
            own[f"blocks.{i}.{new}.weight"] = take(state, f"model.layers.{i}.{old}.weight", source)
    head = state.get("lm_head.weight")
    tied = head is None or torch.equal(head.float(), own["wte.weight"])
    if not tied:
        own["head"] = head.float()
    return fill(Llama(shape, tied), own, f"{source}: Llama")


def gguf(path):
    """(shape, decoder, tokenizer) of a GGUF file of Llama's kind."""
    from gguf import GGUFReader, dequantize
    source = str(path)
    try:
        reader = GGUFReader(path)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{path}: no GGUF file: {error}")

    def fact(name, default=None):
        field = reader.fields.get(name)
        if field is None and default is None:
            raise SystemExit(f"{path}: says no {name}")
        return default if field is None else field.contents()

    kind = fact("general.architecture")
    if kind != "llama":
        raise SystemExit(f"{path}: a model of kind {kind}; of GGUF files only llama is read")
    heads, width = fact("llama.attention.head_count"), fact("llama.embedding_length")
    kv = fact("llama.attention.head_count_kv", heads)
    tensors = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).copy()).float() for t in reader.tensors}
    shape = LlamaShape(vocab=take(tensors, "token_embd.weight", source).shape[0], width=width, heads=heads, kv_heads=kv,
                       layers=fact("llama.block_count"), hidden=fact("llama.feed_forward_length"),
                       context=fact("llama.context_length"), eps=fact("llama.attention.layer_norm_rms_epsilon"),
                       base=fact("llama.rope.freq_base", 10_000.0))
    state = {"model.embed_tokens.weight": tensors["token_embd.weight"],
             "model.norm.weight": take(tensors, "output_norm.weight", source)}
    if "output.weight" in tensors:
        state["lm_head.weight"] = tensors["output.weight"]
    for i in range(shape.layers):
        for new, name, old in LLAMA_BLOCK:
            w = take(tensors, f"blk.{i}.{old}.weight", source)
            if new in ("q", "k"):   # GGUF has the two coordinates of a turn side by side, we in two halves
                n = heads if new == "q" else kv
                w = w.view(n, w.shape[0] // n // 2, 2, w.shape[1]).transpose(1, 2).reshape(w.shape)
            state[f"model.layers.{i}.{name}.weight"] = w
    return shape, llama_of(state, shape, source), gguf_tokenizer(fact, path)


def gguf_tokenizer(fact, path):
    """Byte-level BPE from the file's own tokens and merges, in the form of the `tokenizers` library."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    if fact("tokenizer.ggml.model") != "gpt2":
        raise SystemExit(f"{path}: its tokenizer is {fact('tokenizer.ggml.model')}; only byte-level BPE (gpt2) is read")
    tokens, kinds = fact("tokenizer.ggml.tokens"), fact("tokenizer.ggml.token_type")
    merges = [tuple(m.split(" ")) for m in fact("tokenizer.ggml.merges")]
    t = Tokenizer(models.BPE({w: i for i, w in enumerate(tokens)}, merges))
    split = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if fact("tokenizer.ggml.pre", "default") == "smollm":
        split.insert(0, pre_tokenizers.Digits(individual_digits=True))
    t.pre_tokenizer = pre_tokenizers.Sequence(split)
    t.decoder = decoders.ByteLevel()
    control = 3
    t.add_special_tokens([AddedToken(w, special=True) for w, k in zip(tokens, kinds) if k == control])
    return t


def folder(path, heads):
    """A Hugging Face folder."""
    from tokenizers import Tokenizer
    source = str(path)
    config, state = read_folder(path, "a language model")
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json")) if (path / "tokenizer.json").exists() else None
    kind = config.get("model_type")
    if kind == "gpt2":
        # GPT-2 was saved with and without its head, and so with and without this part of the names.
        if not any(k.startswith("transformer.") for k in state):
            state = {f"transformer.{k}": v for k, v in state.items()}
        return *gpt2_of(state, heads or config.get("n_head"), source, ""), tokenizer
    if kind != "llama":
        raise SystemExit(f"{path}: a language model of kind {kind}; gpt2 and llama are read")
    if config.get("rope_scaling"):
        raise SystemExit(f"{path}: stretched rotary positions (rope_scaling) are not read")
    rope = config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta", 10_000.0)
    n = config["num_attention_heads"]
    shape = LlamaShape(vocab=config["vocab_size"], width=config["hidden_size"], heads=n,
                       kv_heads=config.get("num_key_value_heads", n), layers=config["num_hidden_layers"],
                       hidden=config["intermediate_size"], context=config["max_position_embeddings"],
                       eps=config.get("rms_norm_eps", 1e-6), base=rope)
    if config.get("head_dim", shape.head_dim) != shape.head_dim:
        raise SystemExit(f"{path}: heads of {config['head_dim']} on a width of {shape.width} are not read")
    return shape, llama_of(state, shape, source), tokenizer


def load(path, heads=None):
    """(shape, decoder, tokenizer) of a Hugging Face folder, a GGUF file, or tensors in GPT-2's layout; the tokenizer is None
    where none lies beside it."""
    path, source = Path(path), str(path)
    try:
        if path.suffix == ".gguf":
            return gguf(path)
        if path.is_file():
            state = read_tensors(path)
            prefix = next((p for p in ("gpt.", "") if any(k.startswith(p + "transformer.") for k in state)), None)
            if prefix is None:
                raise Missing(f"{path}: no tensors under gpt.transformer. or transformer.: not GPT-2's layout")
            return *gpt2_of(state, heads, source, prefix), None
        return folder(path, heads)
    except Missing as error:
        raise SystemExit(str(error))
