"""Optimiser, learning-rate schedule and weight averaging of the built-in model's training."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn


class Average:
    """Exponential moving average of a model's weights: the model that is judged and saved."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.steps = copy.deepcopy(model).eval(), decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, weight in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)


def rate(step: int, total: int, peak: float, warm: int) -> float:
    """Learning rate: linear warm-up over `warm` steps, then half a cosine down to 0."""
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def set_rate(optimiser: torch.optim.Optimizer, step: int, total: int, warm: int) -> None:
    """Gives each group its rate at this step; a group's own `peak` is the top of its schedule."""
    for group in optimiser.param_groups:
        group["lr"] = rate(step, total, group["peak"], warm)


def groups(model: nn.Module, peak: float, decay: float) -> list[dict[str, Any]]:
    """Parameter groups of a model: matrices decay, vectors do not. `peak` is their highest learning rate."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return [
        {"params": matrices, "weight_decay": decay, "peak": peak},
        {"params": vectors, "weight_decay": 0, "peak": peak},
    ]


def adam(model: nn.Module, peak: float, decay: float = 0.05) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups(model, peak, decay), lr=peak, betas=(0.9, 0.98), fused=True)
