"""Backgrounds: each function draws one, at twice the size of an image for smooth edges, and returns its caption tag."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

SIZE = 128
"""Side of a training image; all coordinates are in its pixels."""
SCALE = 2
RGB = tuple[int, int, int]
Scene = tuple[Image.Image, str]

COLORS: dict[str, RGB] = {
    "white": (250, 250, 250),
    "gray": (150, 150, 155),
    "black": (25, 25, 30),
    "red": (214, 60, 60),
    "orange": (245, 150, 60),
    "yellow": (250, 220, 90),
    "green": (80, 170, 90),
    "teal": (50, 160, 160),
    "blue": (70, 120, 220),
    "navy": (30, 45, 100),
    "purple": (130, 80, 190),
    "pink": (250, 170, 200),
    "brown": (130, 90, 60),
    "beige": (235, 220, 190),
    "sky blue": (150, 205, 245),
}

WIDTHS = (16, 20, 26)
"""Width of a stripe or a square, in pixels: a latent covers 8 x 8, so narrower ones cannot be reproduced."""
SPACINGS = (22, 28, 34)
"""Distance between dots in pixels, for the same reason."""


class Painter:
    """Pillow's drawing functions in coordinates of an image of `SIZE`, on one that is `SCALE` times as large."""

    def __init__(self, image: Image.Image) -> None:
        self._draw = ImageDraw.Draw(image)

    def rectangle(self, box: tuple[float, float, float, float], fill: RGB) -> None:
        """Fill a rectangle whose last row and column belong to it."""
        left, top, right, bottom = box
        if right >= left and bottom >= top:
            self._draw.rectangle(
                (left * SCALE, top * SCALE, (right + 1) * SCALE - 1, (bottom + 1) * SCALE - 1), fill=fill
            )

    def ellipse(self, box: tuple[float, float, float, float], fill: RGB) -> None:
        self._draw.ellipse(tuple(v * SCALE for v in box), fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: RGB) -> None:
        self.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def polygon(self, corners: Sequence[tuple[float, float]], fill: RGB) -> None:
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in corners], fill=fill)

    def line(self, ends: tuple[float, float, float, float], fill: RGB, width: int) -> None:
        self._draw.line([v * SCALE for v in ends], fill=fill, width=width * SCALE)

    def point(self, place: tuple[int, int], fill: RGB) -> None:
        x, y = place
        self.rectangle((x, y, x, y), fill)


def fade(top: RGB, bottom: RGB, vertical: bool = True) -> Image.Image:
    side = SIZE * SCALE
    t = np.linspace(0, 1, side)[:, None, None]
    ramp = np.array(top) * (1 - t) + np.array(bottom) * t
    full = np.broadcast_to(ramp, (side, side, 3)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(full if vertical else full.transpose(1, 0, 2)))


def flat(color: RGB) -> Image.Image:
    return Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), color)


def jitter(rng: random.Random, n: int) -> int:
    return rng.randrange(-n, n + 1)


def two_colors(rng: random.Random) -> tuple[str, str]:
    a, b = rng.sample(list(COLORS), 2)
    return a, b


def plain(rng: random.Random) -> Scene:
    name = rng.choice(list(COLORS))
    return flat(COLORS[name]), f"{name} background"


def gradient(rng: random.Random) -> Scene:
    a, b = two_colors(rng)
    return fade(COLORS[a], COLORS[b], rng.random() < 0.5), f"{a} and {b} gradient background"


def stripes(rng: random.Random) -> Scene:
    a, b = two_colors(rng)
    im = flat(COLORS[a])
    draw = Painter(im)
    w = rng.choice(WIDTHS)
    shift = rng.randrange(w)
    if rng.random() < 0.5:
        for x in range(-shift, SIZE, 2 * w):
            draw.rectangle((x, 0, x + w - 1, SIZE), fill=COLORS[b])
    else:
        for x in range(-SIZE - shift, SIZE, 2 * w):
            corners = [(x, 0), (x + w, 0), (x + w + SIZE, SIZE), (x + SIZE, SIZE)]
            draw.polygon(corners, fill=COLORS[b])
    return im, f"{a} and {b} striped background"


def dots(rng: random.Random) -> Scene:
    a, b = two_colors(rng)
    im = flat(COLORS[a])
    draw = Painter(im)
    w = rng.choice(SPACINGS)
    shift = rng.randrange(w)
    for y in range(-shift, SIZE + w, w):
        for x in range(-shift, SIZE + w, w):
            draw.ellipse((x, y, x + w * 0.6, y + w * 0.6), fill=COLORS[b])
    return im, f"{a} background with {b} polka dots"


def checker(rng: random.Random) -> Scene:
    a, b = two_colors(rng)
    im = flat(COLORS[a])
    draw = Painter(im)
    w = rng.choice(WIDTHS)
    for y in range(0, SIZE, w):
        for x in range(0, SIZE, w):
            if (x // w + y // w) % 2:
                draw.rectangle((x, y, x + w - 1, y + w - 1), fill=COLORS[b])
    return im, f"{a} and {b} checkered background"


def beach(rng: random.Random) -> Scene:
    im = fade((120, 200, 250), (200, 235, 255))
    draw = Painter(im)
    sea = 70 + jitter(rng, 10)
    draw.rectangle((0, sea, SIZE, sea + 22), fill=(40, 140, 200))
    draw.rectangle((0, sea + 22, SIZE, SIZE), fill=(240, 215, 150))
    draw.disc(rng.choice([18, 108]), 21, 11, (255, 225, 80))
    return im, "at the beach"


def night(rng: random.Random) -> Scene:
    im = fade((10, 12, 40), (40, 40, 90))
    draw = Painter(im)
    for _ in range(40):
        draw.point((rng.randrange(SIZE), rng.randrange(SIZE)), fill=(255, 255, 230))
    draw.disc(rng.choice([20, 104]), 22, 12, (245, 240, 200))
    return im, "at night"


def meadow(rng: random.Random) -> Scene:
    im = fade((140, 205, 250), (215, 240, 255))
    draw = Painter(im)
    edge = 75 + jitter(rng, 10)
    draw.rectangle((0, edge, SIZE, SIZE), fill=(95, 175, 80))
    petals = [(255, 255, 255), (255, 220, 80), (240, 120, 160)]
    for _ in range(14):
        draw.disc(rng.randrange(SIZE), rng.randrange(edge + 4, SIZE), 2, rng.choice(petals))
    return im, "in a meadow"


def sunset(rng: random.Random) -> Scene:
    im = fade((90, 50, 120), (255, 150, 80))
    draw = Painter(im)
    draw.disc(64 + jitter(rng, 40), 86, 16, (255, 220, 120))
    draw.rectangle((0, 100, SIZE, SIZE), fill=(60, 40, 70))
    return im, "at sunset"


def city(rng: random.Random) -> Scene:
    im = fade((170, 200, 225), (225, 230, 235))
    draw = Painter(im)
    x = 0
    while x < SIZE:
        w, top = rng.randrange(14, 28), rng.randrange(30, 80)
        wall = rng.choice([(95, 105, 125), (120, 125, 140), (75, 85, 105)])
        draw.rectangle((x, top, x + w, SIZE), fill=wall)
        for y in range(top + 5, SIZE, 9):
            for window in range(x + 3, x + w - 3, 7):
                draw.rectangle((window, y, window + 2, y + 3), fill=(250, 235, 160))
        x += w + 1
    return im, "in the city"


def snow(rng: random.Random) -> Scene:
    im = fade((190, 210, 235), (235, 240, 250))
    draw = Painter(im)
    draw.ellipse((-40, 85 + jitter(rng, 6), 90, 190), fill=(255, 255, 255))
    draw.ellipse((40, 92 + jitter(rng, 6), 190, 200), fill=(245, 248, 255))
    for _ in range(45):
        draw.disc(rng.randrange(SIZE), rng.randrange(SIZE), 1, (255, 255, 255))
    return im, "in the snow"


def space(rng: random.Random) -> Scene:
    im = flat((12, 8, 28))
    draw = Painter(im)
    stars = [(255, 255, 255), (255, 220, 180), (180, 200, 255)]
    for _ in range(60):
        draw.point((rng.randrange(SIZE), rng.randrange(SIZE)), fill=rng.choice(stars))
    x = rng.choice([22, 106])
    draw.disc(x, 28, 14, (200, 120, 80))
    draw.line((x - 22, 34, x + 22, 22), fill=(230, 200, 150), width=2)
    return im, "in outer space"


def forest(rng: random.Random) -> Scene:
    im = fade((150, 200, 170), (90, 140, 90))
    draw = Painter(im)
    for x in range(-5, SIZE, 22):
        left = x + jitter(rng, 4)
        draw.rectangle((left + 7, 60, left + 13, SIZE), fill=(95, 65, 45))
        crown = [(left - 4, 85), (left + 10, 15 + jitter(rng, 8)), (left + 24, 85)]
        draw.polygon(crown, fill=rng.choice([(40, 105, 60), (50, 120, 65)]))
    draw.rectangle((0, 112, SIZE, SIZE), fill=(60, 100, 55))
    return im, "in a forest"


def room(rng: random.Random) -> Scene:
    im = flat((225, 205, 180))
    draw = Painter(im)
    draw.rectangle((0, 104, SIZE, SIZE), fill=(150, 105, 70))
    x = rng.choice([6, 86])
    draw.rectangle((x, 18, x + 34, 58), fill=(255, 255, 255))
    draw.rectangle((x + 3, 21, x + 31, 55), fill=(150, 205, 245))
    draw.line((x + 17, 21, x + 17, 55), fill=(255, 255, 255), width=2)
    return im, "in a room"


def desert(rng: random.Random) -> Scene:
    im = fade((250, 205, 140), (255, 235, 200))
    draw = Painter(im)
    draw.ellipse((-50, 80 + jitter(rng, 6), 90, 200), fill=(225, 175, 100))
    draw.ellipse((30, 88 + jitter(rng, 6), 200, 220), fill=(210, 155, 85))
    x = rng.choice([14, 112])
    cactus = (60, 130, 70)
    draw.rectangle((x - 3, 50, x + 3, 90), fill=cactus)
    draw.rectangle((x - 9, 60, x - 6, 72), fill=cactus)
    draw.rectangle((x - 9, 70, x, 73), fill=cactus)
    return im, "in the desert"


SCENES: dict[str, Callable[[random.Random], Scene]] = {
    "plain": plain,
    "gradient": gradient,
    "striped": stripes,
    "polka dots": dots,
    "checkered": checker,
    "beach": beach,
    "night": night,
    "meadow": meadow,
    "sunset": sunset,
    "city": city,
    "snow": snow,
    "space": space,
    "forest": forest,
    "room": room,
    "desert": desert,
}

SHARES = {"plain": 6, "gradient": 2, "striped": 2, "polka dots": 2, "checkered": 2}
"""Relative frequency of kinds; others have 1."""


def draw(rng: random.Random, kind: str = "", size: int = SIZE) -> Scene:
    """Draw a background of this kind, or of any: plain colours are most useful, patterns of two hardest to learn."""
    kind = kind or rng.choices(list(SCENES), [SHARES.get(k, 1) for k in SCENES])[0]
    image, tag = SCENES[kind](rng)
    return image.resize((size, size), Image.Resampling.BOX), tag
