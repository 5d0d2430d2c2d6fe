"""Training that can be interrupted at any step and continues to the same result.

Every step draws its random numbers from a seed of its own, so that only the weights, their averages and the optimisers
have to be saved.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .mapping import save_atomically
from .optim import Ema

SAVE_SECONDS = 120.0
PRINT_STEPS = 100


def state_path(folder: Path, name: str) -> Path:
    """The file that an interrupted stage continues from."""
    return folder / f"{name}.state.pt"


class Progress:
    """The steps of one stage. Its state stays until the caller has kept the result and removes it."""

    def __init__(self, name: str, total: int, seed: int, folder: Path) -> None:
        self.name, self.total, self.seed = name, total, seed
        self.path = state_path(folder, name)
        self.parts: dict[str, Any] = {}
        self.started = self.saved = time.time()
        self.sums: Tensor | None = None
        self.noted = 0

    def watch(self, ema: Ema | None, *optimisers: torch.optim.Optimizer, **modules: nn.Module) -> None:
        """What is saved: the trainable weights of modules, their averages, and the optimisers."""
        self.parts = {"ema": ema, "optimisers": optimisers, "modules": modules}

    def steps(self) -> Iterator[int]:
        """The steps that are left. Before each, the random numbers are seeded; after some, the state is saved."""
        first = self.restore()
        for step in range(first, self.total):
            torch.manual_seed(self.seed * 1_000_003 + step)
            yield step
            if time.time() - self.saved > SAVE_SECONDS and step + 1 < self.total:
                self.save(step + 1)

    def note(self, step: int, values: Tensor) -> None:
        """Prints the mean of values, such as losses, from time to time."""
        self.sums = values.detach() if self.sums is None else self.sums + values.detach()
        self.noted += 1
        if (step + 1) % PRINT_STEPS == 0 or step + 1 == self.total:
            means = " ".join(f"{v:.3f}" for v in (self.sums / self.noted).reshape(-1).tolist())
            print(f"{self.name} {step + 1}/{self.total}: {means} ({time.time() - self.started:.0f} s)", flush=True)
            self.sums, self.noted = None, 0

    def save(self, step: int) -> None:
        """Writes the state from which `step` follows."""
        state = {
            "total": self.total,
            "step": step,
            "modules": {n: trainable(m) for n, m in self.parts["modules"].items()},
            "ema": self.parts["ema"].average if self.parts["ema"] else None,
            "optimisers": [o.state_dict() for o in self.parts["optimisers"]],
        }
        save_atomically(state, self.path)
        self.saved = time.time()

    def restore(self) -> int:
        """Loads the saved state, if there is one. Returns the step to go on from."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True, map_location="cpu")
        if state["total"] != self.total:
            raise SystemExit(f"{self.path}: belongs to a run with other options; remove it, or choose another --work")
        for name, module in self.parts["modules"].items():
            module.load_state_dict(state["modules"][name], strict=False)
        for optimiser, saved in zip(self.parts["optimisers"], state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        if self.parts["ema"]:
            self.parts["ema"].set(state["ema"], state["step"])
        print(f"{self.name}: continues at step {state['step']} of {self.total}", flush=True)
        return int(state["step"])


def trainable(module: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


class Batches:
    """Random batches of items. No item occurs twice in an epoch."""

    def __init__(self, items: Sequence[int] | Tensor, size: int, seed: int, device: torch.device) -> None:
        self.items = torch.as_tensor(items, device=device)
        self.size, self.seed = min(size, len(self.items)), seed
        self.epoch, self.order = -1, self.items

    def __len__(self) -> int:
        """Batches of an epoch. What is left over is dropped."""
        return len(self.items) // self.size

    def at(self, step: int) -> Tensor:
        """The items of a step."""
        epoch, place = divmod(step, len(self))
        if epoch != self.epoch:
            order = torch.randperm(len(self.items), generator=torch.Generator().manual_seed(self.seed * 7919 + epoch))
            self.epoch, self.order = epoch, self.items[order.to(self.items.device)]
        return self.order[place * self.size : (place + 1) * self.size]


def clip(modules: Sequence[nn.Module]) -> None:
    """Limits the norm of each module's gradients."""
    for module in modules:
        nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], 1.0)
