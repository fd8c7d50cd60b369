"""What is measured of a decoded image; each function is pure and takes a few milliseconds."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Grey = npt.NDArray[np.int16]
Bytes = npt.NDArray[np.uint8]

RING = 16
"""Side of the small picture whose outer two rows stand for the background."""
_THUMB = 208


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the grey levels (0..255): under about 100 a photograph looks blurred.

    Pech-Pacheco et al. 2000. With the four neighbours, as OpenCV's `Laplacian` of size 1.
    """
    g = np.asarray(image.convert("L"), dtype=np.int16)
    if min(g.shape) < 3:
        return 0.0
    laplacian = g[:-2, 1:-1] + g[2:, 1:-1] + g[1:-1, :-2] + g[1:-1, 2:] - 4 * g[1:-1, 1:-1]
    return float(np.var(laplacian, dtype=np.float32))


def blocks(image: Image.Image) -> float:
    """How much stronger edges are on JPEG's grid of 8 x 8 than beside it: 0 is not at all, 1 is twice.

    Looked at every fourth line; the image must be as it was stored, not resized. One grey level is added below, so that
    flat drawings do not divide nothing by nothing.
    """
    g = np.asarray(image.convert("L"), dtype=np.int16)
    if min(g.shape) < 32:
        return 0.0
    across = np.abs(np.diff(g[::4], axis=1)).mean(0)
    down = np.abs(np.diff(g[:, ::4], axis=0)).mean(1)
    return max(0.0, (_excess(across) + _excess(down)) / 2)


def _excess(edges: npt.NDArray[np.floating]) -> float:
    """Of steps from pixel i to i + 1: those over the grid's lines (i = 7, 15, ...) against their neighbours."""
    on = edges[7::8]
    beside = np.concatenate([edges[5::8], edges[9::8]])
    return float((on.mean() - beside.mean()) / (beside.mean() + 1.0)) if len(on) and len(beside) else 0.0


def colour(image: Image.Image) -> float:
    """Distance of the least from the greatest channel that 95 % of the pixels stay below, 0..255."""
    small = np.asarray(image.resize((64, 64), Image.Resampling.BOX), dtype=np.int16)
    return float(np.percentile(small.max(2) - small.min(2), 95))


def ring(image: Image.Image) -> bytes:
    """The outer two rows of the picture in 16 x 16, as 112 RGB values: what is behind a subject in the middle."""
    small = np.asarray(image.resize((RING, RING), Image.Resampling.BOX))
    return small[_RING].tobytes()


def _outer() -> npt.NDArray[np.bool_]:
    mask = np.ones((RING, RING), dtype=bool)
    mask[2:-2, 2:-2] = False
    return mask


_RING = _outer()


def transparency(image: Image.Image) -> tuple[float, float]:
    """Shares of an RGBA image that are not opaque, and that are wholly transparent over a colour other than white."""
    pixels = np.asarray(image)
    alpha = pixels[..., 3]
    coloured = (alpha == 0) & (pixels[..., :3].min(2) < 250)
    return float((alpha < 255).mean()), float(coloured.mean())


def thumbnail(image: Image.Image) -> bytes:
    """A small WebP picture of at most 208 pixels a side."""
    small = image.copy()
    small.thumbnail((_THUMB, _THUMB), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    small.save(stream, format="WEBP", quality=72, method=2)
    return stream.getvalue()


def alike(rings: list[bytes], distance: float) -> list[int]:
    """For each ring the number of a set: those within `distance` (mean of absolute differences) of a set's first.

    The first member stands for the set, so that a slow drift from picture to picture does not join all of them.
    """
    if not rings:
        return []
    values = np.frombuffer(b"".join(rings), dtype=np.uint8).reshape(len(rings), -1).astype(np.int16)
    sets = np.full(len(rings), -1)
    firsts: list[int] = []
    for i in range(len(rings)):
        if sets[i] >= 0:
            continue
        near = np.abs(values - values[i]).mean(1) <= distance
        sets[near & (sets < 0)] = len(firsts)
        firsts.append(i)
    return [int(s) for s in sets]
