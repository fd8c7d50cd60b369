"""Judges pairs of images, each pair once and each image decoded as seldom as memory allows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from bakehouse.core.settings import Spec
from bakehouse.curation.dedupe.compare import (
    CANVAS,
    ComparisonScale,
    MatchKind,
    PreparedImage,
    cell_difference,
    prepare,
    recolored_difference,
    tile_difference,
)
from bakehouse.curation.dedupe.crop_detection import SMALL, Box, find_crop, in_pixels
from bakehouse.curation.dedupe.image_hashes import WINDOWS, open_small
from bakehouse.curation.dedupe.palette import in_palette, palette_of
from bakehouse.curation.trim import measure_borders
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import flattened, open_image

FindText = Callable[[Image.Image], Sequence[tuple[float, float, float, float]]]
"""Boxes of text in an image: left, top, right, bottom in pixels."""

_CACHED_IMAGES = 256
"""Pictures in memory: at most 0.2 MB each."""
_CROP_SIDE = 512
"""Pixels of the shorter side at which a crop is cut out of a picture, at least."""
_MAX_CROP_ERROR = 2.0
"""A window that is so many times as far off as a usual tile may be does not become the crop on a closer look."""
_MORE_PIXELS = 1.1
"""A crop with so many times the pixels of the place it was cut from may come from a better copy."""
_MAX_TEXT_AREA = 0.2
"""Of the tiles: a change wider than this is no watermark."""


_BORDER_FUZZ = 0.04
"""How far a border's pixels may be from its colour, as `dataset trim` has it."""
_BORDER_TOLERANCE = 0.02
"""Of a side: a crop's edge may be so far from the border's."""


class MatchLimits(Spec):
    """Where one verdict ends and the next begins. Differences are in levels of 255."""

    local: float = Field(8.0, ge=0, le=255)
    """A tile must differ more than this for the difference to lie in one place."""
    ratio: float = Field(4.0, ge=1)
    """And more than so many times the usual tile."""
    usual: float = Field(12.0, ge=0, le=255)
    """Pictures whose usual tile differs more than this are not the same, whatever their hashes say."""
    recoloured: float = Field(8.0, ge=0, le=255)
    """The same picture in other colours: what may be left once the colours are brought together."""

    def of_cells(self, usual: float) -> float:
        """As `local`, for the cells of 8 pixels: half of it between files that lost nothing, more with their noise."""
        return min(1.5 * self.local, self.local / 2 + 1.5 * self.ratio * usual)

    @property
    def mean(self) -> float:
        """How far the mean colours of two copies may be apart: nine tiles in ten by the usual, one by the most."""
        return 0.9 * self.usual + 0.1 * max(self.local, self.ratio * self.usual)


@dataclass(frozen=True)
class PairMatch:
    """Of two images, the first with the lower number."""

    verdict: MatchKind
    why: str
    text: Literal["first", "second", ""] = ""
    """Which of the two has text over it that the other has not."""
    plain: bool = False
    """Of a crop: nothing was changed in it, and the other one has as many pixels there."""
    bordered: bool = False
    """Of a crop: what it lacks is a border of one colour, and it has as many pixels within."""


@dataclass(frozen=True)
class _ChangedArea:
    """Where two pictures differ much more than elsewhere."""

    changed: NDArray[np.bool_]
    """[rows, columns] of tiles."""
    why: str


class PairMatcher:
    """Of the images of one dataset, by their numbers. Threads may share one."""

    def __init__(self, records: Sequence[ImageRecord], limits: MatchLimits, find_text: FindText | None = None) -> None:
        self.records = records
        self.limits = limits
        self.find_text = find_text
        self._prepared = functools.lru_cache(_CACHED_IMAGES)(self._prepare)
        self._small = functools.lru_cache(_CACHED_IMAGES)(self._open_small)
        self._palette = functools.cache(self._open_palette)
        self.same = functools.cache(self._same)

    def _same(self, i: int, j: int) -> PairMatch:
        """Whether image j is image i over again, i < j."""
        first, second = self.records[i], self.records[j]
        if first.sha256 == second.sha256:
            return PairMatch("duplicate", "the same bytes")
        scale = ComparisonScale.of(_size(first), _size(second))
        a, b = self._prepared(i, scale), self._prepared(j, scale)
        found = tile_difference(a, b)
        if found.usual > self.limits.usual:
            return self._recoloured(a, b)
        place = self._place(a, b)
        if place is None or self._same_in_one_palette(i, j, scale):
            return PairMatch("duplicate", f"the same picture (differs by {found.usual:.1f} of 255)")
        text = self._text(i, j, place.changed)
        if text:
            return PairMatch("duplicate", "the same picture but for text over it", text)
        return PairMatch("variant", place.why)

    def _place(self, a: PreparedImage, b: PreparedImage) -> _ChangedArea | None:
        """Where the difference lies if it lies in one place, by tiles or else by cells."""
        limits = self.limits
        for measured, cells in ((tile_difference(a, b), False), (cell_difference(a, b), True)):
            most = limits.of_cells(measured.usual) if cells else limits.local
            if measured.local(most, limits.ratio):
                why = f"differs in one place by {measured.largest:.0f}, elsewhere by {measured.usual:.1f}"
                return _ChangedArea(measured.changed(most, limits.ratio), why)
        return None

    def _same_in_one_palette(self, i: int, j: int, scale: ComparisonScale) -> bool:
        """Whether a picture of few colours is the other one when that has no other colours either."""
        first, second = self._palette(i), self._palette(j)
        if first is not None and second is None:
            few, many, palette = i, j, first
        elif first is None and second is not None:
            few, many, palette = j, i, second
        else:
            return False
        reduced = in_palette(open_image(self.records[many].path), palette)
        return self._place(self._prepared(few, scale), prepare(reduced, scale)) is None

    def _open_palette(self, number: int) -> Image.Image | None:
        return palette_of(self.records[number].path)

    def _recoloured(self, a: PreparedImage, b: PreparedImage) -> PairMatch:
        found = recolored_difference(a, b)
        if found.usual > self.limits.recoloured or tile_difference(a, b).alpha > self.limits.usual:
            return PairMatch("different", "")
        return PairMatch("variant", f"the same picture in other colours (differs by {found.usual:.1f} beside them)")

    def crop(self, whole: int, part: int, windows: Sequence[int]) -> PairMatch:
        """Whether image `part` was cut out of image `whole`, near one of these windows of it."""
        box, off = find_crop(
            self._small(whole), self._small(part), [WINDOWS[w] for w in windows], most=self.limits.mean
        )
        if off > _MAX_CROP_ERROR * self.limits.usual:
            return PairMatch("different", "")
        share = (box[2] - box[0]) * (box[3] - box[1])
        large = flattened(open_small(self.records[whole].path, _CROP_SIDE))
        inside = in_pixels(large, box)
        size = (max(1, round(inside[2] - inside[0])), max(1, round(inside[3] - inside[1])))
        cut = large.resize(size, Image.Resampling.BICUBIC, box=inside)
        scale = ComparisonScale.of(size, _size(self.records[part]))
        found = tile_difference(prepare(cut, scale), self._prepared(part, scale))
        if found.usual > self.limits.usual:
            return PairMatch("different", "")
        changed = found.local(self.limits.local, self.limits.ratio)
        there = share * self.records[whole].width * self.records[whole].height
        has = self.records[part].width * self.records[part].height
        note = ", with something changed in it" if changed else ", enlarged" if has > _MORE_PIXELS * there else ""
        name = self.records[whole].path.name
        if not changed and _MORE_PIXELS * has > there and _is_border(large, box):
            return PairMatch("near", f"{name} is the same with a border around it", plain=not note, bordered=True)
        return PairMatch("near", f"a crop of {name}: {share:.0%} of its area{note}", plain=not note)

    def _text(self, i: int, j: int, changed: NDArray[np.bool_]) -> Literal["first", "second", ""]:
        """Which of two images has text in the tiles that changed; empty where both or none has, or nobody looks."""
        if self.find_text is None or changed.mean() > _MAX_TEXT_AREA:
            return ""
        rows, columns = np.nonzero(changed)
        high, wide = changed.shape
        # Text is found by its surroundings too.
        spot = (
            max(0.0, (columns.min() - 2) / wide),
            max(0.0, (rows.min() - 2) / high),
            min(1.0, (columns.max() + 3) / wide),
            min(1.0, (rows.max() + 3) / high),
        )
        covered = [self._covered(number, spot, changed) for number in (i, j)]
        if covered[0] >= 0.8 and covered[1] < 0.2:
            return "first"
        return "second" if covered[1] >= 0.8 and covered[0] < 0.2 else ""

    def _covered(self, number: int, spot: Box, changed: NDArray[np.bool_]) -> float:
        """The share of the changed tiles that lie under text in one of the images."""
        assert self.find_text is not None
        image = open_image(self.records[number].path)
        corner = in_pixels(image, spot)
        cut = image.crop((round(corner[0]), round(corner[1]), round(corner[2]), round(corner[3])))
        under = np.zeros(changed.shape, bool)
        across, down = changed.shape[1] / image.width, changed.shape[0] / image.height
        for left, top, right, bottom in self.find_text(cut):
            columns = slice(int((left + corner[0]) * across), int((right + corner[0]) * across) + 1)
            rows = slice(int((top + corner[1]) * down), int((bottom + corner[1]) * down) + 1)
            under[rows, columns] = True
        return float(under[changed].mean())

    def _prepare(self, number: int, scale: ComparisonScale) -> PreparedImage:
        return prepare(open_small(self.records[number].path, 2 * CANVAS), scale)

    def _open_small(self, number: int) -> Image.Image:
        image = flattened(open_small(self.records[number].path, SMALL))
        image.thumbnail((SMALL, SMALL), Image.Resampling.BICUBIC)
        return image


def _is_border(image: Image.Image, box: Box) -> bool:
    """Whether all of an image outside of a box is a uniform border."""
    left, top, right, bottom = measure_borders(np.asarray(image).astype(np.int16), _BORDER_FUZZ)
    inner = (left, top, image.width - right, image.height - bottom)
    edges = zip(inner, in_pixels(image, box), (image.width, image.height) * 2, strict=True)
    return any((left, top, right, bottom)) and all(abs(a - b) <= _BORDER_TOLERANCE * side for a, b, side in edges)


def _size(record: ImageRecord) -> tuple[int, int]:
    return record.width, record.height
