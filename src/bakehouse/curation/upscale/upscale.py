"""`dataset upscale`: images that their bucket would blow up get real detail instead."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Warned
from bakehouse.core.files import atomic_path, cache_dir, key_of
from bakehouse.core.model_catalogue import model_path
from bakehouse.core.settings import Spec
from bakehouse.curation.animated_images import still_images
from bakehouse.curation.changeset import Edit, Proposal
from bakehouse.curation.image_io import open_record
from bakehouse.curation.output_images import OutputNames, replace_image
from bakehouse.data.buckets import BucketSpec, Placement, assign
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image

if TYPE_CHECKING:
    from bakehouse.vision.upscalers.upscaler import Upscaler

MAX_RESTORABLE_SCALE = 4.0
"""Times; what is enlarged more than this is invented rather than restored."""
DEFAULT_UPSCALERS = {
    "photo": ("realesrgan-x4plus", "realesrgan-x4plus-ncnn"),
    "anime": ("realesrgan-x4plus-anime", "realesrgan-x4plus-anime-ncnn", "realesr-animevideo-ncnn"),
}
"""Names on the shelf, the best first; ncnn's are the same networks."""
_CACHE_VERSION = 1
"""Of what is kept: raised when the same settings come to give other pixels."""


class Upscale(Spec):
    """Enlarges what its bucket would enlarge, to the size that the bucket needs and no further."""

    model: str = "auto"
    """anime, photo, a name on the shelf, or a file (.pth, .safetensors, ncnn's .bin). A filter that does not enlarge
    is run over every image. auto: the one for photos if it is on this machine, else the one for anime."""
    before: str = ""
    """A filter that does not enlarge, against JPEG noise for example, run before the upscaler: a name or a file."""
    resolution: int = Field(512, ge=64, le=4096)
    """What will be trained at: decides what each image's bucket needs."""
    least: Annotated[float, Field(ge=1, le=4)] = 1.05
    """What a bucket enlarges less than this is left to it."""
    tile: Annotated[int, Field(ge=128, le=4096)] = 256
    """Longest side of the pieces that are computed at once, pixels."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each image that is too small.

        Raises:
            UsageError: no upscaler is on this machine, or the file is none.
        """
        net, filters = self._open()
        names = OutputNames(images)
        yield Noted(message=f"{net.path.name}: {net.architecture}, x{net.scale}")
        still = yield from still_images(images)
        for record, placement in zip(still, self.placements(still), strict=True):
            name, size = images.name(record.path), (record.width, record.height)
            target = placement.resized if net.scale > 1 else size
            if net.scale > 1 and placement.scale <= self.least:
                continue
            if placement.scale > MAX_RESTORABLE_SCALE:
                yield Warned(
                    message=f"{name} would be enlarged x{placement.scale:.1f}: find a larger copy, or leave it out"
                )
            step = f"x{placement.scale:.2f} for its bucket, {target[0]} x {target[1]}" if net.scale > 1 else "filtered"
            why = f"{size[0]} x {size[1]} pixels: {step}, by {net.path.stem}"
            yield Proposal(name, why, partial(self._make, record, images, names.claim(record), target, net, filters))

    def placements(self, images: ImageSet) -> list[Placement]:
        """How each image comes into its bucket."""
        return assign([(r.width, r.height) for r in images], BucketSpec(resolution=self.resolution))

    def _make(
        self,
        record: ImageRecord,
        images: ImageSet,
        to: PurePosixPath,
        size: tuple[int, int],
        net: Upscaler,
        filters: Upscaler | None,
    ) -> list[Edit]:
        """The enlarged image; one that was made before, by a command that was stopped perhaps, is taken as it is."""
        from bakehouse.curation.upscale.upscale_image import run_network, upscale_to_size

        used = [n.sha256 for n in (filters, net) if n is not None]
        kept = cache_dir("upscaled", f"{key_of(_CACHE_VERSION, record.sha256, used, size, self.tile)}.png")
        if kept.is_file():
            made = open_image(kept, mode="RGBA" if record.has_alpha else "RGB")
            return replace_image(record, images, to, made)
        image = open_record(record)
        if filters is not None:
            image = run_network(image, filters)
        image = upscale_to_size(image, net, net.scale, size)
        with atomic_path(kept) as temporary:
            image.save(temporary, "PNG", compress_level=1)
        return replace_image(record, images, to, image)

    def _open(self) -> tuple[Upscaler, Upscaler | None]:
        from bakehouse.vision.upscalers.upscaler import Upscaler

        net = Upscaler(upscaler_path(self.model), tile=self.tile)
        filters = Upscaler(model_path(self.before, "upscaler"), tile=self.tile) if self.before else None
        if filters is not None and filters.scale != 1:
            raise UsageError(
                f"before = {self.before}: it enlarges x{filters.scale}, and only filters can go before",
                hint=f"--model {self.before} upscales with it",
            )
        return net, filters


def upscaler_path(name: str) -> Path:
    """The file of an upscaler: `anime`, `photo`, `auto`, a name on the shelf, or a path.

    Raises:
        UsageError: it is not on this machine; says how to have it.
    """
    words = {"auto": (*DEFAULT_UPSCALERS["photo"], *DEFAULT_UPSCALERS["anime"]), **DEFAULT_UPSCALERS}
    for known in words.get(name, (name, f"{name}-ncnn")):
        try:
            return model_path(known, "upscaler")
        except UsageError:
            continue
    if name not in words:
        return model_path(name, "upscaler")  # says what is wrong with it
    ours = " or ".join(names[1] for kind, names in DEFAULT_UPSCALERS.items() if name in ("auto", kind))
    raise UsageError(
        f"no upscaler for {name!r} is on this machine",
        hint=f"bakehouse models fetch {ours}; or --model FILE with one of yours (.pth, .safetensors)",
    )
