"""Image augmentation: random crops and colour changes, each a pure function of the file and the variation's number.

Variation 3 of a file is the same in every run, with any number of threads, so encoded variations can be cached.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field, model_validator

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.setting_needs import Needs, is_on, other_than
from bakehouse.core.settings import Spec
from bakehouse.data.buckets import Placement, fit, unchanged_placement
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.masks import load_mask

Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels of the upright image."""

FACE_JITTER = 0.05
"""Largest offset of a face crop from the centre, as a share of the face's side, as in kohya's trainer."""
HUE_AT_ONE = 0.1
"""Largest change of the hue at color = 1, in turns."""
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


class AugmentSpec(Spec):
    """Random changes of an image each time it is shown, besides data.flip. All off by default."""

    random_crop: bool = False
    """Crop each image at a random position instead of the centre."""
    zoom: Annotated[float, Field(ge=1, le=4), Needs(is_on("random_crop"), refused=True)] = 1.0
    """Random crops are enlarged up to this factor; 1 shows as much of the image as its bucket can."""
    face_crop: tuple[Annotated[float, Field(ge=1, le=20)], Annotated[float, Field(ge=1, le=20)]] | None = None
    """Crop around the face: the crop's shorter side is [least, most] times the face's longer one (kohya's
    face_crop_aug_range). The face is the `face` box in metadata.jsonl, kohya's `_cx_cy_w_h` at the end of the file
    name, or the white area of the mask."""
    color: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strength of random changes of hue, saturation and brightness; 0.1 is mild (about kohya's color_aug)."""
    variants: Annotated[
        Annotated[int, Field(ge=1, le=64)] | None,
        Needs(is_on("random_crop"), is_on("face_crop"), is_on("color")),
        Needs(other_than("data.cache", "none")),
    ] = None
    """Number of variations of each image that are encoded and cached, the first without changes. Default: a new
    variation each time, which needs data.cache = 'none'."""

    @model_validator(mode="after")
    def _ordered(self) -> AugmentSpec:
        if self.face_crop and self.face_crop[0] > self.face_crop[1]:
            raise ValueError(f"face_crop = {list(self.face_crop)}: the least must not be above the most")
        return self

    @property
    def on(self) -> bool:
        """Whether any augmentation is on."""
        return self.random_crop or self.face_crop is not None or self.color > 0

    def vary(self, record: ImageRecord, placement: Placement, number: int) -> Variation:
        """Return variation `number` of an image; 0 is the image without changes."""
        if number == 0 or not self.on:
            return Variation(placement)
        rng = random.Random(f"variation/{record.sha256}/{number}")
        # All are drawn always, so that one setting does not change the random numbers of another.
        scale, across, down, hue, saturation, gamma = (rng.random() for _ in range(6))
        moved = self._placed(record, placement, scale, (across, down))
        if not self.color:
            return Variation(moved)
        return Variation(
            moved,
            hue=self.color * HUE_AT_ONE * (2 * hue - 1),
            saturation=1 + self.color * (2 * saturation - 1),
            gamma=2 ** (self.color * (2 * gamma - 1) / 2),
        )

    def _placed(self, record: ImageRecord, placement: Placement, at: float, position: tuple[float, float]) -> Placement:
        box = face_box(record) if self.face_crop else None
        if box is not None:
            return self._around(box, record, placement, at, position)
        if not self.random_crop:
            return placement
        size = (record.width, record.height)
        resized = _scaled(size, placement.scale * self.zoom**at, placement.bucket)
        left, top = (int(u * (r - b + 1)) for u, r, b in zip(position, resized, placement.bucket, strict=True))
        return Placement.of_crop(size, placement.bucket, resized, left, top)

    def _around(
        self, box: Box, record: ImageRecord, placement: Placement, at: float, position: tuple[float, float]
    ) -> Placement:
        """A crop around the face; the image is not enlarged beyond its own pixels for it."""
        assert self.face_crop is not None
        least, most = self.face_crop
        bucket, size = placement.bucket, (record.width, record.height)
        wanted = min(bucket) / (max(box[2:]) * (least + at * (most - least)))
        resized = _scaled(size, max(placement.scale, min(wanted, 1.0)), bucket)
        corner = []
        for axis in (0, 1):
            ratio = resized[axis] / size[axis]
            side = box[axis + 2] * ratio
            room = max(0.0, bucket[axis] - side) / 2 if self.random_crop else FACE_JITTER * side
            middle = (box[axis] + box[axis + 2] / 2) * ratio + (2 * position[axis] - 1) * room
            corner.append(min(max(0, round(middle - bucket[axis] / 2)), resized[axis] - bucket[axis]))
        return Placement.of_crop(size, bucket, resized, *corner)


@dataclass(frozen=True)
class Variation:
    """One variation of an image: crop and colour changes."""

    placement: Placement
    hue: float = 0.0
    """In turns."""
    saturation: float = 1.0
    gamma: float = 1.0

    @property
    def colours(self) -> tuple[float, float, float] | None:
        """Hue, saturation and gamma, or None if the colours are unchanged."""
        settings = (self.hue, self.saturation, self.gamma)
        return None if settings == (0.0, 1.0, 1.0) else settings

    def apply(self, image: Image.Image, *, flip: bool = False) -> Image.Image:
        """Return the variation of an upright RGB image, in the size of its bucket."""
        image = fit(image, self.placement)
        if self.colours:
            image = adjust_color(image, *self.colours)
        return ImageOps.mirror(image) if flip else image

    def sizes(self, record: ImageRecord, *, flip: bool = False) -> tuple[int, int, int, int, int, int]:
        """Return SDXL's size conditioning: original height and width, crop top and left, target height and width.

        In a mirrored image the left edge is the original's right one.
        """
        left, top, right, _ = self.placement.crop_box
        width, height = self.placement.bucket
        return record.height, record.width, top, self.placement.resized[0] - right if flip else left, height, width


def adjust_color(image: Image.Image, hue: float, saturation: float, gamma: float) -> Image.Image:
    """Return an RGB image with hue shifted (in turns), saturation multiplied and values raised to the power `gamma`.

    Hue and saturation are one linear map in YIQ, which keeps luma; 8-bit HSV would give banding in smooth areas.
    """
    c, s = saturation * math.cos(math.tau * hue), saturation * math.sin(math.tau * hue)
    rotation = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.linalg.inv(_TO_YIQ) @ rotation @ _TO_YIQ
    image = image.convert("RGB", tuple(np.pad(matrix, ((0, 0), (0, 1))).ravel().tolist()))
    table = [round(255 * (v / 255) ** gamma) for v in range(256)]
    return image.point(table * 3)


def face_box(record: ImageRecord) -> Box | None:
    """Return the face from the metadata, the file name or the mask, in this order; None if none of them has it."""
    return _from_metadata(record) or _from_name(record) or _from_mask(record)


def images_without_face(records: Sequence[ImageRecord]) -> Iterator[ImageRecord]:
    """Return the images for which `face_crop` knows no face."""
    return (record for record in records if face_box(record) is None)


def _scaled(size: tuple[int, int], scale: float, bucket: tuple[int, int]) -> tuple[int, int]:
    width, height = (max(b, round(side * scale)) for side, b in zip(size, bucket, strict=True))
    return width, height


def _from_name(record: ImageRecord) -> Box | None:
    """Kohya's file names: `girl_0512_0300_0200_0220.png` has a face of 200 x 220 around (512, 300)."""
    found = re.search(r"_(\d+)_(\d+)_(\d+)_(\d+)$", record.path.stem)
    if not found:
        return None
    x, y, width, height = map(float, found.groups())
    return (x - width / 2, y - height / 2, width, height) if width and height else None


def _from_metadata(record: ImageRecord) -> Box | None:
    """`"face": [left, top, width, height]` in the image's row of metadata.jsonl, in its folder or the parent."""
    for folder in (record.path.parent, record.path.parent.parent):
        path = folder / "metadata.jsonl"
        if path.is_file():
            name = record.path.relative_to(folder).as_posix()
            return _faces(path, path.stat().st_mtime_ns).get(name)
    return None


@lru_cache(maxsize=64)
def _faces(path: Path, changed: int) -> dict[str, Box]:
    faces: dict[str, Box] = {}
    for line in path.read_text("utf-8-sig").splitlines():
        row: Any = parse_json(line) if line.strip() else {}
        face = row.get("face") if isinstance(row, dict) else None
        if isinstance(face, list) and len(face) == 4 and face[2] > 0 and face[3] > 0:
            faces[str(row.get("file_name", "")).removeprefix("./")] = (*map(float, face),)  # type: ignore[assignment]
    return faces


@lru_cache(maxsize=4096)
def _from_mask(record: ImageRecord) -> Box | None:
    if record.mask is None:
        return None
    mask = load_mask(record, unchanged_placement((record.width, record.height)))
    rows, columns = (np.flatnonzero((mask > 0.5).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1
