"""Makes photographs look like frames of films, for training.

A film frame differs from a photograph in its shape (16:9, 2.39:1), its bars, its motion blur, its noise, its darkness,
its missing colours and its low bitrate. `film_frame` draws some of these changes at random. The same seed gives the
same frame.
"""

import io
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

# Aspect ratios to crop to, with their weights. None keeps the picture's own.
ASPECTS: list[tuple[float | None, float]] = [(None, 0.30), (16 / 9, 0.30), (2.39, 0.20), (1.85, 0.10), (4 / 3, 0.10)]
# A crop keeps at least this share of the picture, so that the captions still fit.
LEAST_AREA = 0.5

Damage = Callable[[Image.Image, random.Random], Image.Image]


def film_frame(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Crops and degrades one picture. Never mirrors it, so that "left" and "right" in captions stay true."""
    frame = crop_to_aspect(picture.convert("RGB"), rng)
    # Dark, flat or grey: two of them together leave little to see.
    dark = rng.random() < 0.25
    if dark:
        frame = darken(frame, rng)
    elif rng.random() < 0.33:
        frame = ImageEnhance.Contrast(frame).enhance(rng.uniform(0.6, 1.3))
    if not dark and rng.random() < 0.15:
        frame = frame.convert("L").convert("RGB")
    elif rng.random() < 0.35:
        frame = ImageEnhance.Color(frame).enhance(rng.uniform(0.3, 1.3))
    for damage in damages(rng):
        frame = damage(frame, rng)
    if rng.random() < 0.08:
        frame = letterbox(frame, rng)
    return frame


def damages(rng: random.Random) -> list[Damage]:
    """What takes detail away, at most two of it: blur, noise and a low bitrate together would leave too little."""
    chances: tuple[tuple[Damage, float], ...] = ((blur, 0.30), (add_noise, 0.30), (compress, 0.40))
    some = [damage for damage, chance in chances if rng.random() < chance]
    if len(some) == 3:
        some.pop(rng.randrange(3))
    return some


def crop_to_aspect(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Crops to a random aspect ratio, or as far towards it as LEAST_AREA allows. Prefers the middle, as films do."""
    aspects, weights = zip(*ASPECTS, strict=True)
    aspect = rng.choices(aspects, weights)[0]
    width, height = picture.size
    if aspect is None:
        share = rng.uniform(0.6, 1.0) ** 0.5
        crop_width, crop_height = width * share, height * share
    elif aspect >= width / height:
        crop_width, crop_height = width, max(width / aspect, height * LEAST_AREA)
    else:
        crop_width, crop_height = max(height * aspect, width * LEAST_AREA), height
    crop_width, crop_height = max(1, min(width, round(crop_width))), max(1, min(height, round(crop_height)))
    # Heads are above the middle.
    left = round((width - crop_width) * rng.triangular(0, 1, 0.5))
    top = round((height - crop_height) * rng.triangular(0, 1, 0.35))
    return picture.crop((left, top, left + crop_width, top + crop_height))


def darken(frame: Image.Image, rng: random.Random) -> Image.Image:
    """Night and dim rooms: a gamma above 1 and less light."""
    gamma, light = rng.uniform(1.0, 1.7), rng.uniform(0.4, 0.9)
    return frame.point([round(255 * light * (value / 255) ** gamma) for value in range(256)] * 3)


def blur(frame: Image.Image, rng: random.Random) -> Image.Image:
    """Out of focus, or moving sideways. Meant for pictures of about 256 pixels."""
    if rng.random() < 0.5:
        return frame.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.3)))
    length = rng.choice((3, 5))
    kernel = [0.0] * (length * length)
    for i in range(length):
        kernel[(length // 2) * length + i] = 1.0
    return frame.filter(ImageFilter.Kernel((length, length), kernel, scale=length))


def add_noise(frame: Image.Image, rng: random.Random) -> Image.Image:
    """Film grain and sensor noise."""
    draw = np.random.default_rng(rng.getrandbits(32))
    pixels = np.asarray(frame, np.float32)
    grain = draw.standard_normal(pixels.shape, np.float32) * rng.uniform(3, 14)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def compress(frame: Image.Image, rng: random.Random) -> Image.Image:
    """The blocks of a low bitrate, after a loss of resolution half of the time."""
    width, height = frame.size
    if rng.random() < 0.5:
        share = rng.uniform(0.5, 0.9)
        frame = frame.resize((max(16, round(width * share)), max(16, round(height * share))), Image.Resampling.BILINEAR)
    stored = io.BytesIO()
    frame.save(stored, "JPEG", quality=rng.randint(15, 50))
    return Image.open(stored).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)


def letterbox(frame: Image.Image, rng: random.Random) -> Image.Image:
    """Black bars above and below, or at the sides."""
    width, height = frame.size
    if rng.random() < 0.8:
        bar = round(height * rng.uniform(0.05, 0.18))
        boxed = Image.new("RGB", (width, height + 2 * bar))
        boxed.paste(frame, (0, bar))
    else:
        bar = round(width * rng.uniform(0.05, 0.18))
        boxed = Image.new("RGB", (width + 2 * bar, height))
        boxed.paste(frame, (bar, 0))
    return boxed
