"""Cached features of the training pictures, as training reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Grids(Protocol):
    """Anything that gives the grids of pictures; all that training and judging need."""

    def get(self, pictures: Sequence[int], views: Sequence[int]) -> Tensor: ...


class Features:
    """Cached features of every view, memory-mapped: pooled grids [pictures, cells, features], or maps."""

    def __init__(self, folder: Path, kind: str = "grid") -> None:
        self.views = [np.load(path, mmap_mode="r") for path in sorted(folder.glob(f"{kind}[0-9].npy"))]

    def get(self, pictures: Sequence[int], views: Sequence[int]) -> Tensor:
        """Features of the given view of each picture."""
        rows = [self.views[view][picture] for picture, view in zip(pictures, views, strict=True)]
        return torch.from_numpy(np.stack(rows).astype(np.float32))


class TunedGrids:
    """Grids of a tail that is being trained, computed from cached maps."""

    def __init__(self, maps: Features, tail: nn.Module) -> None:
        self.maps, self.tail = maps, tail

    @torch.no_grad()
    def get(self, pictures: Sequence[int], views: Sequence[int]) -> Tensor:
        return self.tail(self.maps.get(pictures, views))


def random_boxes(maps: Tensor, least: float = 0.6, whole: float = 0.3) -> Tensor:
    """Random boxes of maps [N,C,S,S] with at least this share of the area, stretched to the whole; a share stays whole.

    As good as crops of the picture, and never the same twice.
    """
    n = maps.shape[0]
    area, ratio = torch.empty(n).uniform_(least, 1.0), torch.empty(n).uniform_(-0.2, 0.2).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    keep = torch.rand(n) < whole
    width, height = torch.where(keep, 1.0, width), torch.where(keep, 1.0, height)
    affine = torch.zeros(n, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = width, height
    affine[:, 0, 2], affine[:, 1, 2] = (
        (torch.rand(n) * 2 - 1) * (1 - width),
        (torch.rand(n) * 2 - 1) * (1 - height),
    )
    grid = F.affine_grid(affine, list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, align_corners=False, padding_mode="border")
