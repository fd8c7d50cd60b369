"""Move a bucket's crop so that it contains the face, as close to the centre as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bakehouse.data.buckets import Placement, Size
from bakehouse.vision.faces.face import Box, Face

ROOM_ABOVE, ROOM_BELOW, ROOM_BESIDE = 0.5, 0.25, 0.25
"""Margins around the face box, in face heights, mostly for the hair."""


def crop_around_face(placement: Placement, size: Size, faces: Sequence[Face]) -> Placement:
    """Return the placement with its crop moved as little as needed to contain the main face.

    Args:
        placement: the image's placement with a centred crop.
        size: width and height of the image in pixels.
        faces: in pixels of the image, the main one first; without faces the crop stays centred.
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
    """Return the box of the face with its hair: left, top, right, bottom."""
    left, top, right, bottom = face.box
    unit = face.height
    return (left - ROOM_BESIDE * unit, top - ROOM_ABOVE * unit, right + ROOM_BESIDE * unit, bottom + ROOM_BELOW * unit)


def crop_cuts_face(placement: Placement, size: Size, faces: Sequence[Face]) -> bool:
    """Return whether the crop cuts into the main face's box (without margins)."""
    if not faces:
        return False
    across, down = placement.resized[0] / size[0], placement.resized[1] / size[1]
    left, top, right, bottom = faces[0].box
    x0, y0, x1, y1 = placement.crop_box
    clipped = max(left, 0) * across < x0 - 1 or max(top, 0) * down < y0 - 1
    return clipped or min(right, size[0]) * across > x1 + 1 or min(bottom, size[1]) * down > y1 + 1


def _nearest_window(start: int, side: int, whole: int, low: float, high: float) -> int:
    """Return the start, nearest to `start`, of a window of `side` that holds low..high or, if too long, its middle."""
    low, high = max(low, 0.0), min(high, float(whole))
    wanted = (low + high - side) / 2 if high - low > side else min(max(start, high - side), low)
    return min(max(0, round(wanted)), whole - side)
