"""Which pictures of a sequence are worth keeping: of those that look alike, the sharpest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from bakehouse.data.image_header import read_image_header
from bakehouse.data.open_image import opened, upright_srgb

GRID = 32
"""Pictures are compared by the mean colours of so many fields a side: coding noise goes, a closed eye stays."""

ALIKE = 6.0
"""Of 255: where no field differs by more, two frames show the same. Noise of coding is 2.7 in an MPEG-4 film and
4.4 in a JPEG of quality 30; a spot of 24 pixels in a picture of 512 is 11."""

CUT = 24.0
"""Of 255, the mean over all fields: a larger jump from one frame to the next begins another scene."""

_SHARP_SIDE = 512

Look = npt.NDArray[np.int16]
"""[GRID, GRID, 3]: the mean colours of a picture's fields."""


def frames(path: Path) -> Iterator[Image.Image]:
    """All frames of an animation as upright 8-bit sRGB; a page of a TIFF is none.

    Raises:
        ImageError: as `bakehouse.data.open_image`.
    """
    count = read_image_header(path).frames
    with opened(path) as file:
        for i in range(count):
            file.seek(i)
            yield upright_srgb(file)


def look(image: Image.Image) -> Look:
    """The mean colours of a picture's fields; transparent ones count as white."""
    if image.mode != "RGB":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX), dtype=np.int16)


def distance(a: Look, b: Look) -> float:
    """How far the two most different fields are apart, 0..255, as a mean over the colours."""
    return float(np.abs(a - b).mean(axis=2).max())


def is_cut(a: Look, b: Look) -> bool:
    """Whether another scene begins between two frames that follow each other."""
    return float(np.abs(a - b).mean()) > CUT


def sharpness(image: Image.Image) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000) at a longer side of 512 pixels; 0 for a flat picture."""
    grey = image.convert("L")
    grey.thumbnail((_SHARP_SIDE, _SHARP_SIDE), Image.Resampling.BOX)
    kernel = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)
    return float(np.asarray(grey.filter(kernel), dtype=np.float32)[1:-1, 1:-1].var())


@dataclass(frozen=True)
class Frame:
    """One kept picture of a sequence."""

    index: int
    """Of the frames that were looked at, from 0."""
    scene: int
    """From 0."""
    image: Image.Image
    sharpness: float
    """See `sharpness`."""


def distinct(images: Iterable[Image.Image], *, alike: float = ALIKE, window: int = 400) -> Iterator[Frame]:
    """Of a sequence, scene by scene, the sharpest of each run of frames that show the same.

    A run that shows what was kept before gives nothing, so that a film which cuts to and fro between two faces gives
    each of them once.

    Args:
        images: in order.
        alike: see `ALIKE`; 0 keeps all that are not equal.
        window: compared with so many kept ones.
    """
    kept: list[Look] = []
    run: _Run | None = None
    scene, before = 0, None
    for index, image in enumerate(images):
        seen = look(image)
        scene += before is not None and is_cut(before, seen)
        before = seen
        if run is not None and distance(run.first, seen) <= alike:
            run.take(index, scene, image)
            continue
        if run is not None and not _known(run.first, kept, alike):
            kept = [*kept[-window + 1 :], run.first]
            yield run.best
        run = _Run(seen, Frame(index, scene, image, sharpness(image)))
    if run is not None and not _known(run.first, kept, alike):
        yield run.best


@dataclass
class _Run:
    """Frames in a row that look like the first of them."""

    first: Look
    best: Frame

    def take(self, index: int, scene: int, image: Image.Image) -> None:
        found = sharpness(image)
        if found > self.best.sharpness:
            self.best = Frame(index, scene, image, found)


def _known(seen: Look, kept: list[Look], alike: float) -> bool:
    return any(distance(seen, other) <= alike for other in kept)
