"""Quality measures of a mask and the limits within which it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.optional_imports import import_optional

Floats = npt.NDArray[np.float32]

CREDIBLE_AREA = (0.03, 0.97)
"""Credible share of the image that is subject."""
MAX_GREY_INSIDE = 0.10
"""Share of grey pixels inside the subject from which the network is unsure."""
MIN_LARGEST_PIECE = 0.90
"""Least share of the mask in one connected piece."""
MIN_AGREEMENT = 0.85
"""Least intersection over union with a second network's mask."""
_MEASURED_SIDE = 640
_EDGE = 8


@dataclass(frozen=True)
class MaskQuality:
    """Measures of a mask, 0..1."""

    area: float
    """Share of the image that is subject."""
    grey_inside: float
    """Share of grey pixels at least 8 pixels inside the subject (measured at 640 pixels)."""
    largest: float
    """Share of the subject in its largest connected piece."""
    holes: float
    """Enclosed area divided by the subject's area."""
    agreement: float | None = None
    """Intersection over union with a second mask."""

    @property
    def unsure(self) -> bool:
        """Whether the network was unsure."""
        return self.grey_inside >= MAX_GREY_INSIDE

    @property
    def problems(self) -> list[str]:
        """Reasons not to trust the mask, each with its value and limit; empty if it can be used."""
        found = []
        if not CREDIBLE_AREA[0] <= self.area <= CREDIBLE_AREA[1]:
            found.append(f"it covers {self.area:.0%} of the image (allowed: 3 to 97 %)")
        if self.unsure:
            found.append(f"{self.grey_inside:.0%} of its inside is grey (limit: 10 %)")
        if self.largest <= MIN_LARGEST_PIECE:
            found.append(f"its largest piece is {self.largest:.0%} of it (required: over 90 %)")
        if self.agreement is not None and self.agreement < MIN_AGREEMENT:
            found.append(f"two networks agree on {self.agreement:.0%} of it (required: 85 %)")
        return found

    def __str__(self) -> str:
        agreed = "" if self.agreement is None else f", two networks agree on {self.agreement:.0%}"
        return f"{self.area:.0%} of the image, {self.grey_inside:.0%} grey inside{agreed}"


def measure_mask(mask: Floats, second: Floats | None = None) -> MaskQuality:
    """Measure a mask [h, w] in 0..1, and its agreement with a second mask of the same size."""
    cv2 = import_optional("cv2", "checking masks")
    small = _small(mask)
    subject = (small > 0.5).astype(np.uint8)
    total = int(subject.sum())
    count, _, stats, _ = cv2.connectedComponentsWithStats(subject, connectivity=8)
    largest = int(stats[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0
    filled = _filled(subject, cv2)
    inner = cv2.erode(_filled((small > 0.05).astype(np.uint8), cv2), np.ones((2 * _EDGE + 1,) * 2, np.uint8)) > 0
    return MaskQuality(
        area=float(subject.mean()),
        grey_inside=_share(int(((small > 0.1) & (small < 0.9) & inner).sum()), int(inner.sum())),
        largest=_share(largest, total),
        holes=_share(int(filled.sum()) - total, total),
        agreement=None if second is None else iou(mask, second),
    )


def iou(a: Floats, b: Floats) -> float:
    """Return the intersection over union of two masks, thresholded at one half; 1 for two empty ones."""
    one, other = a > 0.5, b > 0.5
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def _small(mask: Floats) -> Floats:
    height, width = mask.shape
    ratio = min(1.0, _MEASURED_SIDE / max(height, width))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BOX))


def _filled(subject: npt.NDArray[np.uint8], cv2: Any) -> npt.NDArray[np.uint8]:
    """Return the subject with its holes filled."""
    outside = np.pad(subject, 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    inside: npt.NDArray[np.uint8] = (outside[1:-1, 1:-1] != 2).astype(np.uint8)
    return inside


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
