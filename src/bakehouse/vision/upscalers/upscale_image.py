"""Upscale one image to a given size by a network, with correct transparent edges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]
Network = Callable[[Floats], Floats]
"""Maps [h, w, 3] in 0..1 to [h * scale, w * scale, 3]."""

MAX_PASSES = 2
_MAX_SPREAD = 64


def upscale_to_size(image: Image.Image, net: Network, scale: int, size: tuple[int, int]) -> Image.Image:
    """Return an RGB or RGBA image at `size`: run the network as often as needed, then reduce the result.

    Args:
        image: the image.
        net: the upscaler; a filter (scale 1) runs once.
        scale: of the network.
        size: width and height of the result.
    """
    made = run_network(image, net)
    for _ in range(MAX_PASSES - 1):
        if scale > 1 and (made.width < size[0] or made.height < size[1]):
            made = run_network(made, net)
    if made.size == size:
        return made
    shrinks = made.width >= size[0] and made.height >= size[1]
    way = Image.Resampling.HAMMING if shrinks else Image.Resampling.LANCZOS
    return made.resize(size, way)  # Pillow weights colours by alpha


def run_network(image: Image.Image, net: Network) -> Image.Image:
    """Run an image through a network; the alpha channel runs separately as a grey image."""
    if image.mode != "RGBA":
        return _to_image(net(_to_floats(image.convert("RGB"))))
    alpha = image.getchannel("A")
    colors = _to_image(net(_to_floats(spread_colors(image))))
    edge = net(_to_floats(Image.merge("RGB", (alpha, alpha, alpha)))).mean(axis=2)
    colors.putalpha(Image.fromarray(_to_bytes(edge)))
    return colors


def spread_colors(image: Image.Image) -> Image.Image:
    """Return RGB in which transparent pixels take the colours of the opaque ones around them.

    Files often have black or arbitrary colours there, which a network would blend into the edges.
    """
    values = np.asarray(image, dtype=np.float32)
    alpha: Floats = values[..., 3:] / np.float32(255)
    known: Floats = values[..., :3] * alpha
    colors, left = known.copy(), 1 - np.minimum(alpha, 1)
    reach = 2
    while reach <= _MAX_SPREAD and bool((left > 0).any()):
        near, share = _box_blur(known, reach), _box_blur(alpha, reach)
        there = (share > 1e-3) & (left > 0)
        colors = np.where(there, colors + left * near / np.maximum(share, 1e-6), colors)
        left = np.where(there, 0, left)
        reach *= 2
    colors += left * np.float32(255)
    return Image.fromarray(np.clip(np.round(colors), 0, 255).astype(np.uint8))


def _box_blur(values: Floats, reach: int) -> Floats:
    """Return a box average over 2 * reach + 1 pixels in both directions, by running sums."""
    for axis in (0, 1):
        along = np.moveaxis(values, axis, 0)
        sums = np.cumsum(np.pad(along, ((reach + 1, reach), (0, 0), (0, 0))), axis=0, dtype=np.float64)
        means = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
        values = np.moveaxis(means.astype(np.float32), 0, axis)
    return values


def _to_floats(image: Image.Image) -> Floats:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _to_image(values: Floats) -> Image.Image:
    return Image.fromarray(_to_bytes(values))


def _to_bytes(values: Floats) -> npt.NDArray[np.uint8]:
    return np.round(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
