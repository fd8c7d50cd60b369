"""One picture made as large as it has to be: transparent edges and all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]
Net = Callable[[Floats], Floats]
"""[h, w, 3] in 0..1 to the same times a whole number."""

MOST_PASSES = 2
_SPREAD = 64


def enlarged(image: Image.Image, net: Net, scale: int, size: tuple[int, int]) -> Image.Image:
    """An RGB or RGBA image of `size` pixels, by a network of `scale`: as often as it needs, then shrunk to fit.

    Args:
        image: what there is.
        net: the upscaler; of scale 1, a filter, which runs once.
        scale: of the network.
        size: width and height to come out.
    """
    made = through(image, net)
    for _ in range(MOST_PASSES - 1):
        if scale > 1 and (made.width < size[0] or made.height < size[1]):
            made = through(made, net)
    if made.size == size:
        return made
    shrinks = made.width >= size[0] and made.height >= size[1]
    way = Image.Resampling.HAMMING if shrinks else Image.Resampling.LANCZOS
    return made.resize(size, way)  # Pillow weighs colours by alpha


def through(image: Image.Image, net: Net) -> Image.Image:
    """An image through a network. Alpha goes through it as a grey picture of its own."""
    if image.mode != "RGBA":
        return _picture(net(_values(image.convert("RGB"))))
    alpha = image.getchannel("A")
    colors = _picture(net(_values(spread_colors(image))))
    edge = net(_values(Image.merge("RGB", (alpha, alpha, alpha)))).mean(axis=2)
    colors.putalpha(Image.fromarray(_bytes(edge)))
    return colors


def spread_colors(image: Image.Image) -> Image.Image:
    """RGB in which transparent pixels have the colours of the opaque ones around them.

    What a file has under its transparent pixels is often black or rubbish, and a network would draw it into the edge.
    """
    values = np.asarray(image, dtype=np.float32)
    alpha: Floats = values[..., 3:] / np.float32(255)
    known: Floats = values[..., :3] * alpha
    colors, left = known.copy(), 1 - np.minimum(alpha, 1)
    reach = 2
    while reach <= _SPREAD and bool((left > 0).any()):
        near, share = _blurred(known, reach), _blurred(alpha, reach)
        there = (share > 1e-3) & (left > 0)
        colors = np.where(there, colors + left * near / np.maximum(share, 1e-6), colors)
        left = np.where(there, 0, left)
        reach *= 2
    colors += left * np.float32(255)
    return Image.fromarray(np.clip(np.round(colors), 0, 255).astype(np.uint8))


def _blurred(values: Floats, reach: int) -> Floats:
    """A box average over 2 * reach + 1 pixels, both ways, by running sums."""
    for axis in (0, 1):
        along = np.moveaxis(values, axis, 0)
        sums = np.cumsum(np.pad(along, ((reach + 1, reach), (0, 0), (0, 0))), axis=0, dtype=np.float64)
        means = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
        values = np.moveaxis(means.astype(np.float32), 0, axis)
    return values


def _values(image: Image.Image) -> Floats:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _picture(values: Floats) -> Image.Image:
    return Image.fromarray(_bytes(values))


def _bytes(values: Floats) -> npt.NDArray[np.uint8]:
    return np.round(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
