"""Classify pairs of images as duplicate, variant, crop or different, with cached comparisons."""

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
from bakehouse.curation.dedupe.crop_detection import SMALL, Box, find_crop, in_pixels
from bakehouse.curation.dedupe.image_difference import (
    CANVAS,
    ComparisonScale,
    MatchKind,
    PreparedImage,
    cell_difference,
    prepare,
    recolored_difference,
    tile_difference,
)
from bakehouse.curation.dedupe.image_hashes import WINDOWS, open_small
from bakehouse.curation.dedupe.palette_images import in_palette, palette_of
from bakehouse.curation.trim import measure_borders
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import flattened, open_image

FindText = Callable[[Image.Image], Sequence[tuple[float, float, float, float]]]
"""Returns the boxes of text in an image: left, top, right, bottom in pixels."""

_CACHED_IMAGES = 256
"""Prepared images kept in memory, at most 0.2 MB each."""
_CROP_SIDE = 512
"""Shortest side in pixels of the image that a crop is compared with."""
_MAX_CROP_ERROR = 2.0
"""A window whose coarse error is more than this many times `MatchLimits.usual` is not compared in detail."""
_MORE_PIXELS = 1.1
"""A crop with this many times the pixels of its region may come from a better copy."""
_MAX_TEXT_AREA = 0.2
"""Largest share of changed tiles that may be a watermark."""


_BORDER_FUZZ = 0.04
"""Largest distance of a border pixel from the border's colour, as in `dataset trim`."""
_BORDER_TOLERANCE = 0.02
"""Largest distance between a crop's edge and a border's, as a share of the side."""


class MatchLimits(Spec):
    """Thresholds between duplicates, variants and different images, in levels 0..255."""

    local: float = Field(8.0, ge=0, le=255)
    """A tile that differs by more than this is a local change, ..."""
    ratio: float = Field(4.0, ge=1)
    """... if it also differs by more than this many times the 90th percentile of the tiles."""
    usual: float = Field(12.0, ge=0, le=255)
    """Largest 90th percentile of the tile differences of copies."""
    recoloured: float = Field(8.0, ge=0, le=255)
    """The same for recoloured copies, after their colours are matched."""

    def of_cells(self, percentile_90: float) -> float:
        """Return the limit for cells of 8 pixels: half of `local` for lossless files, more with compression noise."""
        return min(1.5 * self.local, self.local / 2 + 1.5 * self.ratio * percentile_90)

    @property
    def mean(self) -> float:
        """Largest difference in mean colour of two copies: nine tiles in ten at `usual`, one at the local limit."""
        return 0.9 * self.usual + 0.1 * max(self.local, self.ratio * self.usual)


@dataclass(frozen=True)
class PairMatch:
    """How two images relate; the first is the one with the lower number."""

    kind: MatchKind
    why: str
    text: Literal["first", "second", ""] = ""
    """Which of the two has text over it where the other has none."""
    plain: bool = False
    """For a crop: it is unchanged, and the whole image has as many pixels there."""
    bordered: bool = False
    """For a crop: the whole image only adds a uniform border, and has no more pixels within."""
    recolored: bool = False
    """For a variant: all colours differ, not one place."""


@dataclass(frozen=True)
class _ChangedArea:
    """The place where two images differ much more than elsewhere."""

    changed: NDArray[np.bool_]
    """[rows, columns]: which tiles changed."""
    why: str


class PairMatcher:
    """Compares the images of one dataset, given by their numbers. Thread-safe."""

    def __init__(self, records: Sequence[ImageRecord], limits: MatchLimits, find_text: FindText | None = None) -> None:
        self.records = records
        self.limits = limits
        self.find_text = find_text
        self._prepared = functools.lru_cache(_CACHED_IMAGES)(self._prepare)
        self._small = functools.lru_cache(_CACHED_IMAGES)(self._open_small)
        self._palette = functools.cache(self._open_palette)
        self.match = functools.cache(self._match)

    def _match(self, i: int, j: int) -> PairMatch:
        """Classify images i < j: duplicate, variant or different."""
        first, second = self.records[i], self.records[j]
        if first.sha256 == second.sha256:
            return PairMatch("duplicate", "same bytes")
        scale = ComparisonScale.of(_size(first), _size(second))
        a, b = self._prepared(i, scale), self._prepared(j, scale)
        found = tile_difference(a, b)
        if found.percentile_90 > self.limits.usual:
            return self._match_recolored(a, b)
        area = self._changed_area(a, b)
        if area is None or self._same_in_one_palette(i, j, scale):
            return PairMatch("duplicate", f"same image (difference {found.percentile_90:.1f} of 255)")
        text = self._which_has_text(i, j, area.changed)
        if text:
            return PairMatch("duplicate", "same image except for text over it", text)
        return PairMatch("variant", area.why)

    def _changed_area(self, a: PreparedImage, b: PreparedImage) -> _ChangedArea | None:
        """Return the changed area if two images differ in one place, by tiles or else by cells."""
        limits = self.limits
        for measured, cells in ((tile_difference(a, b), False), (cell_difference(a, b), True)):
            most = limits.of_cells(measured.percentile_90) if cells else limits.local
            if measured.local(most, limits.ratio):
                why = f"local change ({measured.largest:.0f} of 255 there, {measured.percentile_90:.1f} elsewhere)"
                return _ChangedArea(measured.changed(most, limits.ratio), why)
        return None

    def _same_in_one_palette(self, i: int, j: int, scale: ComparisonScale) -> bool:
        """Return whether a palette image equals the other one after that is reduced to the same palette."""
        first, second = self._palette(i), self._palette(j)
        if first is not None and second is None:
            few, many, palette = i, j, first
        elif first is None and second is not None:
            few, many, palette = j, i, second
        else:
            return False
        reduced = in_palette(open_image(self.records[many].path), palette)
        return self._changed_area(self._prepared(few, scale), prepare(reduced, scale)) is None

    def _open_palette(self, number: int) -> Image.Image | None:
        return palette_of(self.records[number].path)

    def match_recolored(self, i: int, j: int) -> PairMatch:
        """Classify images i < j, which are no duplicates, as variants in other colours or as different."""
        scale = ComparisonScale.of(_size(self.records[i]), _size(self.records[j]))
        return self._match_recolored(self._prepared(i, scale), self._prepared(j, scale))

    def _match_recolored(self, a: PreparedImage, b: PreparedImage) -> PairMatch:
        found = recolored_difference(a, b)
        if found.percentile_90 > self.limits.recoloured or tile_difference(a, b).alpha > self.limits.usual:
            return PairMatch("different", "")
        why = f"same image in other colours (difference {found.percentile_90:.1f} after matching them)"
        return PairMatch("variant", why, recolored=True)

    def match_crop(self, whole: int, part: int, windows: Sequence[int]) -> PairMatch:
        """Classify image `part` as a crop of image `whole` near one of these windows, or as different."""
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
        if found.percentile_90 > self.limits.usual:
            return PairMatch("different", "")
        changed = found.local(self.limits.local, self.limits.ratio)
        there = share * self.records[whole].width * self.records[whole].height
        has = self.records[part].width * self.records[part].height
        note = ", with a change in it" if changed else ", enlarged" if has > _MORE_PIXELS * there else ""
        name = self.records[whole].path.name
        if not changed and _MORE_PIXELS * has > there and _is_border(large, box):
            return PairMatch("near", f"{name} is the same image with a border", plain=not note, bordered=True)
        return PairMatch("near", f"crop of {name}: {share:.0%} of its area{note}", plain=not note)

    def _which_has_text(self, i: int, j: int, changed: NDArray[np.bool_]) -> Literal["first", "second", ""]:
        """Return which of two images has text in the changed tiles; empty for both, none, or without text detection."""
        if self.find_text is None or changed.mean() > _MAX_TEXT_AREA:
            return ""
        rows, columns = np.nonzero(changed)
        high, wide = changed.shape
        # Text detection needs some surroundings.
        spot = (
            max(0.0, (columns.min() - 2) / wide),
            max(0.0, (rows.min() - 2) / high),
            min(1.0, (columns.max() + 3) / wide),
            min(1.0, (rows.max() + 3) / high),
        )
        covered = [self._share_under_text(number, spot, changed) for number in (i, j)]
        if covered[0] >= 0.8 and covered[1] < 0.2:
            return "first"
        return "second" if covered[1] >= 0.8 and covered[0] < 0.2 else ""

    def _share_under_text(self, number: int, spot: Box, changed: NDArray[np.bool_]) -> float:
        """Return the share of the changed tiles that are under text in one of the images."""
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
    """Return whether everything outside of a box is a uniform border."""
    left, top, right, bottom = measure_borders(np.asarray(image).astype(np.int16), _BORDER_FUZZ)
    inner = (left, top, image.width - right, image.height - bottom)
    edges = zip(inner, in_pixels(image, box), (image.width, image.height) * 2, strict=True)
    return any((left, top, right, bottom)) and all(abs(a - b) <= _BORDER_TOLERANCE * side for a, b, side in edges)


def _size(record: ImageRecord) -> tuple[int, int]:
    return record.width, record.height
