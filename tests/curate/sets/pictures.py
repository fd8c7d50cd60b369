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
