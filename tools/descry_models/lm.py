"""Causal language models as decoders that export: GPT-2's form and Llama's (SmolLM2 and its like).

They are read from a Hugging Face folder (config.json, safetensors or pytorch_model.bin, tokenizer.json), from one GGUF
file, whose quantised weights become the floats that they represent, or from tensors in GPT-2's layout. Both forms have
the methods of `net.Decoder`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import clip
from .clip import MissingTensorsError, State, fill, read_folder, read_tensors, take
from .net import Block, Decoder, Shape


@dataclass
class LlamaShape(Shape):
    kv_heads: int = 0
    hidden: int = 0
    eps: float = 1e-5
    base: float = 10_000.0
    """Base of the rotary positions."""

    @property
    def cache_heads(self) -> int:
        return self.kv_heads


@dataclass
class LanguageModel:
    """A decoder with its shape. The tokenizer is None if the model has none."""

    shape: Shape
    decoder: Decoder
    tokenizer: Any | None


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.float().pow(2).mean(-1, keepdim=True) + self.eps).rsqrt().to(x.dtype) * self.weight


class LlamaBlock(Block):
    """Pre-norm block with rotary positions, keys shared by groups of queries, and a gated MLP."""

    def __init__(self, s: LlamaShape) -> None:
        nn.Module.__init__(self)
        self.heads, self.cache_heads, self.head_dim = s.heads, s.kv_heads, s.head_dim
        self.ln_1, self.ln_2 = RmsNorm(s.width, s.eps), RmsNorm(s.width, s.eps)
        self.q = nn.Linear(s.width, s.heads * s.head_dim, bias=False)
        self.k = nn.Linear(s.width, s.kv_heads * s.head_dim, bias=False)
        self.v = nn.Linear(s.width, s.kv_heads * s.head_dim, bias=False)
        self.proj = nn.Linear(s.heads * s.head_dim, s.width, bias=False)
        self.gate, self.up = nn.Linear(s.width, s.hidden, bias=False), nn.Linear(s.width, s.hidden, bias=False)
        self.down = nn.Linear(s.hidden, s.width, bias=False)
        turns = s.base ** -(torch.arange(0, s.head_dim, 2).float() / s.head_dim)
        self.register_buffer("turns", turns, persistent=False)

    def rotate(self, x: Tensor, place: Tensor) -> Tensor:
        """Rotary positions of vectors [...,T,H,D]; the two halves of a head are the two coordinates."""
        angle = place.float()[:, None, None] * self.turns
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def qkv(self, x: Tensor, place: Tensor | None = None) -> Iterator[Tensor]:
        y = self.ln_1(x)
        q, k, v = (f(y).unflatten(-1, (-1, self.head_dim)) for f in (self.q, self.k, self.v))
        return iter((self.rotate(q, place), self.rotate(k, place), v))

    def rest(self, x: Tensor, a: Tensor) -> Tensor:
        x = x + self.proj(a)
        y = self.ln_2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(Decoder):
    def __init__(self, s: LlamaShape, tied: bool = True) -> None:
        nn.Module.__init__(self)
        self.s = s
        self.wte = nn.Embedding(s.vocab, s.width)
        self.blocks = nn.ModuleList(LlamaBlock(s) for _ in range(s.layers))
        self.ln_f = RmsNorm(s.width, s.eps)
        self.drop = nn.Identity()
        self.head = None if tied else nn.Parameter(torch.zeros(s.vocab, s.width))

    def placed(self, x: Tensor, place: Tensor) -> Tensor:
        return x


# ---- GPT-2 -----------------------------------------------------------------------------------------------------------


def gpt2_from(state: State, heads: int | None, source: str, prefix: str = "gpt.") -> tuple[Shape, Decoder]:
    """GPT-2 as a decoder that exports. GPT-2 stores its matrices transposed (Conv1D)."""
    g = prefix + "transformer."
    table = take(state, g + "wte.weight", source)
    place = take(state, g + "wpe.weight", source)
    vocab, width = table.shape
    layers = clip.count_layers(state, g + "h.{}.")
    if not layers:
        raise MissingTensorsError(f"{source}: there is no layer {g}h.0 of a GPT-2")
    if heads is None:
        if width % 64:
            raise SystemExit(
                f"{source}: GPT-2 of width {width}: shapes do not show how many heads it has; give --heads"
            )
        heads = width // 64
    if width % heads:
        raise SystemExit(f"{source}: --heads {heads} does not divide GPT-2's width {width}")
    own = {
        "wte.weight": table,
        "wpe.weight": place,
        "ln_f.weight": take(state, g + "ln_f.weight", source),
        "ln_f.bias": take(state, g + "ln_f.bias", source),
    }
    matrices = (("attn", "attn.c_attn"), ("proj", "attn.c_proj"), ("fc", "mlp.c_fc"), ("fc_out", "mlp.c_proj"))
    for i in range(layers):
        theirs, ours = f"{g}h.{i}.", f"blocks.{i}."
        for new, old in matrices:
            own[f"{ours}{new}.weight"] = take(state, f"{theirs}{old}.weight", source).T.contiguous()
            own[f"{ours}{new}.bias"] = take(state, f"{theirs}{old}.bias", source)
        for name in ("ln_1", "ln_2"):
            for kind in ("weight", "bias"):
                own[f"{ours}{name}.{kind}"] = take(state, f"{theirs}{name}.{kind}", source)
    shape = Shape(vocab=vocab, width=width, layers=layers, heads=heads, context=place.shape[0])
    decoder = fill(Decoder(shape), own, f"{source}: GPT-2")
    head = state.get(prefix + "lm_head.weight")
    if head is not None and not torch.equal(head.float(), table):
        decoder.head = nn.Parameter(head.float())
    return shape, decoder


# ---- Llama -----------------------------------------------------------------------------------------------------------

# Names of a Llama's tensors: ours, Hugging Face's, GGUF's.
LLAMA_BLOCK = [
    ("ln_1", "input_layernorm", "attn_norm"),
    ("ln_2", "post_attention_layernorm", "ffn_norm"),
    ("q", "self_attn.q_proj", "attn_q"),
    ("k", "self_attn.k_proj", "attn_k"),
    ("v", "self_attn.v_proj", "attn_v"),
    ("proj", "self_attn.o_proj", "attn_output"),
    ("gate", "mlp.gate_proj", "ffn_gate"),
    ("up", "mlp.up_proj", "ffn_up"),
    ("down", "mlp.down_proj", "ffn_down"),
]


def llama_from(state: State, shape: LlamaShape, source: str) -> Decoder:
    """A Llama from tensors under Hugging Face's names."""
    own = {
        "wte.weight": take(state, "model.embed_tokens.weight", source),
        "ln_f.weight": take(state, "model.norm.weight", source),
    }
    for i in range(shape.layers):
        for new, old, _ in LLAMA_BLOCK:
            own[f"blocks.{i}.{new}.weight"] = take(state, f"model.layers.{i}.{old}.weight", source)
    head = state.get("lm_head.weight")
    tied = head is None or torch.equal(head.float(), own["wte.weight"])
    if head is not None and not tied:
        own["head"] = head.float()
    return fill(Llama(shape, tied), own, f"{source}: Llama")


# ---- GGUF ------------------------------------------------------------------------------------------------------------


class Gguf:
    """A GGUF file: its fields, and its tensors as floats."""

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        self.path = path
        try:
            self.reader = GGUFReader(path)
        except (ValueError, OSError) as error:
            raise SystemExit(f"{path}: not a GGUF file: {error}") from error

    def field(self, name: str, default: Any = None) -> Any:
        """The value of a field; one without a default must be there."""
        field = self.reader.fields.get(name)
        if field is None and default is None:
            raise SystemExit(f"{self.path}: it has no field {name}")
        return default if field is None else field.contents()

    def tensors(self) -> State:
        from gguf import dequantize

        return {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).copy()).float() for t in self.reader.tensors}


def read_gguf(path: Path) -> LanguageModel:
    """The model of a GGUF file of Llama's kind."""
    file, source = Gguf(path), str(path)
    kind = file.field("general.architecture")
    if kind != "llama":
        raise SystemExit(f"{path}: a model of kind {kind}; of GGUF files only llama is supported")
    heads = file.field("llama.attention.head_count")
    tensors = file.tensors()
    shape = LlamaShape(
        vocab=take(tensors, "token_embd.weight", source).shape[0],
        width=file.field("llama.embedding_length"),
        heads=heads,
        kv_heads=file.field("llama.attention.head_count_kv", heads),
        layers=file.field("llama.block_count"),
        hidden=file.field("llama.feed_forward_length"),
        context=file.field("llama.context_length"),
        eps=file.field("llama.attention.layer_norm_rms_epsilon"),
        base=file.field("llama.rope.freq_base", 10_000.0),
    )
    state = {
        "model.embed_tokens.weight": tensors["token_embd.weight"],
        "model.norm.weight": take(tensors, "output_norm.weight", source),
    }
    if "output.weight" in tensors:
        state["lm_head.weight"] = tensors["output.weight"]
    for i in range(shape.layers):
        for new, name, old in LLAMA_BLOCK:
            w = take(tensors, f"blk.{i}.{old}.weight", source)
            if new in ("q", "k"):  # GGUF interleaves the two coordinates of a rotation; here they are two halves
                n = shape.heads if new == "q" else shape.kv_heads
                w = w.view(n, w.shape[0] // n // 2, 2, w.shape[1]).transpose(1, 2).reshape(w.shape)
            state[f"model.layers.{i}.{name}.weight"] = w
    return LanguageModel(shape, llama_from(state, shape, source), gguf_tokenizer(file))


def gguf_tokenizer(file: Gguf) -> Any:
    """Byte-level BPE from the file's own tokens and merges, in the form of the `tokenizers` library."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind = file.field("tokenizer.ggml.model")
    if kind != "gpt2":
        raise SystemExit(f"{file.path}: its tokenizer is {kind}; only byte-level BPE (gpt2) is supported")
    tokens, kinds = file.field("tokenizer.ggml.tokens"), file.field("tokenizer.ggml.token_type")
    merges = [tuple(m.split(" ")) for m in file.field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(tokens)}, merges))
    split = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if file.field("tokenizer.ggml.pre", "default") == "smollm":
        split.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    control = 3
    special = [AddedToken(w, special=True) for w, k in zip(tokens, kinds, strict=False) if k == control]
    tokenizer.add_special_tokens(special)
    return tokenizer


# ---- Hugging Face folders --------------------------------------------------------------------------------------------


def read_hugging_face(path: Path, heads: int | None) -> LanguageModel:
    """The model of a Hugging Face folder."""
    from tokenizers import Tokenizer

    source = str(path)
    config, state = read_folder(path, "a language model")
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json")) if (path / "tokenizer.json").exists() else None
    kind = config.get("model_type")
    if kind == "gpt2":
        # GPT-2 was published with and without its head, and so with and without this part of the names.
        if not any(k.startswith("transformer.") for k in state):
            state = {f"transformer.{k}": v for k, v in state.items()}
        return LanguageModel(*gpt2_from(state, heads or config.get("n_head"), source, ""), tokenizer)
    if kind != "llama":
        raise SystemExit(f"{path}: a language model of kind {kind}; gpt2 and llama are supported")
    if config.get("rope_scaling"):
        raise SystemExit(f"{path}: scaled rotary positions (rope_scaling) are not supported")
    rope = config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta", 10_000.0)
    n = config["num_attention_heads"]
    shape = LlamaShape(
        vocab=config["vocab_size"],
        width=config["hidden_size"],
        heads=n,
        kv_heads=config.get("num_key_value_heads", n),
        layers=config["num_hidden_layers"],
        hidden=config["intermediate_size"],
        context=config["max_position_embeddings"],
        eps=config.get("rms_norm_eps", 1e-6),
        base=rope,
    )
    if config.get("head_dim", shape.head_dim) != shape.head_dim:
        raise SystemExit(f"{path}: heads of {config['head_dim']} on a width of {shape.width} are not supported")
    return LanguageModel(shape, llama_from(state, shape, source), tokenizer)


def load(path: Path, heads: int | None = None) -> LanguageModel:
    """The model of a Hugging Face folder, of a GGUF file, or of tensors in GPT-2's layout."""
    try:
        if path.suffix == ".gguf":
            return read_gguf(path)
        if path.is_file():
            state = read_tensors(path)
            prefix = next((p for p in ("gpt.", "") if any(k.startswith(p + "transformer.") for k in state)), None)
            if prefix is None:
                raise MissingTensorsError(
                    f"{path}: no tensors under gpt.transformer. or transformer.: not GPT-2's layout"
                )
            return LanguageModel(*gpt2_from(state, heads, str(path), prefix), None)
        return read_hugging_face(path, heads)
    except MissingTensorsError as error:
        raise SystemExit(str(error)) from error
