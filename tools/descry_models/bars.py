"""Crops black bars off pictures, by the rule of descry's src/media/bars.rs, which explains it."""

from __future__ import annotations

import numpy as np
from PIL import Image

# BLACK, FLAT and STEP are brightness out of 255. SPECKS is a share of a line's pixels, NARROW one of the lines. BLUR
# and LEAST_SIDE are in pixels. SAMPLES is the most pixels of a line that are read.
BLACK, FLAT, STEP = 20, 4, 16
SPECKS, NARROW = 0.02, 0.02
BLUR = 3
LEAST_SIDE, SAMPLES = 32, 256


def without_bars(frame: Image.Image) -> Image.Image:
    """Crops black bars off. A picture without bars stays as it is, and so does one that is merely dark."""
    luma = np.asarray(frame.convert("L")).astype(np.int64)
    height, width = luma.shape
    if min(width, height) < LEAST_SIDE:
        return frame
    top, bottom = bar_pair(luma[:, :: -(-width // SAMPLES)])
    rows = luma[top : height - bottom]
    left, right = bar_pair(rows[:: -(-len(rows) // SAMPLES)].T)
    # What is left of a dark picture is no frame between bars.
    if 5 * len(rows) * (width - left - right) < 2 * height * width:
        return frame
    return frame.crop((left, top, width - right, height - bottom))


def bar_pair(near: np.ndarray) -> tuple[int, int]:
    """Lines of the bar before the picture and of the bar behind it; int64 [lines, pixels], brightness from 0 to 255."""
    far, count = near[::-1], len(near)
    dark = (near > BLACK).mean(1) <= SPECKS
    if dark.all():
        return 0, 0
    first, last = int(dark.argmin()), int(dark[::-1].argmin())
    least, most = min(first, last), max(first, last)
    if first + last < NARROW * count:
        return 0, 0
    if most - least <= slack(count):
        flat = least > 0 and is_flat(near[:first], count) and is_flat(far[:last], count)
        return (first, last) if flat and (is_edge(near, first) or is_edge(far, last)) else (0, 0)
    short, long = (near, far) if first < last else (far, near)
    if 2 * least >= NARROW * count and is_edge(short, least):
        # The picture is dark beside the other bar.
        flat = is_flat(short[:least], count) and is_flat(long[:least], count)
        return (least, least) if flat else (0, 0)
    # Subtitles in the other bar.
    has_text = (
        least > 0
        and 2 * most < count
        and is_edge(long, most)
        and is_edge(short, most)
        and is_flat(long[:most], count)
        and (short[most - 1] > BLACK).mean() <= SPECKS
        and 5 * (short[:most] > BLACK).sum() <= short[:most].size
    )
    return (most, most) if has_text else (0, 0)


def slack(count: int) -> int:
    """How many lines of so many an edge may be off, or blurred over."""
    return count // 100 + 2


def is_edge(lines: np.ndarray, line: int) -> bool:
    """Whether the picture begins at a line, or just behind it: most of it becomes bright within a few lines."""
    for at in range(line, min(line + slack(len(lines)), len(lines))):
        now, before = lines[at], lines[max(at - BLUR, 0)]
        if 2 * ((now > BLACK) & (now - before >= STEP)).sum() >= now.size:
            return True
    return False


def is_flat(bar: np.ndarray, count: int) -> bool:
    """Whether a bar beside a picture of `count` lines has one brightness, up to noise."""
    values = bar[: len(bar) - min(slack(count), len(bar) // 4)]
    values = values[values <= BLACK]
    return bool((values * values).sum() * values.size <= values.sum() ** 2 + (FLAT * values.size) ** 2)
