"""Select frames of an animation or video: of each run of similar frames, the sharpest."""

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
"""Frames are compared by the mean colours of GRID x GRID cells: this averages out coding noise but not a closed eye."""

MAX_DIFFERENCE = 6.0
"""Largest cell difference (0..255) at which two frames count as the same. Measured: coding noise is 2.7 in an MPEG-4
video and 4.4 in a JPEG of quality 30; a changed spot of 24 pixels in an image of 512 is 11."""

SCENE_CUT_DIFFERENCE = 24.0
"""Mean cell difference (0..255) between consecutive frames above which a new scene begins."""

_SHARP_SIDE = 512

ColorGrid = npt.NDArray[np.int16]
"""[GRID, GRID, 3]: mean colours of an image's cells."""


def read_frames(path: Path) -> Iterator[Image.Image]:
    """Yield all frames of an animation as upright 8-bit sRGB; pages of a TIFF are not frames.

    Raises:
        ImageError: as `bakehouse.data.open_image`.
    """
    count = read_image_header(path).frames
    with opened(path) as file:
        for i in range(count):
            file.seek(i)
            yield upright_srgb(file)


def color_grid(image: Image.Image) -> ColorGrid:
    """Return the mean colours of an image's cells, on a white background."""
    if image.mode != "RGB":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX), dtype=np.int16)


def grid_distance(a: ColorGrid, b: ColorGrid) -> float:
    """Return the largest difference between corresponding cells, 0..255, averaged over the colour channels."""
    return float(np.abs(a - b).mean(axis=2).max())


def is_scene_cut(a: ColorGrid, b: ColorGrid) -> bool:
    """Return whether a new scene begins between two consecutive frames."""
    return float(np.abs(a - b).mean()) > SCENE_CUT_DIFFERENCE


def sharpness(image: Image.Image) -> float:
    """Return the variance of the Laplacian (Pech-Pacheco et al. 2000) at a longer side of 512 pixels."""
    grey = image.convert("L")
    grey.thumbnail((_SHARP_SIDE, _SHARP_SIDE), Image.Resampling.BOX)
    kernel = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)
    return float(np.asarray(grey.filter(kernel), dtype=np.float32)[1:-1, 1:-1].var())


@dataclass(frozen=True)
class Frame:
    """One selected frame of a sequence."""

    index: int
    """Number of the frame in the sequence, from 0."""
    scene: int
    """Number of the scene, from 0."""
    image: Image.Image
    sharpness: float
    """Variance of the Laplacian, as the function `sharpness` returns it."""


def distinct_frames(
    images: Iterable[Image.Image], *, alike: float = MAX_DIFFERENCE, window: int = 400
) -> Iterator[Frame]:
    """Yield the sharpest frame of each run of similar frames.

    A run similar to a frame selected earlier is skipped: a video that cuts back and forth between two faces
    gives each face once.

    Args:
        images: the sequence.
        alike: largest difference of similar frames, see `MAX_DIFFERENCE`; 0 keeps all frames that are not equal.
        window: number of selected frames to compare with.
    """
    kept: list[ColorGrid] = []
    run: _SimilarFrames | None = None
    scene, previous = 0, None
    for index, image in enumerate(images):
        grid = color_grid(image)
        scene += previous is not None and is_scene_cut(previous, grid)
        previous = grid
        if run is not None and grid_distance(run.first, grid) <= alike:
            run.add(index, scene, image)
            continue
        if run is not None and not _is_known(run.first, kept, alike):
            kept = [*kept[-window + 1 :], run.first]
            yield run.best
        run = _SimilarFrames(grid, Frame(index, scene, image, sharpness(image)))
    if run is not None and not _is_known(run.first, kept, alike):
        yield run.best


@dataclass
class _SimilarFrames:
    """A run of frames similar to its first one."""

    first: ColorGrid
    best: Frame

    def add(self, index: int, scene: int, image: Image.Image) -> None:
        found = sharpness(image)
        if found > self.best.sharpness:
            self.best = Frame(index, scene, image, found)


def _is_known(grid: ColorGrid, kept: list[ColorGrid], alike: float) -> bool:
    return any(grid_distance(grid, other) <= alike for other in kept)
