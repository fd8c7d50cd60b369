"""Variations of an image: other crops and colours of the same picture, each a pure function of the file and a number.

Nothing of it depends on the order of work: variation 3 of a file is the same in every run, on every number of threads,
so variations can be encoded once and found again.
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

from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.core.setting_needs import Needs, is_on, other_than
from bakehouse.core.settings import Spec
from bakehouse.data.buckets import Placement, fit, unchanged_placement
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.masks import load_mask

Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels of the upright image."""

FACE_JITTER = 0.05
"""Of the face's side: a face crop is off the middle by at most so much, as in kohya's trainer."""
HUE_AT_ONE = 0.1
"""Of a whole turn: how far the hue turns at most at color = 1."""
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


class AugmentSpec(Spec):
    """What may differ between two shows of an image, beside its side (data.flip). All off by default."""

    random_crop: bool = False
    """Cut each image anywhere, not in the middle."""
    zoom: Annotated[float, Field(ge=1, le=4), Needs(is_on("random_crop"), refused=True)] = 1.0
    """Random crops come up to this much closer; 1 shows as much of the picture as its bucket can."""
    face_crop: tuple[Annotated[float, Field(ge=1, le=20)], Annotated[float, Field(ge=1, le=20)]] | None = None
    """Cut around the face: the crop's shorter side is [least, most] times the face's longer one (kohya's
    face_crop_aug_range). The face is the `face` box in metadata.jsonl, kohya's `_cx_cy_w_h` at the end of the file's
    name, or what is white in the mask."""
    color: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much hue, saturation and brightness may be off; 0.1 is gentle (about kohya's color_aug)."""
    variants: Annotated[
        Annotated[int, Field(ge=1, le=64)] | None,
        Needs(is_on("random_crop"), is_on("face_crop"), is_on("color")),
        Needs(other_than("data.cache", "none")),
    ] = None
    """Variations of each image that are encoded and kept, the first of them as it is. Left out: every show is a new
    one, which needs data.cache = 'none'."""

    @model_validator(mode="after")
    def _ordered(self) -> AugmentSpec:
        if self.face_crop and self.face_crop[0] > self.face_crop[1]:
            raise ValueError(f"face_crop = {list(self.face_crop)}: the least must not be above the most")
        return self

    @property
    def on(self) -> bool:
        """Whether two shows of an image can differ."""
        return self.random_crop or self.face_crop is not None or self.color > 0

    def vary(self, record: ImageRecord, placement: Placement, number: int) -> Variation:
        """Variation `number` of an image; 0 is the image as it is placed."""
        if number == 0 or not self.on:
            return Variation(placement)
        rng = random.Random(f"variation/{record.sha256}/{number}")
        # Each drawn in any case, so that one setting does not change what another draws.
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

    def _placed(self, record: ImageRecord, placement: Placement, at: float, where: tuple[float, float]) -> Placement:
        box = face_box(record) if self.face_crop else None
        if box is not None:
            return self._around(box, record, placement, at, where)
        if not self.random_crop:
            return placement
        size = (record.width, record.height)
        resized = _scaled(size, placement.scale * self.zoom**at, placement.bucket)
        left, top = (int(u * (r - b + 1)) for u, r, b in zip(where, resized, placement.bucket, strict=True))
        return _placement(size, placement.bucket, resized, left, top)

    def _around(
        self, box: Box, record: ImageRecord, placement: Placement, at: float, where: tuple[float, float]
    ) -> Placement:
        """A crop whose shorter side is so many times the face; never enlarged beyond the file's own pixels for it."""
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
            middle = (box[axis] + box[axis + 2] / 2) * ratio + (2 * where[axis] - 1) * room
            corner.append(min(max(0, round(middle - bucket[axis] / 2)), resized[axis] - bucket[axis]))
        return _placement(size, bucket, resized, *corner)


@dataclass(frozen=True)
class Variation:
    """How one variation of an image comes into being."""

    placement: Placement
    hue: float = 0.0
    """In turns."""
    saturation: float = 1.0
    gamma: float = 1.0

    @property
    def colours(self) -> tuple[float, float, float] | None:
        """What changes the colours, or None where nothing does."""
        settings = (self.hue, self.saturation, self.gamma)
        return None if settings == (0.0, 1.0, 1.0) else settings

    def apply(self, image: Image.Image, *, flip: bool = False) -> Image.Image:
        """The variation of an upright RGB image, as large as its bucket."""
        image = fit(image, self.placement)
        if self.colours:
            image = adjust_color(image, *self.colours)
        return ImageOps.mirror(image) if flip else image

    def sizes(self, record: ImageRecord, *, flip: bool = False) -> tuple[int, int, int, int, int, int]:
        """SDXL's conditions: original height and width, top and left of the crop in the resized picture, target's.

        A mirrored picture's left edge is the original's right one.
        """
        left, top, right, _ = self.placement.crop_box
        width, height = self.placement.bucket
        return record.height, record.width, top, self.placement.resized[0] - right if flip else left, height, width


def adjust_color(image: Image.Image, hue: float, saturation: float, gamma: float) -> Image.Image:
    """An RGB image with its hue turned (in turns), its saturation multiplied and its values to the power `gamma`.

    Hue and saturation are one linear map in YIQ, where luma stays: 8-bit HSV would leave bands in smooth skies.
    """
    c, s = saturation * math.cos(math.tau * hue), saturation * math.sin(math.tau * hue)
    turned = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.linalg.inv(_TO_YIQ) @ turned @ _TO_YIQ
    image = image.convert("RGB", tuple(np.pad(matrix, ((0, 0), (0, 1))).ravel().tolist()))
    table = [round(255 * (v / 255) ** gamma) for v in range(256)]
    return image.point(table * 3)


def face_box(record: ImageRecord) -> Box | None:
    """Where the face is: from metadata, the file's name, or the mask, in this order; None where nobody says."""
    return _from_metadata(record) or _from_name(record) or _from_mask(record)


def images_without_face(records: Sequence[ImageRecord]) -> Iterator[ImageRecord]:
    """Images that `face_crop` has nothing to go by for."""
    return (record for record in records if face_box(record) is None)


def _scaled(size: tuple[int, int], scale: float, bucket: tuple[int, int]) -> tuple[int, int]:
    width, height = (max(b, round(side * scale)) for side, b in zip(size, bucket, strict=True))
    return width, height


def _placement(
    size: tuple[int, int], bucket: tuple[int, int], resized: tuple[int, int], left: int, top: int
) -> Placement:
    return Placement(
        bucket=bucket,
        resized=resized,
        crop_box=(left, top, left + bucket[0], top + bucket[1]),
        scale=max(resized[0] / size[0], resized[1] / size[1]),
        lost_fraction=1 - (bucket[0] * bucket[1]) / (resized[0] * resized[1]),
    )


def _from_name(record: ImageRecord) -> Box | None:
    """Kohya's file names: `girl_0512_0300_0200_0220.png` has a face of 200 x 220 around (512, 300)."""
    found = re.search(r"_(\d+)_(\d+)_(\d+)_(\d+)$", record.path.stem)
    if not found:
        return None
    x, y, width, height = map(float, found.groups())
    return (x - width / 2, y - height / 2, width, height) if width and height else None


def _from_metadata(record: ImageRecord) -> Box | None:
    """`"face": [left, top, width, height]` of the image's row in metadata.jsonl, in its folder or the one above."""
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
