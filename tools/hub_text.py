"""Llama-like language models in the layout of the Hugging Face hub: tokenizers, embeddings and decoders."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from hub_export import exported, write_graph


def byte_bpe(size: int, special: Sequence[str], texts: Sequence[str], pre_tokenizer: Any) -> Any:
    """A byte-level BPE of `size` tokens whose merges are learned from the texts. The special tokens come last."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts) * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    if tokenizer.get_vocab_size() != size:
        raise SystemExit(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {size}")
    return tokenizer


class DecoderGraph(nn.Module):
    """One step of the language model, for a prompt (past of length zero) and for what follows it.

    inputs_embeds [B, T, D], attention_mask [B, P + T], position_ids [B, T] and past_key_values.I.{key, value}
    [B, heads, P, head] → logits [B, T, vocabulary] and present.I.{key, value} [B, heads, P + T, head].
    """

    def __init__(self, text: Any, head: Any) -> None:
        super().__init__()
        self.text, self.head = text, head

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor) -> Any:
        x, present = inputs_embeds, []
        angles = position_ids[:, None, :, None].float() * self.text.rotary_emb.inv_freq
        turn = angles.cos(), angles.sin()
        # Key j may be seen from row i of this call if it is not later, and if the mask allows it.
        rows = torch.arange(x.shape[1])[:, None] + past[0].shape[2]
        later = torch.arange(attention_mask.shape[1])[None, :] > rows
        hidden = (later[None] | (attention_mask[:, None, :] == 0)).float() * torch.finfo(torch.float32).min
        for i, layer in enumerate(self.text.layers):
            a, key, value = self.attention(layer.self_attn, layer.input_layernorm(x), turn, hidden, past[2 * i :][:2])
            present += [key, value]
            x = x + a
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.head(self.text.norm(x)), *present

    def attention(
        self, layer: Any, x: Tensor, turn: tuple[Tensor, Tensor], hidden: Tensor, past: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = layer.head_dim

        def heads(y: Tensor) -> Tensor:
            return y.unflatten(2, (-1, size)).transpose(1, 2)

        key = torch.cat((past[0], rotated(heads(layer.k_proj(x)), turn)), 2)
        value = torch.cat((past[1], heads(layer.v_proj(x))), 2)
        # A head of keys serves a group of query heads.
        query = rotated(heads(layer.q_proj(x)), turn).unflatten(1, (-1, layer.num_key_value_groups))
        scores = query @ key[:, :, None].mT * size**-0.5 + hidden[:, None, None]
        mixed = scores.softmax(-1) @ value[:, :, None]
        return layer.o_proj(mixed.flatten(1, 2).transpose(1, 2).flatten(2)), key, value


def rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions: the first half of a head's vector turns against the second half."""
    cos, sin = turn
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def export_text(embedding: nn.Module, decoder: DecoderGraph, folder: Path) -> None:
    """Writes both graphs. The example sizes differ from each other, so that none of them is taken for another."""
    config = decoder.text.config
    layers = [f"{i}.{kind}" for i in range(config.num_hidden_layers) for kind in ("key", "value")]
    words = {0: "batch_size", 1: "sequence_length"}
    pasts = {0: "batch_size", 2: "past_sequence_length"}
    ids = torch.ones(2, 5, dtype=torch.long)
    embed = exported(embedding, (ids,), {"input_ids": words}, ["inputs_embeds"])
    write_graph(embed, folder / "embed_tokens.onnx")
    head = config.hidden_size // config.num_attention_heads
    past = tuple(torch.randn(2, config.num_key_value_heads, 4, head) for _ in layers)
    vectors = torch.randn(2, 3, config.hidden_size)
    graph = exported(
        decoder,
        (vectors, torch.ones(2, 7, dtype=torch.long), torch.arange(4, 7).expand(2, 3), *past),
        {
            "inputs_embeds": words,
            "attention_mask": {0: "batch_size", 1: "total_sequence_length"},
            "position_ids": words,
            **{f"past_key_values.{name}": pasts for name in layers},
        },
        ["logits", *(f"present.{name}" for name in layers)],
    )
    write_graph(graph, folder / "decoder_model_merged.onnx")
