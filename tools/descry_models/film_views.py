"""Film-like views of many pictures at once, on their own device. `film.film_frame` makes such views one at a time.

Pictures are squashed to squares. A crop of any aspect ratio, squashed again, is a rectangle of that square.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .film import ASPECTS, LEAST_AREA

# JPEG's quantisation tables for brightness and colour (Annex K of the standard), which encoders scale by the quality.
LUMA = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float32,
)
CHROMA = torch.full((8, 8), 99.0)
CHROMA[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])
# RGB to brightness and two differences of colour, and the matrix of the 8-point cosine transform.
TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
COSINES = torch.tensor(
    [[math.cos((2 * x + 1) * u * math.pi / 16) * (0.5 if u else 0.125**0.5) for x in range(8)] for u in range(8)]
)


def uniform(n: int, low: float, high: float, like: Tensor) -> Tensor:
    """Random numbers [n] from `low` to `high`, on the device of `like`."""
    return torch.rand(n, device=like.device) * (high - low) + low


def chance(n: int, share: float, like: Tensor) -> Tensor:
    """[n] true for about this share, on the device of `like`."""
    return torch.rand(n, device=like.device) < share


def crops(aspect: Tensor) -> Tensor:
    """Random crops as (left, top, width, height) in shares of each picture, whose aspect ratios are `aspect` [N]."""
    n = len(aspect)
    weights = torch.tensor([weight for _, weight in ASPECTS], device=aspect.device)
    wanted = torch.tensor([ratio or 0.0 for ratio, _ in ASPECTS], device=aspect.device)
    wanted = wanted[torch.multinomial(weights, n, replacement=True)]
    own = uniform(n, 0.6, 1.0, aspect).sqrt()
    wide = (aspect / wanted.clamp_min(0.1)).clamp(LEAST_AREA, 1.0)
    tall = (wanted / aspect).clamp(LEAST_AREA, 1.0)
    one = torch.ones_like(own)
    width = torch.where(wanted == 0, own, torch.where(wanted >= aspect, one, tall))
    height = torch.where(wanted == 0, own, torch.where(wanted >= aspect, wide, one))
    left, top = (torch.rand(n, device=aspect.device) * (1 - side) for side in (width, height))
    return torch.stack((left, top, width, height), 1)


def cut(pictures: Tensor, boxes: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """The boxes [N,4] of pictures [N,3,S,S], squashed to [N,3,size,size], and mirrored where `mirrored` [N] says so."""
    sign = torch.where(mirrored, -1.0, 1.0)
    theta = torch.zeros(len(boxes), 2, 3, device=boxes.device)
    theta[:, 0, 0], theta[:, 1, 1] = boxes[:, 2] * sign, boxes[:, 3]
    theta[:, 0, 2] = 2 * boxes[:, 0] + boxes[:, 2] - 1
    theta[:, 1, 2] = 2 * boxes[:, 1] + boxes[:, 3] - 1
    grid = F.affine_grid(theta, [len(boxes), 3, size, size], align_corners=False)
    return F.grid_sample(pictures, grid, "bilinear", "border", align_corners=False)


def graded(x: Tensor) -> Tensor:
    """Makes some pictures [N,3,H,W] darker, grey, less or more colourful, tinted, or changes their contrast."""
    n = len(x)

    def each(values: Tensor) -> Tensor:  # one value for each picture
        return values[:, None, None, None]

    dark = chance(n, 0.25, x)
    gamma, light = uniform(n, 1.0, 2.0, x), uniform(n, 0.35, 0.9, x)
    x = torch.where(each(dark), each(light) * x.clamp(0, 1) ** each(gamma), x)
    grey = x.mul(TO_YCC[0].to(x)[:, None, None]).sum(1, keepdim=True)
    colour = torch.where(chance(n, 0.35, x), uniform(n, 0.3, 1.3, x), torch.ones(n, device=x.device))
    colour = colour * ~chance(n, 0.12, x)
    x = grey + (x - grey) * each(colour)
    tint = 1 + (torch.rand(n, 3, device=x.device) - 0.5) * 0.3 * chance(n, 0.3, x)[:, None]
    x = x * tint[:, :, None, None]
    contrast = torch.where(chance(n, 0.25, x), uniform(n, 0.5, 1.3, x), torch.ones(n, device=x.device))
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + (x - mean) * each(contrast)).clamp(0, 1)


def blurred(x: Tensor, size: int = 9) -> Tensor:
    """Blurs some pictures [N,3,H,W] as if out of focus, some as if moving sideways; the others stay as they are."""
    n = len(x)
    at = torch.arange(size, device=x.device, dtype=torch.float32) - size // 2
    sigma = torch.where(chance(n, 0.15, x), uniform(n, 0.5, 1.8, x), torch.full((n,), 0.05, device=x.device))
    lens = torch.exp(-((at / sigma[:, None]) ** 2) / 2)
    lens = lens / lens.sum(1, keepdim=True)
    length = torch.where(chance(n, 0.15, x), uniform(n, 3, 7, x), torch.ones(n, device=x.device))
    motion = (at.abs() <= length[:, None] / 2).float()
    motion = motion / motion.sum(1, keepdim=True)
    flat = x.reshape(1, -1, *x.shape[2:])
    for kernel, across in ((lens, True), (lens, False), (motion, True)):
        weight = kernel.repeat_interleave(x.shape[1], 0).to(x.dtype)
        weight = weight[:, None, None, :] if across else weight[:, None, :, None]
        pad = (size // 2, size // 2, 0, 0) if across else (0, 0, size // 2, size // 2)
        flat = F.conv2d(F.pad(flat, pad, "replicate"), weight, groups=flat.shape[1])
    return flat.view_as(x)


def compressed(x: Tensor) -> Tensor:
    """Gives pictures [N,3,S,S] the blocks of a low bitrate, as JPEG does. Half of them lose resolution first."""
    n, side = len(x), x.shape[2]
    low = chance(n, 0.5, x)
    for part in range(2):
        some = low.nonzero()[part::2, 0]
        if len(some):
            smaller = max(16, int(side * float(uniform(1, 0.4, 0.8, x))))
            small = F.interpolate(x[some], smaller, mode="bilinear", antialias=True, align_corners=False)
            x = x.index_copy(0, some, F.interpolate(small, side, mode="bilinear", align_corners=False))
    ycc = torch.einsum("dc,nchw->ndhw", TO_YCC.to(x), x) * 255
    ycc[:, 0] -= 128
    halves = F.avg_pool2d(ycc[:, 1:], 2)
    quality = uniform(n, 12, 45, x)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    luma = rounded(ycc[:, :1], LUMA.to(x), scale) + 128
    chroma = F.interpolate(rounded(halves, CHROMA.to(x), scale), scale_factor=2, mode="bilinear", align_corners=False)
    back = torch.linalg.inv(TO_YCC).to(x)
    return (torch.einsum("dc,nchw->ndhw", back, torch.cat((luma, chroma), 1)) / 255).clamp(0, 1)


def rounded(x: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """Rounds the frequencies of 8 × 8 blocks of x [N,C,H,W] to steps: `table` [8,8] times `scale` [N], at least 1.

    H and W are multiples of 8.
    """
    n, channels, height, width = x.shape
    cosines = COSINES.to(x)
    blocks = x.reshape(n, channels, height // 8, 8, width // 8, 8)
    waves = torch.einsum("ui,ncyixj,vj->ncyuxv", cosines, blocks, cosines)
    steps = (table[:, None, :] * scale[:, None, None, None]).clamp_min(1)[:, None, None]
    waves = (waves / steps).round() * steps
    return torch.einsum("ui,ncyuxv,vj->ncyixj", cosines, waves, cosines).reshape_as(x)


def film_views(pictures: Tensor, aspect: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """Film-like views [N,3,size,size] of pictures [N,3,S,S], all in 0..1. `size` is a multiple of 16."""
    x = graded(cut(pictures, crops(aspect), mirrored, size))
    x = blurred(x)
    n = len(x)
    grain = uniform(n, 3, 14, x) / 255 * chance(n, 0.3, x)
    x = (x + torch.randn_like(x) * grain[:, None, None, None]).clamp(0, 1)
    some = chance(n, 0.4, x).nonzero()[:, 0]
    return x.index_copy(0, some, compressed(x[some]).to(x.dtype)) if len(some) else x


def plain_views(pictures: Tensor, mirrored: Tensor, size: int, least: float = 1.0) -> Tensor:
    """The pictures as they are, some mirrored. Half of them are cropped to `least` of their area (0 to 1) or more."""
    n = len(pictures)
    area = torch.where(
        chance(n, 0.5, pictures), uniform(n, least, 1.0, pictures), torch.ones(n, device=pictures.device)
    )
    side = area.sqrt()
    left, top = (torch.rand(n, device=pictures.device) * (1 - side) for _ in range(2))
    return cut(pictures, torch.stack((left, top, side, side), 1), mirrored, size)


def enlarged(x: Tensor, size: int) -> Tensor:
    """Pictures [N,3,S,S] in 0..1 as the towers take them: [N,3,size,size] from -1 to 1."""
    return F.interpolate(x, size, mode="bicubic", align_corners=False).clamp(0, 1) * (255 / 128) - 127 / 128
