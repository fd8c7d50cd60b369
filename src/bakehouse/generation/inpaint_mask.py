"""Masks for inpainting: what is redrawn, its soft edge and box, and fill colours from around it.

Kernel, padding and box follow A1111 1.10, so that masks and numbers mean the same there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""

_REACHES = (1 / 2, 1 / 8, 1 / 32, 1 / 128, 1 / 256)
"""Blurs of `fill_masked` as shares of the longer side; at 512 pixels 256, 64, 16, 4 and 2, as in A1111."""


def binary_mask(mask: Image.Image, *, invert: bool = False) -> Bytes:
    """Return a mask [h, w] of 0 and 255 from the brightness of an image; of one with transparency, from its alpha."""
    if mask.mode == "RGBA" and mask.getchannel("A").getextrema() != (255, 255):
        mask = mask.getchannel("A")
    marked = np.asarray(mask.convert("L")) > 128
    return np.where(marked != invert, 255, 0).astype(np.uint8)


def blurred_mask(mask: Bytes, blur: float) -> Bytes:
    """Return the mask with a Gaussian edge of standard deviation `blur` pixels; exactly 0 from 2.5 blurs away."""
    if blur <= 0:
        return mask
    radius = int(2.5 * blur + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1, dtype=np.float64) / blur) ** 2)
    soft = mask.astype(np.float64)
    for axis in (0, 1):
        soft = _convolved(soft, kernel / kernel.sum(), axis)
    return np.round(soft).astype(np.uint8)


def _convolved(values: npt.NDArray[np.float64], kernel: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """Convolve along an axis; beyond the edges the image is mirrored."""
    along = np.moveaxis(values, axis, 0)
    radius, length = len(kernel) // 2, len(along)
    # Mirrored without repeating the edge, as often as a kernel longer than the image needs.
    period = max(1, 2 * (length - 1))
    at = np.abs((np.arange(-radius, length + radius) + period // 2) % period - period // 2)
    padded = along[at]
    total = np.zeros_like(along)
    for i, weight in enumerate(kernel):
        total += weight * padded[i : i + length]
    return np.moveaxis(total, 0, axis)


def crop_box(mask: Bytes, padding: int, shape: tuple[int, int]) -> Box:
    """Return the box of what is masked with padding, widened to the shape (width, height) that it is drawn in.

    Inside the image; only where the image is too small for the shape, the box has another one.

    Raises:
        ValueError: nothing is masked.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("nothing is masked")
    height, width = mask.shape
    left, right = max(0, int(columns[0]) - padding), min(width, int(columns[-1]) + 1 + padding)
    top, bottom = max(0, int(rows[0]) - padding), min(height, int(rows[-1]) + 1 + padding)
    wanted = shape[0] / shape[1]
    if (right - left) / (bottom - top) > wanted:
        top, bottom = _widened(top, bottom, int((right - left) / wanted), height)
    else:
        left, right = _widened(left, right, int((bottom - top) * wanted), width)
    return left, top, right, bottom


def _widened(start: int, end: int, length: int, limit: int) -> tuple[int, int]:
    """Return a span of at least `length` around another one, inside 0..limit; all of that if it is too long."""
    length = max(length, end - start)
    if length >= limit:
        return 0, limit
    start = min(max(0, start - (length - (end - start)) // 2), limit - length)
    return start, start + length


def fill_masked(image: Image.Image, mask: Bytes) -> Image.Image:
    """Return the RGB image with colors from around the mask in place of what is masked.

    From the widest blur to the narrowest, unmasked colors are laid over it as far as each blur carries them: the
    nearest colors count most near the edge, and the mean of the image far from it.
    """
    known: Floats = 1 - mask.astype(np.float32) / np.float32(255)
    pixels: Floats = np.asarray(image.convert("RGB"), dtype=np.float32)
    filled = np.broadcast_to(_mean_color(pixels, known), pixels.shape).copy()
    side = max(image.size)
    for reach in _REACHES:
        radius = reach * side
        share = _box_blurred(known[..., None], radius)
        nearby = _box_blurred(pixels * known[..., None], radius)
        colors: Floats = np.divide(nearby, np.maximum(share, 1e-6), dtype=np.float32)
        cover: Floats = np.clip(2 * share, 0, 1)
        filled = filled * (1 - cover) + colors * cover
    filled = filled * (1 - known[..., None]) + pixels * known[..., None]
    return Image.fromarray(np.clip(np.round(filled), 0, 255).astype(np.uint8))


def _mean_color(pixels: Floats, known: Floats) -> Floats:
    total = float(known.sum())
    if not total:  # all is masked: middle gray
        return np.full(3, 127.5, np.float32)
    mean: Floats = ((pixels * known[..., None]).sum(axis=(0, 1)) / total).astype(np.float32)
    return mean


def _box_blurred(values: Floats, radius: float) -> Floats:
    """Return [h, w, c] blurred by two box averages along each axis, close to a Gaussian of that radius."""
    reach = max(1, round(radius))
    for axis in (0, 1):
        for _ in range(2):
            along = np.moveaxis(values, axis, 0)
            here = min(reach, len(along) - 1)
            if here < 1:
                continue
            sums = np.cumsum(np.pad(along, ((here + 1, here), (0, 0), (0, 0)), mode="edge"), axis=0, dtype=np.float64)
            means = (sums[2 * here + 1 :] - sums[: -2 * here - 1]) / (2 * here + 1)
            values = np.moveaxis(means.astype(np.float32), 0, axis)
    return values
