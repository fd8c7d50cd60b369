"""Whether a mask can be trusted: five figures, each with its limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.optional_imports import import_optional

Floats = npt.NDArray[np.float32]

AREA = (0.03, 0.97)
"""Of the image."""
GREY_INSIDE = 0.10
"""Of the inside: more means the network could not make up its mind."""
LARGEST = 0.90
"""Of the mask, at least, in one piece."""
AGREEMENT = 0.85
"""Intersection over union with a second network's mask, at least."""
_LOOK = 640
_EDGE = 8


@dataclass(frozen=True)
class Quality:
    """What a mask looks like in figures, all of them shares of 1."""

    area: float
    """Of the image that is subject."""
    grey_inside: float
    """Of what lies 8 pixels and more inside (at 640 pixels) that is not surely subject."""
    largest: float
    """Of the subject that is its largest piece."""
    holes: float
    """Area that the subject encloses, by its own."""
    agreement: float | None = None
    """Intersection over union with a second mask."""

    @property
    def unsure(self) -> bool:
        """Whether the network could not make up its mind."""
        return self.grey_inside >= GREY_INSIDE

    @property
    def problems(self) -> list[str]:
        """What is wrong with the mask, each with its figure and its limit; empty if it can be used."""
        found = []
        if not AREA[0] <= self.area <= AREA[1]:
            found.append(f"covers {self.area:.0%} of the image (3 to 97 % are credible)")
        if self.unsure:
            found.append(f"grey on {self.grey_inside:.0%} of its inside (under 10 % is sure)")
        if self.largest <= LARGEST:
            found.append(f"its largest piece is {self.largest:.0%} of it (over 90 % is one subject)")
        if self.agreement is not None and self.agreement < AGREEMENT:
            found.append(f"two networks agree on {self.agreement:.0%} of it (85 % or more are credible)")
        return found

    def __str__(self) -> str:
        agreed = "" if self.agreement is None else f", two networks agree on {self.agreement:.0%}"
        return f"{self.area:.0%} of the image, {self.grey_inside:.0%} grey inside{agreed}"


def quality(mask: Floats, second: Floats | None = None) -> Quality:
    """Figures of a mask [h, w] in 0..1, and of its agreement with another of the same size."""
    cv2 = import_optional("cv2", "checking masks")
    small = _small(mask)
    subject = (small > 0.5).astype(np.uint8)
    total = int(subject.sum())
    count, _, stats, _ = cv2.connectedComponentsWithStats(subject, connectivity=8)
    largest = int(stats[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0
    filled = _filled(subject, cv2)
    inner = cv2.erode(_filled((small > 0.05).astype(np.uint8), cv2), np.ones((2 * _EDGE + 1,) * 2, np.uint8)) > 0
    return Quality(
        area=float(subject.mean()),
        grey_inside=_share(int(((small > 0.1) & (small < 0.9) & inner).sum()), int(inner.sum())),
        largest=_share(largest, total),
        holes=_share(int(filled.sum()) - total, total),
        agreement=None if second is None else iou(mask, second),
    )


def iou(a: Floats, b: Floats) -> float:
    """Intersection over union of two masks, each taken as subject above one half; 1 for two empty ones."""
    one, other = a > 0.5, b > 0.5
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def _small(mask: Floats) -> Floats:
    height, width = mask.shape
    ratio = min(1.0, _LOOK / max(height, width))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BOX))


def _filled(subject: npt.NDArray[np.uint8], cv2: Any) -> npt.NDArray[np.uint8]:
    """The subject with what it encloses: all that background cannot reach from the edge."""
    outside = np.pad(subject, 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    inside: npt.NDArray[np.uint8] = (outside[1:-1, 1:-1] != 2).astype(np.uint8)
    return inside


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
