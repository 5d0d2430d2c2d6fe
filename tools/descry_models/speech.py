"""The first stage: decoders learn language from all captions, given only a noisy list of each caption's concepts.

The list looks like what a picture's concepts will look like: some are missing, some are wrong, none is certain.
(CapDec, arXiv 2211.00575, does the same with a noised embedding of the caption.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .lessons import PADDING, UNKNOWN, Lessons
from .members import STYLES, Member
from .optim import adam, groups, set_rate
from .progress import Batches, Progress, clip

SMOOTHING = 0.1
BATCH, PEAK, WARM = 1024, 1.5e-3, 200
# Shares of the concepts that are missing from a list, and the expected number of wrong ones in it.
MISSING, WRONG = 0.25, 6.0


def trimmed(ids: Tensor) -> Tensor:
    """Captions [N,T] without the columns that hold nothing but padding."""
    longest = int(ids.ne(PADDING).sum(-1).max())
    return ids[..., : max(2, longest)]


def targets(ids: Tensor) -> Tensor:
    """The ids that cross-entropy compares with. Unknown words are left out, so that no caption has them."""
    return torch.where(ids.eq(UNKNOWN), PADDING, ids)


def told_concepts(ids: Tensor, table: Tensor, count: int) -> Tensor:
    """Noisy probabilities [N,count] of the concepts of captions [N,T]. `table` [V] has the concept of each word."""
    of_word = torch.where(ids < 0, -1, table[ids.clamp_min(0)])
    present = torch.zeros(len(ids), count + 1, device=ids.device)
    present.scatter_(1, torch.where(of_word < 0, count, of_word), 1.0)
    present = present[:, :count].bool()
    likely = torch.rand(present.shape, device=ids.device) * 0.75 + 0.25
    unlikely = torch.rand(present.shape, device=ids.device) * 0.25
    kept = present & (torch.rand(present.shape, device=ids.device) >= MISSING)
    # Frequent concepts are often the wrong ones.
    usual = present.float().mean(0) / present.float().mean(0).sum() * WRONG
    wrong = torch.rand(present.shape, device=ids.device) < usual
    return torch.where(kept, likely, torch.where(present | wrong, unlikely + 0.1, unlikely * 0.1))


def word_loss(member: Member, prefix: Tensor, ids: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy of captions [B,C,T] after prefixes [B,P,W], with the `weight` [B] of each picture."""
    wanted = targets(ids)
    keep = wanted.ne(PADDING)
    (hidden,) = member.teach(prefix, ids)
    logits = member.decoder.logits(hidden[keep]).float()
    if weight is None:
        return F.cross_entropy(logits, wanted[keep], label_smoothing=SMOOTHING)
    losses = F.cross_entropy(logits, wanted[keep], label_smoothing=SMOOTHING, reduction="none")
    each = weight[:, None, None].expand_as(keep)[keep]
    return (losses * each).sum() / each.sum()


def teach_speech(
    members: Sequence[Member], lessons: Lessons, device: torch.device, epochs: float, seed: int, folder: Path
) -> None:
    """Trains the decoders of all members on the texts and on the captions of training pictures, in place."""
    own = torch.tensor(lessons.starts).diff()
    trained = (~lessons.held_out).repeat_interleave(own)
    style = lessons.source.repeat_interleave(own)[trained]
    ids = torch.cat((lessons.captions[trained], lessons.texts)).to(device).long()
    styles = torch.cat((style, torch.full((len(lessons.texts),), STYLES.index("text")))).to(device).long()
    table = torch.tensor(lessons.concepts, device=device)
    batches = Batches(range(len(ids)), BATCH, seed, device)
    progress = Progress("speech", max(1, int(epochs * len(batches))), seed, folder)
    optimisers = [adam(groups(m, PEAK, 0.05)) for m in members]
    both = nn.ModuleList(members).train()
    progress.watch(None, *optimisers, members=both)
    for step in progress.steps():
        some = batches.at(step)
        chosen, losses = trimmed(ids[some]), []
        for member, optimiser in zip(members, optimisers, strict=True):
            set_rate(optimiser, step, progress.total, WARM)
            with torch.autocast(device.type, torch.bfloat16):
                told = told_concepts(chosen, table, lessons.count)
                prefix = member.member_mapper.told_only(told, styles[some])
                loss = word_loss(member, prefix, chosen[:, None])
            optimiser.zero_grad()
            loss.backward()
            clip([member])
            optimiser.step()
            losses.append(loss.detach())
        progress.note(step, torch.stack(losses))
