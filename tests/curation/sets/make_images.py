"""Pictures with shapes and shades, and what happens to pictures on their way through the net."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw


def scene(seed, width=320, height=400):
    """A figure before a shaded ground, each seed another."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    tilt, base = rng.uniform(-0.25, 0.25, 2), rng.integers(60, 180, 3)
    shade = (x - width / 2) * tilt[0] + (y - height / 2) * tilt[1]
    image = Image.fromarray((base + shade[..., None]).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        rx, ry = rng.uniform(width / 16, width / 4, 2)
        draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=tuple(rng.integers(0, 255, 3).tolist()))
    left, top = width * 0.35, height * 0.2
    draw.ellipse((left, top, left + width * 0.3, top + height * 0.25), fill=(240, 205, 180))
    return image


def screen(mouth=None, *, eyes=True, size=0.6, width=1280, height=720):
    """A screen of a game: a figure before a background of many shapes, whose whole face is a fiftieth of the picture.

    Args:
        mouth: `smile`, `open`, or None.
        eyes: open, else closed.
        size: of the figure, as a share of the height.
        width: of the screen.
        height: of the screen.
    """
    image = scene(11, width, height)
    draw = ImageDraw.Draw(image)
    for n in range(60):
        x, y = n * 211 % width, n * 137 % height
        draw.rectangle((x, y, x + 30 + n % 7 * 9, y + 20 + n % 5 * 11), outline=(n * 4, 90, 255 - n * 4), width=2)
    unit, middle, top = height * size / 100, width / 2, height * (1 - size)

    def box(x, y, rx, ry):
        return middle + (x - rx) * unit, top + (y - ry) * unit, middle + (x + rx) * unit, top + (y + ry) * unit

    draw.rectangle(box(0, 70, 16, 40), fill=(60, 80, 150))
    draw.ellipse(box(0, 15, 11, 13), fill=(90, 60, 40))
    draw.ellipse(box(0, 17, 8, 10), fill=(240, 205, 180))
    for x in (-3.5, 3.5):
        draw.ellipse(box(x, 15, 1.4, 1.6 if eyes else 0.3), fill=(40, 30, 60))
    if mouth == "smile":
        draw.ellipse(box(0, 22, 2.2, 0.6), fill=(170, 70, 70))
    elif mouth == "open":
        draw.ellipse(box(0, 22, 1.6, 1.6), fill=(130, 20, 30))
    return image


def animated(path, *images):
    """A moving picture in the format of its name."""
    options = {"lossless": True} if path.suffix == ".webp" else {}
    images[0].save(path, save_all=True, append_images=images[1:], duration=100, **options)
    return path


def smiling(image):
    """The same figure with a mouth."""
    changed, (w, h) = image.copy(), image.size
    ImageDraw.Draw(changed).ellipse((w * 0.44, h * 0.34, w * 0.56, h * 0.4), fill=(150, 20, 40))
    return changed


def jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def scaled(image, factor):
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def put(folder, **images):
    """Saves `name_png=image` as name.png; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        stem, ending = name.rsplit("_", 1)
        image.save(folder / f"{stem}.{ending}", **({"quality": 95} if ending == "jpg" else {}))
    return folder
