"""`dataset mask`: make a training mask for each image, if its quality is sufficient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Progress, Warned
from bakehouse.core.message_text import counted
from bakehouse.core.model_catalogue import model_path
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.curation.colors import Color, parse_rgb
from bakehouse.curation.masks.color_mask import border_color, color_mask
from bakehouse.curation.masks.mask_quality import MaskQuality, measure_mask
from bakehouse.curation.open_records import mask_name, open_on_white, open_or_skip
from bakehouse.curation.output_images import encode_png
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.vision.segmentation.input_formats import Normalize
from bakehouse.vision.segmentation.segmenter import Segmenter

Floats = npt.NDArray[np.float32]
MaskFunction = Callable[[Image.Image], Floats]

SECOND_SEGMENTERS = ("isnet-medium", "isnet-small", "isnet-general-use", "isnet-anime", "u2net", "u2netp")
"""Candidates for the second segmenter: the first one that is installed and is not the first segmenter."""


NO_SECOND_NOTE = (
    "no second segmentation model is installed, so a wrong mask with clean edges is not noticed; "
    "`bakehouse models fetch isnet-small` installs one"
)
SECOND_UNSURE_NOTE = "; the second network was unsure and was ignored"


@dataclass(frozen=True)
class MadeMask:
    """A mask and how far it can be trusted: not if its quality has problems."""

    values: Floats
    """[height, width], 0..1."""
    quality: MaskQuality
    second_unsure: bool
    """Whether a second network was unsure and was ignored."""

    def image(self) -> Image.Image:
        """Return the mask as a grey image: white is the subject."""
        return Image.fromarray(np.round(self.values * 255).astype(np.uint8))


@dataclass(frozen=True)
class MaskMaker:
    """Makes masks by one network or colour, and compares them with those of a second network."""

    first: MaskFunction
    name: str
    second: MaskFunction | None

    def __call__(self, image: Image.Image) -> MadeMask:
        """Return the mask of an RGB image."""
        mask = self.first(image)
        other = self.second(image) if self.second else None
        unsure = other is not None and measure_mask(other).unsure
        if unsure:
            other = None  # an unsure mask neither confirms nor contradicts
        quality = measure_mask(mask, other)
        if other is not None and not quality.problems:
            mask = np.maximum(mask, other)  # masks that agree this far miss different parts, but add none
        return MadeMask(mask, quality, unsure)


class Mask(Spec):
    """Settings of `dataset mask`. White is trained, black is not. An image without a reliable mask is trained whole."""

    model: str = "u2netp"
    """Segmentation model: the name of an installed one, rembg's name for it, or the path of an ONNX file."""
    second: str = "auto"
    """Second model whose mask must agree, unless it is unsure. auto: an installed one; none: no second model."""
    size: Annotated[int, Field(ge=16, le=8192)] | None = None
    """Side of the network's square input in pixels. None: from the file, or known by name."""
    normalize: Normalize = "auto"
    """Colour normalization of the network: imagenet, half (-1..1), unit (0..1); auto: known by name."""
    color: Color | Literal["border", ""] = ""
    """Background colour (#00ff00, white) to use instead of a network; border: the colour of the image's edge."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.08
    """Largest distance of a background pixel from that colour; 1 is from black to white."""
    replace: bool = False
    """Also replace existing masks."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose each reliable mask; yield a warning for each other one.

        Raises:
            UsageError: a segmentation model or a library is not installed.
        """
        wanted = [record for record in images if self._wants(record)]
        if present := len(images) - len(wanted):
            yield Noted(message=f"{present} of {counted(len(images), 'image')} already have a mask or an alpha channel")
        maker = self.maker(second=bool(wanted))
        if wanted and maker.second is None and self.second == "auto" and not self.color:
            yield Noted(message=NO_SECOND_NOTE)
        refused = 0
        for done, record in enumerate(wanted, 1):
            image = yield from open_or_skip(record, images, open_on_white)
            if image is None:
                continue
            made = maker(image)
            if made.quality.problems:
                refused += 1
                problems = "; ".join(made.quality.problems)
                yield Warned(message=f"{images.name(record.path)}: no mask written: {problems}")
            else:
                make = partial(_as_list, Write(mask_name(record, images), encode_png(made.image())))
                why = f"mask by {maker.name}: {made.quality}{SECOND_UNSURE_NOTE if made.second_unsure else ''}"
                yield Proposal(images.name(record.path), why, make)
            yield Progress(what="making masks", done=done, total=len(wanted))
        if refused:
            rest = "this image is" if refused == 1 else "these images are"
            yield Warned(message=f"{refused} of {counted(len(wanted), 'mask')} not reliable; {rest} trained whole")

    def maker(self, *, second: bool = True) -> MaskMaker:
        """Load the networks.

        Args:
            second: whether to load the second one, if there is one.

        Raises:
            UsageError: a segmentation model or a library is not installed.
        """
        first, name = self._load_first()
        return MaskMaker(first, name, self._load_second() if second else None)

    def _wants(self, record: ImageRecord) -> bool:
        return not record.has_alpha and (record.mask is None or self.replace)

    def _load_first(self) -> tuple[MaskFunction, str]:
        if not self.color:
            segmenter = Segmenter.open(self.model, size=self.size, normalize=self.normalize)
            return segmenter, segmenter.name
        if self.color == "border":
            return lambda image: color_mask(image, border_color(image), self.tolerance), "the border colour"
        color = parse_rgb(self.color)
        return lambda image: color_mask(image, color, self.tolerance), f"colour {self.color}"

    def _load_second(self) -> MaskFunction | None:
        """Return the second segmenter, if any. Masks by colour get one only if it is named."""
        if self.second == "none" or (self.second == "auto" and self.color):
            return None
        if self.second != "auto":
            return Segmenter.open(self.second)
        here = (name for name in SECOND_SEGMENTERS if name != self.model and _is_installed(name))
        name = next(here, None)
        return Segmenter.open(name) if name else None


def _is_installed(name: str) -> bool:
    try:
        model_path(name, "matte")
    except UsageError:
        return False
    return True


def _as_list(edit: Edit) -> list[Edit]:
    return [edit]
