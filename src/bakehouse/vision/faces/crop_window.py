"""Where a bucket's crop goes when the face must stay in: as near to the middle as it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bakehouse.data.buckets import Placement, Size
from bakehouse.vision.faces.face import Box, Face

ROOM_ABOVE, ROOM_BELOW, ROOM_BESIDE = 0.5, 0.25, 0.25
"""Of the face's height: what belongs to it beside the box, hair most of all."""


def crop_around_face(placement: Placement, size: Size, faces: Sequence[Face]) -> Placement:
    """The placement with its crop moved along so that the main face is inside; the same one where it is inside already.

    Args:
        placement: of the image, its crop in the middle.
        size: width and height of the image in pixels.
        faces: in pixels of the image, the main one first; without any, the crop stays in the middle.
    """
    if not faces:
        return placement
    left, top, right, bottom = head_box(faces[0])
    spans = ((left, right), (top, bottom))
    corner = []
    for axis, (low, high) in enumerate(spans):
        ratio = placement.resized[axis] / size[axis]
        corner.append(
            _nearest_window(
                placement.crop_box[axis], placement.bucket[axis], placement.resized[axis], low * ratio, high * ratio
            )
        )
    x, y = corner
    return replace(placement, crop_box=(x, y, x + placement.bucket[0], y + placement.bucket[1]))


def head_box(face: Face) -> Box:
    """The face with its hair: left, top, right, bottom."""
    left, top, right, bottom = face.box
    unit = face.height
    return (left - ROOM_BESIDE * unit, top - ROOM_ABOVE * unit, right + ROOM_BESIDE * unit, bottom + ROOM_BELOW * unit)


def crop_cuts_face(placement: Placement, size: Size, faces: Sequence[Face]) -> bool:
    """Whether the crop takes something of the main face's own box away."""
    if not faces:
        return False
    across, down = placement.resized[0] / size[0], placement.resized[1] / size[1]
    left, top, right, bottom = faces[0].box
    x0, y0, x1, y1 = placement.crop_box
    clipped = max(left, 0) * across < x0 - 1 or max(top, 0) * down < y0 - 1
    return clipped or min(right, size[0]) * across > x1 + 1 or min(bottom, size[1]) * down > y1 + 1


def _nearest_window(start: int, side: int, whole: int, low: float, high: float) -> int:
    """The start of a window of `side` nearest to `start` that holds low..high; its middle where that is too long."""
    low, high = max(low, 0.0), min(high, float(whole))
    wanted = (low + high - side) / 2 if high - low > side else min(max(start, high - side), low)
    return min(max(0, round(wanted)), whole - side)
