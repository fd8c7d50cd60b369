"""`dataset upscale`: enlarge images by a network where their bucket would only interpolate them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated

from PIL import Image
from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Warned
from bakehouse.core.files import atomic_path, cache_dir, key_of
from bakehouse.core.model_catalogue import model_path
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.open_records import open_record
from bakehouse.curation.output_images import OutputNames, replace_image
from bakehouse.curation.skip_animated import still_images
from bakehouse.data.buckets import BucketSpec, Placement, assign
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image
from bakehouse.vision.upscalers.find_upscaler import upscaler_path

if TYPE_CHECKING:
    from bakehouse.vision.upscalers.upscaler import Upscaler

MAX_RESTORABLE_SCALE = 4.0
"""Enlargement factor above which detail is invented rather than restored."""
PLAIN_RESIZE = "lanczos"
"""The name of enlarging without a network."""
NO_UPSCALER = "none"
"""The name of no enlarging at all."""
_CACHE_VERSION = 1
"""Version of the cached results; increased when the same settings give other pixels."""


class Upscale(Spec):
    """Settings of `dataset upscale`: enlarge images to the size that their bucket needs."""

    model: str = "auto"
    """anime, photo, the name of an installed model, or a file (.pth, .safetensors, ncnn's .bin). A filter of scale 1 is
    applied to every image. auto: the installed photo model, else the anime model. lanczos: enlarged without a network.
    none: not enlarged, for a repair alone."""
    before: str = ""
    """A filter of scale 1 to apply before the upscaler, for example against JPEG noise: a name or a file."""
    resolution: int = Field(512, ge=64, le=4096)
    """Training resolution, which determines the size that each image's bucket needs."""
    least: Annotated[float, Field(ge=1, le=4)] = 1.05
    """Images that their bucket enlarges by less than this factor stay unchanged."""
    tile: Annotated[int, Field(ge=128, le=4096)] = 256
    """Longest side in pixels of the tiles that the network processes."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to upscale each image that is too small.

        Raises:
            UsageError: no upscaler is installed, or the file is not one.
        """
        if self.model == NO_UPSCALER and not self.finish_label():
            raise UsageError(
                f"model = {self.model} enlarges nothing",
                hint="it is for a repair alone: --img2img 0.2 --with RUN; lanczos enlarges without a network",
            )
        net, prefilter = self._load()
        names = OutputNames(images)
        if net is not None:
            yield Noted(message=f"{net.path.name}: {net.architecture}, x{net.scale}")
        enlarges = self.model != NO_UPSCALER and (net is None or net.scale > 1)
        still = yield from still_images(images)
        for record, placement in zip(still, self.placements(still), strict=True):
            name, size = images.name(record.path), (record.width, record.height)
            target = placement.resized if enlarges else size
            if enlarges and placement.scale <= self.least:
                continue
            if enlarges and placement.scale > MAX_RESTORABLE_SCALE:
                yield Warned(
                    message=f"{name} would be enlarged x{placement.scale:.1f}: find a larger copy, or remove it"
                )
            step = f"x{placement.scale:.2f} for its bucket, {target[0]} x {target[1]}, " if enlarges else ""
            by = f"by {net.path.stem if net is not None else self.model}" if self.model != NO_UPSCALER else ""
            filtered = "filtered, " if net is not None and not enlarges else ""
            done = ", ".join(filter(None, (f"{step}{filtered}{by}".removesuffix(", "), self.finish_label())))
            why = f"{size[0]} x {size[1]} pixels: {done}"
            yield Proposal(name, why, partial(self._make, record, images, names.claim(record), target, net, prefilter))

    def placements(self, images: ImageSet) -> list[Placement]:
        """Return the bucket placement of each image."""
        return assign([(r.width, r.height) for r in images], BucketSpec(resolution=self.resolution))

    def finish_label(self) -> str:
        """Return what `finish` does, for the reason of a proposal; empty: nothing."""
        return ""

    def finish(self, record: ImageRecord, image: Image.Image) -> Image.Image:
        """Return the image that is written, from the enlarged one; called from one of several threads."""
        return image

    def _make(
        self,
        record: ImageRecord,
        images: ImageSet,
        to: PurePosixPath,
        size: tuple[int, int],
        net: Upscaler | None,
        prefilter: Upscaler | None,
    ) -> list[Edit]:
        return replace_image(record, images, to, self.finish(record, self._enlarged(record, size, net, prefilter)))

    def _enlarged(
        self, record: ImageRecord, size: tuple[int, int], net: Upscaler | None, prefilter: Upscaler | None
    ) -> Image.Image:
        """Return the upscaled image, which is cached, so that an interrupted command resumes."""
        if net is None:
            image = open_record(record)
            return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)

        from bakehouse.vision.upscalers.upscale_image import run_network, upscale_to_size

        used = [n.sha256 for n in (prefilter, net) if n is not None]
        kept = cache_dir("upscaled", f"{key_of(_CACHE_VERSION, record.sha256, used, size, self.tile)}.png")
        if kept.is_file():
            return open_image(kept, mode="RGBA" if record.has_alpha else "RGB")
        image = open_record(record)
        if prefilter is not None:
            image = run_network(image, prefilter)
        image = upscale_to_size(image, net, net.scale, size)
        with atomic_path(kept) as temporary:
            image.save(temporary, "PNG", compress_level=1)
        return image

    def _load(self) -> tuple[Upscaler | None, Upscaler | None]:
        if self.model in (PLAIN_RESIZE, NO_UPSCALER):
            if self.before:
                raise UsageError(
                    f"model = {self.model} is not a network, and before = {self.before} runs before one",
                    hint=f"to filter alone, use --model {self.before}",
                )
            return None, None

        from bakehouse.vision.upscalers.upscaler import Upscaler

        net = Upscaler(upscaler_path(self.model), tile=self.tile)
        prefilter = Upscaler(model_path(self.before, "upscaler"), tile=self.tile) if self.before else None
        if prefilter is not None and prefilter.scale != 1:
            raise UsageError(
                f"before = {self.before} is an upscaler (x{prefilter.scale}); only filters of scale 1 can run first",
                hint=f"to upscale with it, use --model {self.before}",
            )
        return net, prefilter
