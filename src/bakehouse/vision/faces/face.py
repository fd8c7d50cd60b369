"""What a face is to those who crop and place: one box, in the same measure whoever found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the upright image."""


@dataclass(frozen=True)
class Face:
    """A face in an image."""

    box: Box
    """From the brows to the chin, about as wide as it is high."""
    score: float
    """How sure the finder is, 0..1."""

    @property
    def width(self) -> float:
        """In pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """In pixels: the unit that crops are measured in."""
        return self.box[3] - self.box[1]

    @property
    def center(self) -> tuple[float, float]:
        """Of the box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


class FaceDetector(Protocol):
    """Finds faces in one upright RGB image; may be called from several threads."""

    def __call__(self, image: Image.Image) -> list[Face]:
        """Every face, the main one first."""
        ...


def rank_faces(faces: Sequence[Face]) -> list[Face]:
    """The main face first: the largest, where a sure one counts for more than a doubtful one."""
    return sorted(faces, key=lambda f: (-f.width * f.height * f.score, f.box))
