"""The scorer's measurements of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakehouse.evaluation.metrics import Floats


@dataclass(frozen=True)
class ScoredImages:
    """What the scorer measured on N images, in their order."""

    embeddings: Floats
    """[N, D], unit length."""
    prompt: Floats
    """Prompt scores [N]; NaN where a prompt asks for nothing that can be scored."""
    attributes: Sequence[Mapping[str, str]]
    small: Floats
    """Pixels of small copies [N, P], see `metrics.small_pixels`."""
    marks: NDArray[np.bool_] | None = None
    """Which of the subject's own marks each image shows [N, K]; None before they are looked for."""

    def first(self, count: int) -> ScoredImages:
        """Return the first `count` images."""
        return self.some(range(min(count, len(self))))

    def some(self, rows: Sequence[int]) -> ScoredImages:
        """Return the images of these numbers."""
        chosen = list(rows)
        attributes = [self.attributes[i] for i in chosen]
        marks = self.marks[chosen] if self.marks is not None else None
        return ScoredImages(self.embeddings[chosen], self.prompt[chosen], attributes, self.small[chosen], marks)

    def __len__(self) -> int:
        return len(self.embeddings)


@dataclass(frozen=True)
class ScoredSeries:
    """The three series of images of a cell: subject, class and another class."""

    subject: ScoredImages
    class_images: ScoredImages
    other: ScoredImages
