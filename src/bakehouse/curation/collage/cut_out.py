"""Cut-outs: the subject of an image by its mask or alpha channel, and at which sides the image cuts it off."""

from __future__ import annotations

import io
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress, Warned
from bakehouse.core.message_text import listed
from bakehouse.core.optional_imports import import_optional
from bakehouse.curation.masks.make_masks import Mask, MaskMaker
from bakehouse.curation.open_records import open_on_white, skip_warning
from bakehouse.curation.output_images import encode_png
from bakehouse.curation.skip_animated import still_images
from bakehouse.data.captions import split_tags
from bakehouse.data.context_tags import context_of
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.masks import check_mask_shape
from bakehouse.data.open_image import ImageError, open_image
from bakehouse.data.provenance import read_provenance
from bakehouse.data.tag_groups import plain

Floats = npt.NDArray[np.float32]
Side = Literal["left", "top", "right", "bottom"]

MIN_PIECE = 0.25
"""Pieces of a mask that are smaller than this share of its largest one are not of the subject: a sun, a window."""
CUT_SHARE = 0.02
"""A subject that covers more than this share of an edge of its image continues beyond it."""
MIN_CUT = 2
"""Least number of pixels of an edge."""
SUBJECT = 128
"""Grey value of a mask from which a pixel is subject."""
RIM = 1.5
"""Pixels at the edge of a cut-out whose colours are mixed with the old background, per 512 pixels of the image."""


@dataclass(frozen=True)
class CutOut:
    """The subject of one image; its pixels are read when they are needed."""

    record: ImageRecord
    name: str
    """Of the image, relative to its dataset."""
    mask: bytes
    """PNG of a grey image of the image's size: 255 is subject."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom of the subject in its image, in pixels."""
    cut: frozenset[Side]
    """Sides at which the edge of the image cuts the subject off."""

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        return self.box[3] - self.box[1]

    @property
    def relative_height(self) -> float:
        """Height of the subject as a share of its image's."""
        return self.height / self.record.height

    @property
    def framing(self) -> str:
        """How much of the subject is in the image, by which cut-outs are paired: its tag, else `whole` or `part`."""
        tags = [tag for line in self.record.captions[:1] for tag in split_tags(line)]
        named = next((plain(tag) for tag in tags if context_of(tag) == "framing"), "")
        return named or ("part" if "bottom" in self.cut else "whole")

    @property
    def unusable(self) -> str:
        """Why a collage would show a straight cut of the subject; empty if it would not."""
        if {"left", "right"} <= self.cut:
            return "cut off at both sides"
        return "cut off at the top alone" if "top" in self.cut and "bottom" not in self.cut else ""

    def load(self) -> Image.Image:
        """Return the cut-out as RGBA, as large as the subject, without the old background's colours at its edge.

        Raises:
            ImageError: the file can no longer be read.
        """
        image = open_image(self.record.path)
        alpha = Image.open(io.BytesIO(self.mask)).convert("L")
        return clean_edge(image, alpha).crop(self.box)


def find_cut_outs(images: ImageSet, masks: Mask) -> Generator[Event, None, list[CutOut]]:
    """Return the usable cut-outs of a dataset: by mask files or alpha, else by `masks`; yield warnings of the others.

    Images that were composed themselves are left out.

    Raises:
        UsageError: no image has a mask, and none can be made.
    """
    own = [record for record in (yield from still_images(images)) if not _is_composed(record)]
    missing = sum(record.mask is None and not record.has_alpha for record in own)
    maker = _load(masks, images, missing, len(own))
    found: list[CutOut] = []
    left_out: dict[str, list[str]] = {}
    for done, record in enumerate(own, 1):
        name = str(images.name(record.path))
        try:
            alpha = _alpha(record, maker)
        except ImageError as error:
            yield skip_warning(images.name(record.path), error)
            continue
        cut = _measured(record, name, alpha) if isinstance(alpha, Image.Image) else alpha
        if isinstance(cut, str) or cut.unusable:
            left_out.setdefault(cut if isinstance(cut, str) else cut.unusable, []).append(name)
        else:
            found.append(cut)
        yield Progress(what=f"cutting out {images.root.name}", done=done, total=len(own))
    for reason, names in left_out.items():
        yield Warned(message=f"{images.root}: not used, {reason}: {listed(names)}")
    return found


def clean_edge(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """Return an RGB image with an alpha channel; soft edge pixels get the colour of the subject beside them.

    They are mixed with the old background, which would show as a rim on another one. The mask is drawn in by as much.
    """
    rim = max(1, round(RIM * max(image.size) / 512))
    solid = alpha.filter(ImageFilter.MinFilter(2 * rim + 1)).point(lambda v: 255 if v >= 250 else 0)
    sure: Floats = np.asarray(solid, dtype=np.float32)[..., None] / np.float32(255)
    colors: Floats = np.asarray(image.convert("RGB"), dtype=np.float32)
    shown: Floats = colors * sure
    filled, known = shown, sure
    # Colours spread outwards from the subject's inside, to twice the width of the rim.
    for radius in (rim, 2 * rim, 4 * rim):
        near, weight = _blurred(shown, radius), _blurred(sure, radius)
        use = (known == 0) & (weight > 1e-3)
        filled = np.where(use, near / np.maximum(weight, 1e-3), filled)
        known = np.where(use, 1.0, known)
    rgb = np.where(known > 0, filled, colors)
    drawn_in = np.clip((np.asarray(alpha, dtype=np.float32) - 96) * (255 / 159), 0, 255)
    channels = np.concatenate([np.clip(rgb, 0, 255), drawn_in[..., None]], axis=2)
    return Image.fromarray(np.round(channels).astype(np.uint8))


def main_pieces(alpha: Image.Image) -> Image.Image:
    """Return a grey mask without the pieces that are small beside its largest one."""
    cv2 = import_optional("cv2", "cutting out")
    values = np.array(alpha)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((values >= 64).astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = [k for k in range(1, count) if areas[k] >= MIN_PIECE * areas[1:].max()]
    values[~np.isin(labels, keep)] = 0
    return Image.fromarray(values)


def _blurred(values: Floats, radius: int) -> Floats:
    """Return values [h, w, c] averaged over squares of side 2 radius + 1, by cumulative sums."""
    side = 2 * radius + 1
    padded = np.pad(values, ((radius + 1, radius), (radius + 1, radius), (0, 0)), mode="edge").astype(np.float64)
    total = padded.cumsum(axis=0).cumsum(axis=1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    means: Floats = (sums / side**2).astype(np.float32)
    return means


def _is_composed(record: ImageRecord) -> bool:
    found = read_provenance(record.path)
    return found is not None and found.origin == "composed"


def _load(masks: Mask, images: ImageSet, missing: int, count: int) -> MaskMaker | None:
    """Return what makes masks where they are missing; None where they are left out, since others have one."""
    if not missing or (missing < count and not masks.model_fields_set):
        return None
    try:
        return masks.maker()
    except UsageError as e:
        raise UsageError(
            f"{images.root}: {missing} of {count} images have no mask, and none can be made: {e.message}",
            hint=f"`bakehouse dataset mask {images.root}` makes masks; --color border cuts out of plain backgrounds",
        ) from e


def _alpha(record: ImageRecord, maker: MaskMaker | None) -> Image.Image | str:
    """Return the mask of an image in its size, or why there is none.

    Raises:
        ImageError: image or mask cannot be read, or they differ in shape.
    """
    if record.mask is not None:
        mask = open_image(record.mask, background=(0, 0, 0)).convert("L")
        check_mask_shape(record, mask)
        return mask.resize((record.width, record.height), Image.Resampling.BILINEAR)
    if record.has_alpha:
        return open_image(record.path, mode="RGBA").getchannel("A")
    if maker is None:
        return "without a mask"
    made = maker(open_on_white(record))
    return made.image() if not made.quality.problems else "without a mask that can be trusted"


def _measured(record: ImageRecord, name: str, alpha: Image.Image) -> CutOut | str:
    alpha = main_pieces(alpha)
    box = alpha.point(lambda v: 255 if v >= SUBJECT else 0).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < 8:
        return "with an empty mask"
    inside = np.asarray(alpha) >= SUBJECT
    edges: dict[Side, npt.NDArray[np.bool_]] = {
        "left": inside[:, 0], "top": inside[0], "right": inside[:, -1], "bottom": inside[-1],
    }  # fmt: skip
    cut = frozenset(side for side, edge in edges.items() if edge.sum() > max(MIN_CUT, CUT_SHARE * edge.size))
    return CutOut(record, name, encode_png(alpha), box, cut)
