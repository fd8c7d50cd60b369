"""`dataset mask`: a training mask for each image, where one can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Progress, Warned
from bakehouse.core.model_catalogue import model_path
from bakehouse.core.pluralize import counted
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.curation.colors import Colour, rgb
from bakehouse.curation.image_io import mask_name, opened_flat, tried
from bakehouse.curation.masks.color_mask import border_color, color_mask
from bakehouse.curation.masks.mask_quality import quality
from bakehouse.curation.output_images import png
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.vision.segmentation.input_formats import Normalize
from bakehouse.vision.segmentation.segmenter import Matte

Floats = npt.NDArray[np.float32]
Maker = Callable[[Image.Image], Floats]

SECONDS = ("isnet-medium", "isnet-small", "isnet-general-use", "isnet-anime", "u2net", "u2netp")
"""Who is asked for a second opinion: the first of these that is on this machine and is not the first opinion."""


ALONE = (
    "no second mask maker is on this machine, so a clean-looking wrong mask can pass; "
    "`bakehouse models fetch isnet-small` brings one"
)
UNSURE = "; the second network was unsure, and was not counted"


class Mask(Spec):
    """White is learned, black is not; an image whose mask cannot be trusted gets none and is trained whole."""

    model: str = "u2netp"
    """The mask maker: a name on the shelf, rembg's name for it, or the path of an ONNX file."""
    second: str = "auto"
    """Another one whose mask must agree, unless it is unsure of its own; auto takes one that is on this machine, none
    does without."""
    size: Annotated[int, Field(ge=16, le=8192)] | None = None
    """Side of the square that the network sees; left out, the file's or the known one."""
    normalize: Normalize = "auto"
    """Colours as the network wants them: imagenet, half (-1..1), unit (0..1); auto knows by the name."""
    color: Colour | Literal["border", ""] = ""
    """Instead of a network: the colour behind the subject (#00ff00, white), or border for that of the image's edge."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.08
    """How far a pixel may be from that colour; 1 is from black to white."""
    replace: bool = False
    """Also images that have a mask already."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each mask that can be trusted; of the others, a warning.

        Raises:
            UsageError: a mask maker, or a library, is not on this machine.
        """
        wanted = [record for record in images if self._wants(record)]
        if here := len(images) - len(wanted):
            yield Noted(message=f"{here} of {len(images)} have a mask or an alpha channel already")
        first, name = self._first()
        second = self._second() if wanted else None
        if wanted and second is None and self.second == "auto" and not self.color:
            yield Noted(message=ALONE)
        refused = 0
        for done, record in enumerate(wanted, 1):
            image = yield from tried(record, images, opened_flat)
            if image is None:
                continue
            mask = first(image)
            other = second(image) if second else None
            unsure = other is not None and quality(other).unsure
            if unsure:
                other = None  # who cannot make up its mind can neither confirm nor deny
            found = quality(mask, other)
            if found.problems:
                refused += 1
                yield Warned(message=f"{images.name(record.path)} gets no mask: it {'; '.join(found.problems)}")
            else:
                if other is not None:
                    mask = np.maximum(mask, other)  # where two agree so far, each misses parts; neither invents any
                content = png(Image.fromarray(np.round(mask * 255).astype(np.uint8)))
                make = partial(_written, Write(mask_name(record, images), content))
                why = f"a mask by {name}: {found}{UNSURE if unsure else ''}"
                yield Proposal(images.name(record.path), why, make)
            yield Progress(what="making masks", done=done, total=len(wanted))
        if refused:
            rest = "this image is" if refused == 1 else "these images are"
            asked = counted(len(wanted), "mask")
            yield Warned(message=f"{refused} of {asked} cannot be trusted; {rest} trained whole")

    def _wants(self, record: ImageRecord) -> bool:
        return not record.has_alpha and (record.mask is None or self.replace)

    def _first(self) -> tuple[Maker, str]:
        if not self.color:
            maker = Matte.open(self.model, size=self.size, normalize=self.normalize)
            return maker, maker.name
        if self.color == "border":
            return lambda image: color_mask(image, border_color(image), self.tolerance), "the edge's colour"
        color = rgb(self.color)
        return lambda image: color_mask(image, color, self.tolerance), f"the colour {self.color}"

    def _second(self) -> Maker | None:
        """Who is asked too. A colour is no guess: it needs no second opinion unless one is named."""
        if self.second == "none" or (self.second == "auto" and self.color):
            return None
        if self.second != "auto":
            return Matte.open(self.second)
        here = (name for name in SECONDS if name != self.model and _is_here(name))
        name = next(here, None)
        return Matte.open(name) if name else None


def _is_here(name: str) -> bool:
    try:
        model_path(name, "matte")
    except UsageError:
        return False
    return True


def _written(edit: Edit) -> list[Edit]:
    return [edit]
