"""The source of image-to-image: its size and mask, the latents that sampling starts from, and the finished image.

Sizes are decided from file headers (`plan_canvas`), so that a folder is checked before the first image is drawn.
Pixels are read when an image's batch comes up (`prepare`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.data.masks import SHAPE_TOLERANCE
from bakehouse.data.open_image import flattened, image_size, open_image, to_pixels
from bakehouse.generation.img2img_settings import Extend, FromImage, ImageFile, Inpaint, MaskedContent, Resize
from bakehouse.generation.inpaint_mask import Box, Bytes, Floats, binary_mask, blurred_mask, crop_box, fill_masked

if TYPE_CHECKING:
    from bakehouse.models.image_to_image import InitImage, MaskedLatents

Size = tuple[int, int]
"""Width and height in pixels."""
_MASKED_LATENTS: Mapping[MaskedContent, MaskedLatents] = {
    "fill": "kept",
    "original": "kept",
    "latent noise": "noise",
    "latent nothing": "zero",
}
"""What masked latents begin as; `fill` changes the pixels that are encoded."""


@dataclass(frozen=True)
class Canvas:
    """Sizes on the way from a source to the finished image."""

    source: Size
    resized: Size
    """The source's part of the canvas."""
    canvas: Size
    """The finished image, before a second pass: the resized source with its extension."""
    drawn: Size
    """What the model draws: the canvas rounded up to a size that it can make, or for `only masked` a part of it."""
    only_masked: bool = False


def plan_canvas(
    image: FromImage, inpaint: Inpaint | None, *, width: int | None, height: int | None, multiple: int, native: int
) -> Canvas:
    """Return the sizes of an image that is made from another one, from headers alone.

    Without a width and height the source's size is kept; with one of them the source keeps its proportions. For
    `only masked` they are the size in which the masked part is drawn, and the source's size is always kept.

    Args:
        image: the source.
        inpaint: which part of it is drawn.
        width: pixels, as requested.
        height: pixels.
        multiple: the model's pixels per latent.
        native: the model's native size.

    Raises:
        UsageError: the mask has another shape than the source, or is missing.
        ImageError: a file cannot be used.
    """
    source = _size_of(image.image)
    if inpaint is not None and inpaint.mask is not None:
        _check_mask_shape(inpaint.mask, image.image, source)
    if inpaint is not None and inpaint.area == "only masked":
        canvas = image.extend.canvas(source) if image.extend else source
        drawn = width or native, height or native
        return Canvas(source, source, canvas, (_rounded_up(drawn[0], multiple), _rounded_up(drawn[1], multiple)), True)
    resized = _resized_size(source, width, height)
    canvas = image.extend.canvas(resized) if image.extend else resized
    drawn = _rounded_up(canvas[0], multiple), _rounded_up(canvas[1], multiple)
    return Canvas(source, resized, canvas, drawn)


def _resized_size(source: Size, width: int | None, height: int | None) -> Size:
    if width and height:
        return width, height
    if width:
        return width, max(1, round(source[1] * width / source[0]))
    if height:
        return max(1, round(source[0] * height / source[1])), height
    return source


def _rounded_up(pixels: int, multiple: int) -> int:
    return -(-pixels // multiple) * multiple


def _size_of(image: ImageFile) -> Size:
    return image.size if isinstance(image, Image.Image) else image_size(Path(image))


def _check_mask_shape(mask: ImageFile, image: ImageFile, size: Size) -> None:
    (width, height), (mask_width, mask_height) = size, _size_of(mask)
    # A pixel more or less is rounding: of a small mask it is more than the tolerance.
    tolerance = SHAPE_TOLERANCE + 1 / min(mask_width, mask_height)
    if abs(mask_width * height / (mask_height * width) - 1) > tolerance:
        raise UsageError(
            f"mask {named(mask)} is {mask_width}x{mask_height}, {named(image)} is {width}x{height}: the shape differs",
            hint="paint the mask on a copy of the image, upright as it is shown; only its size may differ",
        )


def named(image: ImageFile) -> str:
    """Return what an image is called in messages."""
    return "the image in memory" if isinstance(image, Image.Image) else str(image)


def _opened(image: ImageFile) -> Image.Image:
    """Return an image as RGB, upright, on white."""
    if isinstance(image, Image.Image):
        return flattened(image.convert("RGBA")) if "A" in image.mode or image.mode == "P" else image.convert("RGB")
    return open_image(Path(image))


def _opened_mask(image: ImageFile) -> Image.Image:
    """Return a mask as RGBA, so that its transparency counts."""
    return image.convert("RGBA") if isinstance(image, Image.Image) else open_image(Path(image), mode="RGBA")


@dataclass(frozen=True)
class PreparedSource:
    """An image to begin from, and how the image that is drawn from it becomes the finished one."""

    init: InitImage
    source: Image.Image
    """RGB, of the canvas's size."""
    drawn_mask: Bytes | None
    """[h, w] of the canvas: 255 is taken from what was drawn, 0 from the source. None: all is."""
    box: Box
    """Where in the canvas the drawn image belongs; it may be larger there, at the right and the bottom."""
    scaled: bool
    """Whether the drawn image is scaled to the box; otherwise it is cut off at the canvas's edges."""
    image_hash: str
    """md5 of the source's pixels, as A1111's `Init image hash`."""
    mask_hash: str | None

    def finish(self, drawn: Image.Image) -> Image.Image:
        """Return the finished image: drawn where the mask says so, and exactly the source's pixels elsewhere."""
        left, top, right, bottom = self.box
        size = right - left, bottom - top
        part = drawn.resize(size, Image.Resampling.LANCZOS) if self.scaled else drawn.crop((0, 0, *size))
        if self.drawn_mask is None:
            return part
        laid = self.source.copy()
        laid.paste(part, (left, top))
        return Image.composite(laid, self.source, Image.fromarray(self.drawn_mask))


def prepare(image: FromImage, inpaint: Inpaint | None, canvas: Canvas, latent_size: Size) -> PreparedSource:
    """Read an image and its mask, and return what sampling begins from.

    Args:
        image: the source.
        inpaint: which part is drawn; None: all, or with an extension what it adds.
        canvas: from `plan_canvas`.
        latent_size: width and height of the latents of `canvas.drawn`.

    Raises:
        UsageError: the mask is empty.
        ImageError: a file cannot be used.
    """
    opened = _opened(image.image)
    image_hash = hashlib.md5(opened.tobytes(), usedforsecurity=False).hexdigest()
    resized = resize_image(opened, canvas.resized, image.resize)
    source = _extended(resized, image.extend, canvas.canvas)
    if inpaint is None and image.extend is None:
        pixels = to_pixels(_padded(source, canvas.drawn))
        return PreparedSource(_init(pixels), source, None, (0, 0, *canvas.canvas), False, image_hash, None)

    inpaint = inpaint or Inpaint(content="fill")
    marked, mask_hash = _marked(image, inpaint, canvas)
    soft = blurred_mask(marked, inpaint.blur)
    if not soft.any():
        where = f"mask {named(inpaint.mask)}" if inpaint.mask is not None else "the mask"
        raise UsageError(
            f"{where} marks nothing: all of it is {'white, and inverted' if inpaint.invert else 'black'}",
            hint="white is redrawn; --invert-mask redraws the black part",
        )
    if canvas.only_masked:
        box, drawn_mask = crop_box(soft, inpaint.padding, canvas.drawn), soft
        part = source.crop(box).resize(canvas.drawn, Image.Resampling.LANCZOS)
        part_mask = Image.fromarray(soft).crop(box).resize(canvas.drawn, Image.Resampling.LANCZOS)
    else:
        # As in A1111: from the middle of the soft edge on, all is new; the latents, which are coarser, change there.
        box, drawn_mask = (0, 0, *canvas.canvas), np.clip(soft.astype(np.int32) * 2, 0, 255).astype(np.uint8)
        part, part_mask = _padded(source, canvas.drawn), _padded(Image.fromarray(soft), canvas.drawn)
    if inpaint.content != "original":
        part = fill_masked(part, np.asarray(part_mask))
    init = _init(to_pixels(part), part_mask.resize(latent_size, Image.Resampling.BICUBIC), inpaint)
    return PreparedSource(init, source, drawn_mask, box, canvas.only_masked, image_hash, mask_hash)


def _init(pixels: Floats, mask: Image.Image | None = None, inpaint: Inpaint | None = None) -> InitImage:
    import torch

    from bakehouse.models.image_to_image import InitImage

    if mask is None or inpaint is None:
        return InitImage(torch.from_numpy(pixels))
    # Whole latents are drawn or kept, as in A1111; the soft edge is between pixels.
    latents = torch.from_numpy(np.round(np.asarray(mask, dtype=np.float32) / 255))
    return InitImage(torch.from_numpy(pixels), latents, _MASKED_LATENTS[inpaint.content])


def _marked(image: FromImage, inpaint: Inpaint, canvas: Canvas) -> tuple[Bytes, str | None]:
    """Return the mask [h, w] of 0 and 255 on the canvas, and the md5 of the mask's own pixels."""
    width, height = canvas.canvas
    if inpaint.mask is None:
        marked, mask_hash = np.zeros(canvas.resized[::-1], np.uint8), None
    else:
        opened = _opened_mask(inpaint.mask)
        mask_hash = hashlib.md5(binary_mask(opened).tobytes(), usedforsecurity=False).hexdigest()
        shaped = opened if opened.size == canvas.source else opened.resize(canvas.source, Image.Resampling.NEAREST)
        marked = binary_mask(resize_image(shaped, canvas.resized, image.resize), invert=inpaint.invert)
    if image.extend is None:
        return marked, mask_hash
    whole = np.full((height, width), 255, np.uint8)
    left, top = image.extend.left, image.extend.up
    whole[top : top + marked.shape[0], left : left + marked.shape[1]] = marked
    return whole, mask_hash


def resize_image(image: Image.Image, size: Size, how: Resize) -> Image.Image:
    """Return an image at a size: stretched, cropped around its middle, or padded with copies of its edges."""
    if image.size == size:
        return image
    if how == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    scales = size[0] / image.width, size[1] / image.height
    scale = max(scales) if how == "crop" else min(scales)
    scaled = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(scaled, Image.Resampling.LANCZOS)
    left, top = (size[0] - scaled[0]) // 2, (size[1] - scaled[1]) // 2
    if how == "crop":
        return image.crop((-left, -top, size[0] - left, size[1] - top))
    return _with_edges(image, left, top, size)


def _extended(image: Image.Image, extend: Extend | None, canvas: Size) -> Image.Image:
    return image if extend is None else _with_edges(image, extend.left, extend.up, canvas)


def _padded(image: Image.Image, size: Size) -> Image.Image:
    """Return an image with more at its right and bottom, to the size that a model can make."""
    return image if image.size == size else _with_edges(image, 0, 0, size)


def _with_edges(image: Image.Image, left: int, top: int, size: Size) -> Image.Image:
    """Return an image on a larger canvas, with copies of its edge pixels around it."""
    array = np.asarray(image)
    rows = (top, size[1] - image.height - top)
    columns = (left, size[0] - image.width - left)
    return Image.fromarray(np.pad(array, (rows, columns, *[(0, 0)] * (array.ndim - 2)), mode="edge"))
