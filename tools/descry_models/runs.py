"""A training run that can be interrupted at any step and resumed to the same result."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .mapping import save_atomically
from .optim import Average, adam, set_rate

# Steps between saved states.
SAVE_EVERY = 50


class Run:
    """A model, its optimiser and its averaged weights, saved to one file every SAVE_EVERY steps."""

    def __init__(self, model: nn.Module, path: Path, key: str, total: int, peak: float) -> None:
        """`key` identifies what is trained on what: a state with another key is refused."""
        self.model, self.path, self.key, self.total = model, path, key, total
        self.average, self.optimiser = Average(model, 0.999), adam(model, peak)
        self.step, self.seconds, self.started = 0, 0.0, time.time()
        self.loss = 0.0

    def resume(self) -> None:
        """Continues from the saved state, if there is one."""
        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=True)
        if state["key"] != self.key:
            raise SystemExit(f"{self.path}: belongs to a run with other options; remove it, or choose another --work")
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.steps = self.step = state["step"]
        self.seconds, self.loss = state["seconds"], state["loss"]
        torch.set_rng_state(state["random"])
        print(f"resuming {self.path.name} at step {self.step} of {self.total}", flush=True)

    def save(self) -> None:
        self.count_seconds()
        state = {
            "key": self.key,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "random": torch.get_rng_state(),
        }
        save_atomically(state, self.path)

    def count_seconds(self) -> None:
        now = time.time()
        self.seconds, self.started = self.seconds + now - self.started, now

    def update(self, loss: Tensor, warm: int) -> None:
        """One step of the optimiser."""
        set_rate(self.optimiser, self.step, self.total, warm)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.average.update(self.model)
        self.step += 1
        self.loss = loss.item() if self.step == 1 else 0.98 * self.loss + 0.02 * loss.item()
        if self.step % SAVE_EVERY == 0 or self.step == self.total:
            self.save()
            minutes = self.seconds / 60
            print(f"{self.path.stem} {self.step}/{self.total} loss {self.loss:.3f} {minutes:.1f} min", flush=True)


def length_batches(lengths: Sequence[int], size: int, seed: str, window: int = 20) -> list[list[int]]:
    """Batches of an epoch, as indices, in random order; within `window` batches similar lengths go together."""
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    out = []
    for start in range(0, len(order) // size * size, window * size):
        some = sorted(order[start : start + window * size], key=lambda i: lengths[i])
        out += [some[k : k + size] for k in range(0, len(some) // size * size, size)]
    rng.shuffle(out)
    return out
