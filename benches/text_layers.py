"""Type, and what carries it: lines over the picture, plates behind them, and boards that hang in the filmed world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from text_shots import Frame, mottled
from text_words import Rng, pick

Colour: TypeAlias = tuple[int, int, int]
Box: TypeAlias = Sequence[float]  # x, y, width, height in pixels

FONTS = Path("/usr/share/fonts")
# Families with how often each is drawn, and the fonts of each: the regular ones, then the bold ones.
FAMILIES: list[tuple[float, list[str], list[str]]] = [
    (0.16, ["LiberationSans-Regular", "LiberationSans-Italic"], ["LiberationSans-Bold", "LiberationSans-BoldItalic"]),
    (0.14, ["Lato-Regular", "Lato-Medium", "Lato-Italic", "Lato-Light"], ["Lato-Bold", "Lato-Black"]),
    (0.08, ["DejaVuSans"], ["DejaVuSans-Bold"]),
    (0.10, ["LiberationSansNarrow-Regular"], ["LiberationSansNarrow-Bold"]),
    (0.08, ["BebasNeue-Regular"], ["BebasNeue-Bold"]),
    (0.10, ["LiberationSerif-Regular", "LiberationSerif-Italic"], ["LiberationSerif-Bold"]),
    (0.08, ["EBGaramond12-Regular", "EBGaramond12-Italic"], ["EBGaramond12-Regular"]),
    (0.05, ["DejaVuSerif"], ["DejaVuSerif-Bold"]),
    (0.10, ["RobotoSlab-Regular"], ["RobotoSlab-Bold"]),
    (0.03, ["DejaVuSansMono"], ["DejaVuSansMono-Bold"]),
    (0.05, ["ComicNeue-Regular"], ["ComicNeue-Bold"]),
    (0.03, ["DancingScript-Bold"], ["DancingScript-Bold"]),
]
# Type and ground of signs and bars.
PAIRS: list[tuple[Colour, Colour]] = [
    ((255, 255, 255), (0, 100, 60)),
    ((255, 255, 255), (20, 60, 150)),
    ((20, 20, 20), (245, 200, 30)),
    ((15, 15, 15), (240, 240, 235)),
    ((255, 255, 255), (180, 20, 30)),
    ((250, 240, 210), (80, 50, 30)),
    ((15, 30, 90), (215, 225, 235)),
    ((250, 220, 60), (15, 15, 15)),
    ((255, 255, 255), (40, 44, 52)),
    ((140, 20, 30), (245, 235, 220)),
]
BRIGHT: list[Colour] = [
    (255, 255, 255),
    (255, 255, 255),
    (250, 245, 225),
    (255, 225, 80),
    (120, 220, 255),
    (255, 160, 60),
]
DARK: list[Colour] = [(0, 0, 0), (20, 20, 40), (120, 10, 20), (10, 40, 110)]


@cache
def font_file(name: str) -> Path:
    found = sorted(FONTS.rglob(f"{name}.[ot]tf"))
    if not found:
        raise SystemExit(f"text_layers.py: the font {name} is missing: run tools/setup.sh bench")
    return found[0]


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # Letters of the handwriting are small for their size.
    return ImageFont.truetype(font_file(name), round(size * 1.3) if "Dancing" in name else size)


def luma(colours: Frame) -> np.ndarray:
    return colours @ np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Style:
    """How a line of text is set."""

    font: str
    size: int
    fill: Colour
    outline: int
    edge: Colour = (0, 0, 0)
    shadow: bool = False
    back: Colour = (0, 0, 0)
    """The colour of a bar behind it."""
    bold_font: str | None = None

    def sized(self, size: int, bold: bool = False) -> Style:
        outline = max(1, size // 14) if self.outline else 0
        return replace(self, size=size, outline=outline, font=self.bold_font if bold and self.bold_font else self.font)


def style_over(rng: Rng, looks: Sequence[Frame], boxed: bool) -> Style:
    """A style at random that can be read over these pixels, or over a bar of its own."""
    _, regular, bold = FAMILIES[int(rng.choice(len(FAMILIES), p=[f[0] for f in FAMILIES]))]
    heavy = rng.random() < 0.4
    name, bold_name = pick(rng, bold if heavy else regular), pick(rng, bold)
    if boxed:
        fill, back = pick(rng, PAIRS)
        return Style(name, 16, fill, 0, back=back, bold_font=bold_name)
    levels = luma(np.concatenate([look.reshape(-1, 3) for look in looks]))
    low, high = np.percentile(levels, [10, 90])
    bright, dark = pick(rng, BRIGHT), pick(rng, DARK)
    choices: list[Style] = []
    for fill in (bright, dark):
        level = float(luma(np.array(fill)))
        if min(abs(level - low), abs(level - high)) > 95 and not low < level < high:
            choices += [Style(name, 16, fill, 0, bold_font=bold_name)] * 2
    if float(luma(np.array(bright))) - high > 50:  # a soft shadow helps bright type on all but bright pictures
        choices.append(Style(name, 16, bright, 0, shadow=True, bold_font=bold_name))
    if np.median(levels) < 170:
        choices.append(Style(name, 16, bright, 1, bold_font=bold_name))
    else:
        choices.append(Style(name, 16, dark, 1, (255, 255, 255), bold_font=bold_name))
    return pick(rng, choices)


@dataclass
class Line:
    """A line of text: its wording, kind, and box in what carries it."""

    text: str
    kind: str
    box: Box
    font: str
    quad: np.ndarray | None = None
    """The corners of a sign's line in its world, from the upper left clockwise."""
    values: list[str] | None = None
    """What a counter shows, one after the other."""
    scale: float = 1.0

    def height(self, box: Box) -> float:
        """The height of the line in pixels when it fills this box. That of a sign's line is not its box's: it leans."""
        if self.quad is None:
            return box[3]
        return self.scale * float(np.linalg.norm(self.quad[[3, 2]] - self.quad[[0, 1]], axis=1).mean())

    def seen(self, matrix: np.ndarray) -> Box:
        """The box of a sign's line in a frame of this camera."""
        assert self.quad is not None
        self.scale = float(matrix[0, 0])
        corners = self.quad @ matrix[:, :2].T + matrix[:, 2]
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        return (float(x0), float(y0), float(x1 - x0), float(y1 - y0))


@dataclass
class Layer:
    """A picture with transparency over the film, from one frame to before another; it may fade, slide and move."""

    colour: np.ndarray
    """Premultiplied by alpha, as floats."""
    alpha: np.ndarray
    lines: list[Line] = field(default_factory=list)
    at: tuple[float, float] = (0.0, 0.0)
    begin: int = 0
    end: int = 0
    fades: Sequence[int] = (0, 0)
    slide: int = 0
    """Frames in which it comes in from the left."""
    speed: tuple[float, float] = (0.0, 0.0)
    """Pixels a frame."""

    @property
    def width(self) -> int:
        return self.colour.shape[1]

    @property
    def height(self) -> int:
        return self.colour.shape[0]

    def place(self, at: tuple[float, float], span: tuple[int, int], fades: Sequence[int], slide: int = 0) -> Layer:
        self.at, (self.begin, self.end), self.fades, self.slide = at, span, fades, slide
        return self

    def moving(self, speed: tuple[float, float]) -> Layer:
        self.speed = speed
        return self

    def fainter(self, share: float) -> Layer:
        self.colour, self.alpha = self.colour * share, self.alpha * share
        return self

    def opacity(self, i: int) -> float:
        if not self.begin <= i < self.end:
            return 0.0
        rise, fall = self.fades
        return min(1.0, (i - self.begin + 1) / (rise + 1), (self.end - i) / (fall + 1))

    def corner(self, i: int) -> tuple[int, int]:
        k = i - self.begin
        x, y = self.at[0] + k * self.speed[0], self.at[1] + k * self.speed[1]
        if k < self.slide:
            x -= (1 - k / self.slide) ** 2 * (self.width + self.at[0])
        return round(x), round(y)

    def state(self, i: int, line: Line) -> tuple[float, Box]:
        """Opacity and box of a line in a frame."""
        x, y = self.corner(i)
        return self.opacity(i), (x + line.box[0], y + line.box[1], line.box[2], line.box[3])

    def draw(self, frame: Frame, i: int) -> None:
        opacity = self.opacity(i)
        if opacity <= 0:
            return
        x, y = self.corner(i)
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + self.width, frame.shape[1]), min(y + self.height, frame.shape[0])
        if x0 >= x1 or y0 >= y1:
            return
        inside = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
        below = frame[y0:y1, x0:x1]
        mixed = below * (1 - opacity * self.alpha[inside]) + opacity * self.colour[inside]
        frame[y0:y1, x0:x1] = (mixed + 0.5).astype(np.uint8)


def layer_of(picture: Image.Image, lines: list[Line]) -> Layer:
    pixels = np.asarray(picture, np.float32)
    alpha = pixels[..., 3:] / 255
    return Layer(pixels[..., :3] * alpha, alpha, lines)


def plate(size: tuple[float, float], colour: Colour, opacity: float) -> Layer:
    """A bar of one colour."""
    alpha: np.ndarray = np.full((round(size[1]), round(size[0]), 1), opacity, np.float32)
    return Layer(alpha * np.array(colour, np.float32), alpha)


def drawn(text: str, style: Style) -> tuple[Image.Image, Box]:
    """A line of text on transparent ground, and the box of its ink."""
    face = font(style.font, style.size)
    edge = style.outline
    pad = edge + max(2, style.size // 8)
    ascent, descent = face.getmetrics()
    width = int(face.getlength(text)) + 2 * pad + style.size // 4
    picture = Image.new("RGBA", (width, ascent + descent + 2 * pad), (*style.fill, 0))
    ink = ImageDraw.Draw(picture).textbbox((pad, pad), text, face)
    if style.shadow:
        dark = Image.new("RGBA", picture.size, (0, 0, 0, 0))
        off = max(1, style.size // 18)
        ImageDraw.Draw(dark).text((pad + off, pad + off), text, (0, 0, 0, 230), face)
        picture = Image.alpha_composite(dark.filter(ImageFilter.GaussianBlur(off)), dark)
    letters = Image.new("RGBA", picture.size, (*(style.edge if edge else style.fill), 0))
    draw = ImageDraw.Draw(letters)
    draw.text((pad, pad), text, (*style.fill, 255), face, stroke_width=edge, stroke_fill=(*style.edge, 255))
    picture = Image.alpha_composite(picture, letters) if style.shadow else letters
    return picture, (ink[0], ink[1], ink[2] - ink[0], ink[3] - ink[1])


def line_layer(text: str, kind: str, style: Style, widest: float) -> Layer:
    """A layer with one line of text, set smaller if it would be wider than this."""
    if "Bebas" in style.font:  # it has no small letters
        text = text.upper()
    picture, box = drawn(text, style)
    if picture.width > widest:
        style = style.sized(max(14, int(style.size * widest / picture.width)))
        picture, box = drawn(text, style)
    return layer_of(picture, [Line(text, kind, box, style.font)])


# ---- signs -----------------------------------------------------------------------------------------------------------


@dataclass
class Board:
    """A sign, from the front."""

    picture: np.ndarray
    lines: list[Line]
    shrink: float
    """Its size in the world over that of its picture."""

    @property
    def size(self) -> tuple[float, float]:
        return self.picture.shape[1] * self.shrink, self.picture.shape[0] * self.shrink

    def hang(self, rng: Rng, world: Frame, at: tuple[float, float]) -> list[Line]:
        """Draws it into a world, around a place and in perspective; returns its lines with their corners there."""
        height, width = self.picture.shape[:2]
        w, h = self.size
        turn, lean = rng.uniform(-0.22, 0.22), np.radians(rng.uniform(-5, 5))
        w *= float(np.cos(2.2 * turn))
        corners = np.array([[-w, -h * (1 + turn)], [w, -h * (1 - turn)], [w, h * (1 - turn)], [-w, h * (1 + turn)]]) / 2
        rotation = np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]])
        corners = corners @ rotation + np.array(at)
        flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        matrix = cv2.getPerspectiveTransform(flat, corners.astype(np.float32))
        size = (world.shape[1], world.shape[0])
        alpha = cv2.warpPerspective(np.ones((height, width), np.float32), matrix, size, flags=cv2.INTER_LINEAR)
        shade = 0.85 + 0.3 * mottled(rng, (width, height), [3, 40])[..., None]
        picture = cv2.warpPerspective(self.picture * shade, matrix, size, flags=cv2.INTER_LINEAR)
        world[:] = (world * (1 - alpha[..., None]) + picture.clip(0, 255) * alpha[..., None]).astype(np.uint8)
        for line in self.lines:
            x, y, a, b = line.box
            box = np.array([[[x, y], [x + a, y], [x + a, y + b], [x, y + b]]], np.float32)
            line.quad = cv2.perspectiveTransform(box, matrix)[0].astype(float)
        return self.lines


def board(rng: Rng, texts: Sequence[str], size: int) -> Board:
    """A sign with lines of text; the first is set in this size in pixels."""
    style = style_over(rng, [], boxed=True)
    upper = rng.random() < 0.25
    detail = 2  # drawn larger than it is seen, for the perspective
    parts: list[tuple[Image.Image, Box, Style, str]] = []
    for k, raw in enumerate(texts):
        text = raw.upper() if upper or "Bebas" in style.font else raw
        row = style.sized(detail * (size if k == 0 else max(16, round(size * rng.uniform(0.6, 1.0)))))
        parts.append((*drawn(text, row), row, text))
    pad = int(detail * size * rng.uniform(0.3, 0.7))
    width = max(p[0].width for p in parts) + 2 * pad
    height = sum(p[0].height for p in parts) + 2 * pad
    face = Image.new("RGB", (width, height), style.back)
    if rng.random() < 0.5:
        inset = max(2, pad // 4)
        ImageDraw.Draw(face).rectangle(
            (inset, inset, width - inset, height - inset), outline=style.fill, width=max(2, pad // 8)
        )
    lines: list[Line] = []
    y = pad
    for picture, box, row, text in parts:
        x = (width - picture.width) // 2
        face.paste(picture, (x, y), picture)
        lines.append(Line(text, "scene", (x + box[0], y + box[1], box[2], box[3]), row.font))
        y += picture.height
    blurred = face.filter(ImageFilter.GaussianBlur(0.3 * detail))
    return Board(np.asarray(blurred, np.float32), lines, 1 / detail)
