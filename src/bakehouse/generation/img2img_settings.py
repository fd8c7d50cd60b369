"""Image-to-image, inpainting, outpainting and the hires fix: settings as plain values, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from bakehouse.core.errors import Problems

ImageFile = str | Path | Image.Image
"""An image: a path, or an image in memory."""
Resize = Literal["stretch", "crop", "pad"]
MaskedContent = Literal["fill", "original", "latent noise", "latent nothing"]
InpaintArea = Literal["whole picture", "only masked"]

DEFAULT_STRENGTH = 0.75
MAX_EXTENSION = 8192
MAX_HIRES_SCALE = 8.0


def check(what: str, *checks: tuple[bool, str]) -> None:
    """Raise `Problems` with the messages of all checks that failed."""
    if problems := [message for valid, message in checks if not valid]:
        raise Problems(f"{what}:", problems)


def _choice(name: str, value: str, allowed: object) -> tuple[bool, str]:
    values = get_args(allowed)
    return value in values, f"{name} = {value!r}: allowed are {', '.join(values)}"


def _share(name: str, value: float) -> tuple[bool, str]:
    return math.isfinite(value) and 0 <= value <= 1, f"{name} = {value}: allowed are 0 (nothing changes) to 1"


@dataclass(frozen=True)
class Extend:
    """Pixels to add on each side of an image (outpainting). What is added is masked and filled."""

    left: int = 0
    right: int = 0
    up: int = 0
    down: int = 0

    def __post_init__(self) -> None:
        check(
            "invalid extension",
            *(
                (0 <= pixels <= MAX_EXTENSION, f"{side} = {pixels}: allowed are 0 to {MAX_EXTENSION:,} pixels")
                for side, pixels in vars(self).items()
            ),
            (any(vars(self).values()), "no side is extended: give one of left, right, up and down"),
        )

    def __str__(self) -> str:
        return " ".join(f"{side}={pixels}" for side, pixels in vars(self).items() if pixels)

    @classmethod
    def parse(cls, text: str) -> Extend:
        """Return what `down=64,left=32` says, or four numbers for left, right, up and down: `32,0,0,64`.

        Raises:
            Problems: another form, an unknown side, or a number out of range.
        """
        parts = [part.strip() for part in text.split(",")]
        names = [field.name for field in fields(cls)]
        if len(parts) == len(names) and not any("=" in part for part in parts):
            parts = [f"{name}={part}" for name, part in zip(names, parts, strict=True)]
        given = [part.partition("=")[::2] for part in parts]
        sides = {side.strip(): pixels.strip() for side, pixels in given}
        check(
            f"extend = {text!r} cannot be read",
            *(
                (side in names and pixels.isdecimal(), f"{side}={pixels}: allowed are left, right, up or down = PIXELS")
                for side, pixels in sides.items()
            ),
            (len(sides) == len(given), "a side is given twice"),
        )
        return cls(**{side: int(pixels) for side, pixels in sides.items()})

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the width and height of an image of this size when it is extended."""
        return size[0] + self.left + self.right, size[1] + self.up + self.down


@dataclass(frozen=True, kw_only=True)
class FromImage:
    """Start from an image instead of noise (image-to-image). The image's file is only read.

    Raises:
        Problems: values out of range, all of them at once.
    """

    image: ImageFile
    """A file of any format, which is turned upright as its EXIF data say; an image in memory is taken as it is.
    Transparent pixels become white."""
    strength: float = DEFAULT_STRENGTH
    """0 to 1, A1111's denoising strength: the share of the steps that are run. At 0 the image only passes through the
    autoencoder; at 1 little more than its rough colors remain."""
    resize: Resize = "stretch"
    """How it gets the request's width and height: stretched, cropped around its middle, or padded with its edges."""
    extend: Extend | None = None
    """Draw beyond its edges."""

    def __post_init__(self) -> None:
        check(
            "invalid settings of the source image",
            _share("strength", self.strength),
            _choice("resize", self.resize, Resize),
        )


@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Redraw only a part of an image; all other pixels stay as they are.

    Raises:
        Problems: values out of range, all of them at once.
    """

    mask: ImageFile | None = None
    """White is redrawn, black stays; of a mask with transparency the opaque part is redrawn. It has the image's
    aspect ratio. None: only what `FromImage.extend` adds."""
    invert: bool = False
    """Redraw the black part instead."""
    blur: float = 4.0
    """Standard deviation in pixels of the mask's soft edge, in which old and new are blended."""
    content: MaskedContent = "original"
    """What the masked part begins as: colors from around it (`fill`), the image itself, noise, or nothing."""
    area: InpaintArea = "whole picture"
    """`only masked`: cut out the mask's surroundings, draw them at the request's width and height (default: the
    model's native size), and put them back. Small faces get the model's whole resolution."""
    padding: int = 32
    """Pixels around the mask that are cut out with it for `only masked`."""

    def __post_init__(self) -> None:
        check(
            "invalid inpainting settings",
            (math.isfinite(self.blur) and 0 <= self.blur <= 256, f"blur = {self.blur}: allowed are 0 to 256 pixels"),
            (0 <= self.padding <= 4096, f"padding = {self.padding}: allowed are 0 to 4,096 pixels"),
            _choice("content", self.content, MaskedContent),
            _choice("area", self.area, InpaintArea),
        )


@dataclass(frozen=True, kw_only=True)
class Hires:
    """Enlarge the image and sample it again (A1111's hires fix): large images without doubled subjects.

    Raises:
        Problems: values out of range, all of them at once.
    """

    scale: float = 2.0
    upscaler: str = "Latent"
    """`latent` and its kinds interpolate latents; `lanczos` and `nearest` interpolate the image; or an upscaling
    network by name or file, as for `dataset upscale`."""
    steps: int | None = None
    """Steps of the second pass. None: as many as of the first."""
    strength: float = 0.7
    """0 to 1: how much the second pass may change. Interpolated latents are blurred below 0.5. At 0 the image is only
    enlarged."""

    def __post_init__(self) -> None:
        check(
            "invalid hires settings",
            (
                math.isfinite(self.scale) and 1 <= self.scale <= MAX_HIRES_SCALE,
                f"scale = {self.scale}: allowed are 1 to {MAX_HIRES_SCALE:g}",
            ),
            (
                self.steps is None or 1 <= self.steps <= 1000,
                f"steps = {self.steps}: allowed are 1 to 1000",
            ),
            _share("strength", self.strength),
            (bool(self.upscaler.strip()), "upscaler is empty: latent, lanczos, nearest, or a network's name or file"),
        )

    def size(self, width: int, height: int, multiple: int) -> tuple[int, int]:
        """Return the size after the second pass: rounded down to a multiple of the model's `downscale`, as in A1111."""
        return int(width * self.scale) // multiple * multiple, int(height * self.scale) // multiple * multiple
