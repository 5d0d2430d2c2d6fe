"""The decoder, in GPT-2's form, and how captions are drawn and searched with it.

Shapes: B pictures, C captions per picture, P prefix vectors, T tokens, W the decoder's width, V the vocabulary.

The decoder runs a picture's prefix once. All of its captions (in training, sampling and beam search) attend to the same
keys and values. The exported graph works the same way, and training costs half as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Keys and values of one layer.
KeysValues = tuple[Tensor, Tensor]


@dataclass
class Shape:
    """Shape of a decoder."""

    vocab: int
    width: int = 384
    layers: int = 4
    heads: int = 6
    context: int = 64
    drop: float = 0.3
    """Dropout on the outputs of the MLPs."""
    drop_light: float = 0.2
    """Dropout on the outputs of attention and on the decoder's input."""

    @property
    def head_dim(self) -> int:
        """Size of a head's vectors."""
        return self.width // self.heads

    @property
    def cache_heads(self) -> int:
        """Heads of keys and values in the cache."""
        return self.heads


class Block(nn.Module):
    """Pre-norm transformer block in GPT-2's form, with an optional shared prefix and a cache."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.heads, self.cache_heads, self.head_dim = s.heads, s.cache_heads, s.head_dim
        self.ln_1, self.ln_2 = nn.LayerNorm(s.width), nn.LayerNorm(s.width)
        self.attn, self.proj = nn.Linear(s.width, 3 * s.width), nn.Linear(s.width, s.width)
        self.fc, self.fc_out = nn.Linear(s.width, 4 * s.width), nn.Linear(4 * s.width, s.width)
        self.drop, self.drop_light = nn.Dropout(s.drop), nn.Dropout(s.drop_light)

    def qkv(self, x: Tensor, place: Tensor | None = None) -> Iterator[Tensor]:
        """Queries, keys and values [...,H,D] of vectors [...,W]. Blocks that rotate them by position need `place`."""
        return (z.unflatten(-1, (self.heads, self.head_dim)) for z in self.attn(self.ln_1(x)).chunk(3, -1))

    def rest(self, x: Tensor, a: Tensor) -> Tensor:
        """The block after its attention, whose output is `a` [...,H*D]."""
        x = x + self.drop_light(self.proj(a))
        return x + self.drop(self.fc_out(F.gelu(self.fc(self.ln_2(x)), approximate="tanh")))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        past: KeysValues | None = None,
        place: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """Runs x [N,T,W] after the keys and values `past` [N,H,L,D]. Returns the output and the new keys and values."""
        q, k, v = (z.transpose(1, 2) for z in self.qkv(x, place))
        keys, values = (k, v) if past is None else (torch.cat((past[0], k), 2), torch.cat((past[1], v), 2))
        a = F.scaled_dot_product_attention(
            q, keys, values, attn_mask=mask, is_causal=causal, enable_gqa=self.heads != self.cache_heads
        )
        return self.rest(x, a.transpose(1, 2).flatten(2)), (k, v)


class Decoder(nn.Module):
    """GPT-2. The token table is the output head too, unless there is a separate one. Positions count the prefix."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s = s
        self.wte = nn.Embedding(s.vocab, s.width)
        self.wpe = nn.Embedding(s.context, s.width)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.ln_f = nn.LayerNorm(s.width)
        self.drop = nn.Dropout(s.drop_light)
        self.head: Tensor | None = None  # or a separate table [vocab, width]
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def placed(self, x: Tensor, place: Tensor) -> Tensor:
        """The first block's input for vectors [...,T,W] at the positions `place` [T]."""
        return x + self.wpe(place)

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states [...,W] -> logits of the next token [...,V]."""
        return F.linear(self.ln_f(x), self.wte.weight if self.head is None else self.head)

    def prefill(self, prefix: Tensor) -> tuple[Tensor, list[KeysValues]]:
        """Prefix [B,P,W] -> last hidden state [B,W], and for each layer its keys and values [B,H,P,D]."""
        place = torch.arange(prefix.shape[1], device=prefix.device)
        x = self.drop(self.placed(prefix, place))
        cache = []
        for block in self.blocks:
            x, keys_values = block(x, causal=True, place=place)
            cache.append(keys_values)
        return x[:, -1], cache

    def teacher(self, cache: list[KeysValues], ids: Tensor) -> Tensor:
        """Token ids [B,C,T] after a prefilled prefix -> hidden states [B,C,T,W], each for the next token."""
        b, c, t = ids.shape
        p = cache[0][0].shape[2]
        place = torch.arange(p, p + t, device=ids.device)
        x = self.drop(self.placed(self.wte(ids.view(b * c, t)), place))
        mask = torch.ones(t, p + t, dtype=torch.bool, device=ids.device).tril(p)
        for block, past in zip(self.blocks, cache, strict=True):
            k, v = (z[:, None].expand(b, c, *z.shape[1:]).reshape(b * c, *z.shape[1:]) for z in past)
            x, _ = block(x, mask=mask, past=(k, v), place=place)
        return x.view(b, c, t, -1)

    def step(self, past: list[KeysValues], ids: Tensor, position: int) -> tuple[Tensor, list[KeysValues]]:
        """One token per row: ids [N] -> logits [N,V] and the longer `past`."""
        place = torch.tensor([position], device=ids.device)
        x = self.placed(self.wte(ids)[:, None], place)
        longer = []
        for block, (k, v) in zip(self.blocks, past, strict=True):
            x, (new_k, new_v) = block(x, past=(k, v), place=place)
            longer.append((torch.cat((k, new_k), 2), torch.cat((v, new_v), 2)))
        return self.logits(x[:, 0]), longer


class Captioner(nn.Module):
    """A mapper and the decoder that reads its prefix. `grid` is whatever the mapper reads."""

    def __init__(self, mapper: nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.mapper, self.decoder = mapper, decoder

    @torch.no_grad()
    def sample(self, grid: Tensor, per_picture: int, limit: int, stop: int, temperature: float = 1.0) -> Tensor:
        """Draws captions token by token: ids [B, per_picture, limit], filled with `stop` after the first one."""
        b = grid.shape[0]
        last, cache = self.decoder.prefill(self.mapper(grid))
        rows = torch.arange(b, device=last.device).repeat_interleave(per_picture)
        past = [(k[rows], v[rows]) for k, v in cache]
        logits, out = self.decoder.logits(last)[rows], []
        done = torch.zeros(len(rows), dtype=torch.bool, device=last.device)
        position = cache[0][0].shape[2]
        for t in range(limit):
            ids = torch.multinomial((logits.float() / temperature).softmax(-1), 1)[:, 0]
            ids = torch.where(done, stop, ids)
            out.append(ids)
            done |= ids.eq(stop)
            if done.all() or t + 1 == limit:
                break
            logits, past = self.decoder.step(past, ids, position + t)
        out += [torch.full_like(out[0], stop)] * (limit - len(out))
        return torch.stack(out, 1).view(b, per_picture, limit)

    def teach(self, grid: Tensor, *sets: Tensor) -> list[Tensor]:
        """Hidden states [B,C,T,W] before every token of each set of captions [B,C,T]; negative ids are padding."""
        first, cache = self.decoder.prefill(self.mapper(grid))
        return [
            torch.cat(
                (
                    first[:, None, None].expand(-1, ids.shape[1], -1, -1),
                    self.decoder.teacher(cache, ids[:, :, :-1].clamp_min(0)),
                ),
                2,
            )
            for ids in sets
        ]

    @torch.no_grad()
    def beam(self, grid: Tensor, beam: int, limit: int, stop: int) -> list[tuple[list[int], float]]:
        """ClipCap's released beam search, batched.

        It maximises the mean log-probability, and the length counts the stop token. Returns for each picture the ids
        without the stop token and the mean log-probability.
        """
        return beam_search([self.decoder], [self.mapper(grid)], beam, limit, stop)


def mean_logprobs(logits: Sequence[Tensor]) -> Tensor:
    """Logits [N,V] of each decoder -> the mean of their log-probabilities [N,V], normalised."""
    logps = [x.float().log_softmax(-1) for x in logits]
    return logps[0] if len(logps) == 1 else torch.stack(logps).mean(0).log_softmax(-1)


@torch.no_grad()
def beam_search(
    decoders: Sequence[Decoder],
    prefixes: Sequence[Tensor],
    beam: int,
    limit: int,
    stop: int,
    bonus: Tensor | None = None,
) -> list[tuple[list[int], float]]:
    """`Captioner.beam` of an ensemble, each decoder after its prefix [B,P,W]. `bonus` [B,V] is added to each word."""
    filled = [d.prefill(p) for d, p in zip(decoders, prefixes, strict=True)]
    b, device, position = len(prefixes[0]), prefixes[0].device, prefixes[0].shape[1]
    logp = mean_logprobs([d.logits(last) for d, (last, _) in zip(decoders, filled, strict=True)])
    total, first = (logp if bonus is None else logp + bonus).topk(beam, -1)
    rows = torch.arange(b, device=device).repeat_interleave(beam)
    pasts = [[(k[rows], v[rows]) for k, v in cache] for _, cache in filled]
    ids, length, stopped = first[..., None], torch.ones(b, beam, device=device), first.eq(stop)
    for t in range(limit - 1):
        if stopped.all():
            break
        last_ids = ids[:, :, -1].reshape(-1)
        stepped = [d.step(past, last_ids, position + t) for d, past in zip(decoders, pasts, strict=True)]
        logp = mean_logprobs([logits for logits, _ in stepped]).view(b, beam, -1)
        if bonus is not None:
            logp = logp + bonus[:, None]
        vocab = logp.shape[-1]
        # A stopped beam continues with id 0 at no cost.
        logp[stopped] = -float("inf")
        logp[..., 0] = torch.where(stopped, 0.0, logp[..., 0])
        length = length + (~stopped).float()
        mean, flat = ((total[..., None] + logp) / length[..., None]).view(b, -1).topk(beam, -1)
        source, token = flat // vocab, flat % vocab
        length, stopped = length.gather(1, source), stopped.gather(1, source)
        total = mean * length
        ids = torch.cat((ids.gather(1, source[..., None].expand(-1, -1, ids.shape[2])), token[..., None]), 2)
        rows = (torch.arange(b, device=device)[:, None] * beam + source).view(-1)
        pasts = [[(k[rows], v[rows]) for k, v in past] for _, past in stepped]
        stopped = stopped | token.eq(stop)
    captions = []
    for i, j in enumerate((total / length).argmax(1).tolist()):
        best = ids[i, j, : int(length[i, j])].tolist()
        captions.append((best[:-1] if best[-1] == stop else best, float(total[i, j] / length[i, j])))
    return captions
