#!/usr/bin/env python3
"""Writes the checkpoints in tests/goldens/checkpoints, as PyTorch and safetensors write them.

Run it in the environment of tools/requirements.txt: python tests/goldens/make_checkpoints.py
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

OUT = Path(__file__).parent / "checkpoints"


class Command:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch this-was-run",)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6, dtype=torch.float16).view(2, 3))
        self.register_buffer("count", torch.tensor(7))
        self.kinds = ["a", "b"]

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.count


class Module(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = Inner()
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.size = 32

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x) * self.scale + self.size


def rewritten(source: Path, to: Path, change: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Copies an archive with other bytes for some of its entries, by the ends of their names."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(to, "w", compression) as new:
        for entry in old.infolist():
            end = entry.filename.split("/", 1)[1]
            new.writestr(zipfile.ZipInfo(entry.filename), change.get(end, old.read(entry)), compression)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    rows = torch.arange(12, dtype=torch.float32).view(3, 4)
    state: OrderedDict[str, Any] = OrderedDict(
        rows=rows,
        turned=rows.T,
        middle=rows[1:, 1:3],
        repeated=torch.tensor([5.0, 6.0])[:, None].expand(2, 3),
        half=torch.tensor([0.5, -2.0], dtype=torch.float16),
        brain=torch.tensor([0.5, -2.0], dtype=torch.bfloat16),
        double=torch.tensor([0.25], dtype=torch.float64),
        count=torch.tensor(3),
        mask=torch.tensor([True, False]),
        empty=torch.zeros(0, 3),
        parameter=nn.Parameter(torch.tensor([1.0, 2.0])),
    )
    module = nn.Linear(2, 1)
    nn.init.constant_(module.weight, 3.0)
    nn.init.constant_(module.bias, 4.0)
    torch.save(state, OUT / "state.pt")
    torch.save(module.state_dict(), OUT / "linear.pt")
    torch.save(state, OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({**state, "epoch": 3}, OUT / "more.pt")
    torch.save({"model": state}, OUT / "nested.pt")
    torch.save({**state, "command": Command()}, OUT / "command.pt")
    torch.save([1, 2], OUT / "list.pt")
    torch.jit.script(Module()).save(str(OUT / "script.pt"))
    save_file({k: v.clone().contiguous() for k, v in state.items()}, OUT / "state.safetensors")
    rewritten(OUT / "linear.pt", OUT / "compressed.pt", {}, zipfile.ZIP_DEFLATED)
    rewritten(OUT / "linear.pt", OUT / "system.pt", {"data.pkl": pickle.dumps(Command(), 2)})
    rewritten(OUT / "linear.pt", OUT / "short.pt", {"data/0": b"1234"})
    rewritten(OUT / "linear.pt", OUT / "big_endian.pt", {"byteorder": b"big"})


if __name__ == "__main__":
    main()
