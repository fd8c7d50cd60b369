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

from bakehouse.core.spec import Spec
from bakehouse.curate.dedupe.compare import (
    CANVAS,
    Difference,
    Scale,
    Verdict,
    difference,
    prepare,
    recoloured_difference,
)
from bakehouse.curate.dedupe.crop import SMALL, Box, find_crop, in_pixels
from bakehouse.curate.dedupe.looks import WINDOWS, open_small
from bakehouse.data.images import open_image
from bakehouse.data.records import ImageRecord

FindText = Callable[[Image.Image], Sequence[tuple[float, float, float, float]]]
"""Boxes of text in an image: left, top, right, bottom in pixels."""

_KEPT = 1024
"""Pictures in memory: at most 0.1 MB each."""
_FINE = 512
"""Pixels of the shorter side at which a crop is cut out of a picture, at least."""
_FAR = 2.0
"""A window that is so many times as far off as a usual tile may be does not become the crop on a closer look."""
_FINER = 1.1
"""A crop with so many times the pixels of the place it was cut from may come from a better copy."""
_SMALL_SPOT = 0.2
"""Of the tiles: a change wider than this is no watermark."""


class Limits(Spec):
    """Where one verdict ends and the next begins. Differences are in levels of 255."""

    local: float = Field(8.0, ge=0, le=255)
    """A tile must differ more than this for the difference to lie in one place."""
    ratio: float = Field(4.0, ge=1)
    """And more than so many times the usual tile."""
    usual: float = Field(12.0, ge=0, le=255)
    """Pictures whose usual tile differs more than this are not the same, whatever their hashes say."""
    recoloured: float = Field(8.0, ge=0, le=255)
    """The same picture in other colours: what may be left once the colours are brought together."""


@dataclass(frozen=True)
class Judgement:
    """Of two images, the first with the lower number."""

    verdict: Verdict
    why: str
    text: Literal["first", "second", ""] = ""
    """Which of the two has text over it that the other has not."""
    plain: bool = False
    """Of a crop: nothing was changed in it, and the other one has as many pixels there."""


class Judge:
    """Of the images of one dataset, by their numbers. Threads may share one."""

    def __init__(self, records: Sequence[ImageRecord], limits: Limits, find_text: FindText | None = None) -> None:
        self.records = records
        self.limits = limits
        self.find_text = find_text
        self._prepared = functools.lru_cache(_KEPT)(self._prepare)
        self._small = functools.lru_cache(_KEPT)(self._open_small)
        self.same = functools.cache(self._same)

    def _same(self, i: int, j: int) -> Judgement:
        """Whether image j is image i over again, i < j."""
        first, second = self.records[i], self.records[j]
        if first.sha256 == second.sha256:
            return Judgement("duplicate", "the same bytes")
        scale = Scale.of(_size(first), _size(second))
        a, b = self._prepared(i, scale), self._prepared(j, scale)
        found = difference(a, b)
        if found.usual > self.limits.usual:
            return self._recoloured(a, b)
        if not self._is_local(found):
            return Judgement("duplicate", f"the same picture (differs by {found.usual:.1f} of 255)")
        text = self._text(i, j, found)
        if text:
            return Judgement("duplicate", "the same picture but for text over it", text)
        return Judgement("variant", f"differs in one place by {found.largest:.0f}, elsewhere by {found.usual:.1f}")

    def _recoloured(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Judgement:
        found = recoloured_difference(a, b)
        if found.usual > self.limits.recoloured:
            return Judgement("different", "")
        return Judgement("variant", f"the same picture in other colours (differs by {found.usual:.1f} beside them)")

    def crop(self, whole: int, part: int, windows: Sequence[int]) -> Judgement:
        """Whether image `part` was cut out of image `whole`, near one of these windows of it."""
        box, off = find_crop(self._small(whole), self._small(part), [WINDOWS[w] for w in windows])
        if off > _FAR * self.limits.usual:
            return Judgement("different", "")
        share = (box[2] - box[0]) * (box[3] - box[1])
        large = open_small(self.records[whole].path, _FINE)
        inside = in_pixels(large, box)
        size = (max(1, round(inside[2] - inside[0])), max(1, round(inside[3] - inside[1])))
        cut = large.resize(size, Image.Resampling.BICUBIC, box=inside)
        scale = Scale.of(size, _size(self.records[part]))
        found = difference(prepare(cut, scale), self._prepared(part, scale))
        if found.usual > self.limits.usual:
            return Judgement("different", "")
        changed = self._is_local(found)
        there = share * self.records[whole].width * self.records[whole].height
        has = self.records[part].width * self.records[part].height
        note = ", with something changed in it" if changed else ", enlarged" if has > _FINER * there else ""
        name = self.records[whole].path.name
        return Judgement("near", f"a crop of {name}: {share:.0%} of its area{note}", plain=not note)

    def _is_local(self, found: Difference) -> bool:
        return found.local(self.limits.local, self.limits.ratio)

    def _text(self, i: int, j: int, found: Difference) -> Literal["first", "second", ""]:
        """Which of two images has text where they differ; empty where both have, none has, or nobody looks."""
        changed = found.changed(self.limits.local, self.limits.ratio)
        if self.find_text is None or changed.mean() > _SMALL_SPOT:
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

    def _prepare(self, number: int, scale: Scale) -> NDArray[np.uint8]:
        return prepare(open_small(self.records[number].path, 2 * CANVAS), scale)

    def _open_small(self, number: int) -> Image.Image:
        image = open_small(self.records[number].path, SMALL)
        image.thumbnail((SMALL, SMALL), Image.Resampling.BICUBIC)
        return image


def _size(record: ImageRecord) -> tuple[int, int]:
    return record.width, record.height
