"""Optimiser, learning-rate schedule and weight averaging of the built-in model's training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of a model's trainable weights, which is what is judged and saved."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters]
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step. The first steps count more, so that the initial weights fade soon."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, self.parameters, 1 - decay)

    @torch.no_grad()
    def set(self, average: Sequence[Tensor], steps: int) -> None:
        """Continues from saved averages."""
        self.steps = steps
        for mine, saved in zip(self.average, average, strict=True):
            mine.copy_(saved)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the weights with their averages; a second call undoes it."""
        for weight, average in zip(self.parameters, self.average, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)


def set_rate(optimiser: torch.optim.Optimizer, step: int, total: int, warm: int) -> None:
    """Gives each group its rate: linear warm-up to its own `peak`, then half a cosine down to 0."""
    share = 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / max(1, total - warm)))
    if step < warm:
        share = (step + 1) / warm
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def groups(model: nn.Module, peak: float, decay: float) -> list[dict[str, Any]]:
    """Parameter groups of a model: matrices decay, vectors do not. `peak` is their highest learning rate."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": decay, "peak": peak},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0, "peak": peak},
    ]


def adam(parts: Sequence[dict[str, Any]]) -> torch.optim.AdamW:
    """The optimiser of parameter groups that `groups` made."""
    return torch.optim.AdamW(parts, lr=1e-4, betas=(0.9, 0.98), fused=True)
