"""Measurements of a decoded image: sharpness, JPEG blocks, chroma, transparency; each takes a few milliseconds."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

OUTLINE_SIDE = 16
"""Side of the scaled image whose outer two rows represent the background."""
_THUMBNAIL_SIDE = 208


def sharpness(image: Image.Image) -> float:
    """Return the variance of the Laplacian of the grey levels (0..255): below about 100 a photograph looks blurred.

    Pech-Pacheco et al. 2000. Four neighbours, as OpenCV's `Laplacian` with size 1.
    """
    g = np.asarray(image.convert("L"), dtype=np.int16)
    if min(g.shape) < 3:
        return 0.0
    laplacian = g[:-2, 1:-1] + g[2:, 1:-1] + g[1:-1, :-2] + g[1:-1, 2:] - 4 * g[1:-1, 1:-1]
    return float(np.var(laplacian, dtype=np.float32))


def blockiness(image: Image.Image) -> float:
    """Return how much stronger edges are on JPEG's 8 x 8 grid than beside it: 0 is equal, 1 is twice as strong.

    Every fourth line is measured. The image must have its stored size. One grey level is added to the denominator, so
    that flat drawings do not divide by zero.
    """
    g = np.asarray(image.convert("L"), dtype=np.int16)
    if min(g.shape) < 32:
        return 0.0
    across = np.abs(np.diff(g[::4], axis=1)).mean(0)
    down = np.abs(np.diff(g[:, ::4], axis=0)).mean(1)
    return max(0.0, (_excess(across) + _excess(down)) / 2)


def _excess(edges: npt.NDArray[np.floating]) -> float:
    """Return the relative excess of the steps from pixel i to i + 1 across grid lines (i = 7, 15, ...)."""
    on = edges[7::8]
    beside = np.concatenate([edges[5::8], edges[9::8]])
    return float((on.mean() - beside.mean()) / (beside.mean() + 1.0)) if len(on) and len(beside) else 0.0


def chroma(image: Image.Image) -> float:
    """Return the 95th percentile of the largest minus the smallest channel, 0..255."""
    small = np.asarray(image.resize((64, 64), Image.Resampling.BOX), dtype=np.int16)
    return float(np.percentile(small.max(2) - small.min(2), 95))


def outline(image: Image.Image) -> bytes:
    """Return the outer two rows of the image scaled to 16 x 16, as 112 RGB values: the background of a subject."""
    small = np.asarray(image.resize((OUTLINE_SIDE, OUTLINE_SIDE), Image.Resampling.BOX))
    return small[_OUTLINE].tobytes()


def _outline_mask() -> npt.NDArray[np.bool_]:
    mask = np.ones((OUTLINE_SIDE, OUTLINE_SIDE), dtype=bool)
    mask[2:-2, 2:-2] = False
    return mask


_OUTLINE = _outline_mask()


def transparency(image: Image.Image) -> tuple[float, float]:
    """Return the shares of an RGBA image that are not opaque, and fully transparent over a colour other than white."""
    pixels = np.asarray(image)
    alpha = pixels[..., 3]
    hidden_color = (alpha == 0) & (pixels[..., :3].min(2) < 250)
    return float((alpha < 255).mean()), float(hidden_color.mean())


def thumbnail(image: Image.Image) -> bytes:
    """Return a WebP thumbnail of at most 208 pixels a side."""
    small = image.copy()
    small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    small.save(stream, format="WEBP", quality=72, method=2)
    return stream.getvalue()


def cluster_outlines(outlines: list[bytes], distance: float) -> list[int]:
    """Return a cluster number for each outline: those within `distance` (mean absolute difference) of its first member.

    Only the first member is compared, so that a slow drift from image to image does not join all of them.
    """
    if not outlines:
        return []
    values = np.frombuffer(b"".join(outlines), dtype=np.uint8).reshape(len(outlines), -1).astype(np.int16)
    clusters = np.full(len(outlines), -1)
    firsts: list[int] = []
    for i in range(len(outlines)):
        if clusters[i] >= 0:
            continue
        near = np.abs(values - values[i]).mean(1) <= distance
        clusters[near & (clusters < 0)] = len(firsts)
        firsts.append(i)
    return [int(number) for number in clusters]
