"""Assign images to training buckets, show what the crop removes, and propose folders by bucket."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw
from pydantic import Field

from bakehouse.core.files import write_html
from bakehouse.core.html_pages import InlineImage, inline_image, render
from bakehouse.core.settings import Spec
from bakehouse.core.thread_pool import thread_pool
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.sidecars import move_with_sidecars
from bakehouse.data.buckets import BucketSpec, Placement, Size, assign, bucket_table, bucket_warnings
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import flattened, opened, upright_srgb

THUMBNAIL_SIDE = 200
"""Longer side of the page's images in pixels."""
_SHADE = (190, 20, 40, 150)
_BUCKET_FOLDER = re.compile(r"[0-9]+x[0-9]+")
_SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class BucketFit:
    """One image with its placement in its bucket."""

    record: ImageRecord
    placement: Placement

    @property
    def lost(self) -> tuple[int, int, int, int]:
        """Pixels of the original image that the crop removes at the left, top, right and bottom."""
        p, scale = self.placement, self.placement.resized[0] / self.record.width
        left, top, right, bottom = p.crop_box
        edges = (left, top, p.resized[0] - right, p.resized[1] - bottom)
        return tuple(round(edge / scale) for edge in edges)  # type: ignore[return-value]

    @property
    def description(self) -> str:
        """`1000 x 1500 to 384 x 640, x0.43; loses 50 px left and 50 px right (10.0 %)`."""
        p = self.placement
        edges = [f"{edge} px {side}" for edge, side in zip(self.lost, _SIDES, strict=True) if edge]
        loses = f"loses {' and '.join(edges)} ({p.lost_fraction:.1%})" if edges else "loses nothing"
        return f"{self.record.width} x {self.record.height} to {bucket_name(p.bucket)}, x{p.scale:.2f}; {loses}"


def bucket_name(bucket: Size) -> str:
    """`384x640`."""
    return f"{bucket[0]}x{bucket[1]}"


class Bucket(Spec):
    """Settings of `dataset bucket`: assign images to buckets; `propose` sorts them into folders by bucket."""

    buckets: BucketSpec = BucketSpec()
    batch: int = Field(1, ge=1)
    """Images per step. A bucket with fewer images gets a warning."""

    def fits(self, images: ImageSet) -> list[BucketFit]:
        """Return each image with its bucket, in the order of the dataset."""
        placements = assign([(r.width, r.height) for r in images], self.buckets)
        return [BucketFit(record, placement) for record, placement in zip(images, placements, strict=True)]

    def warnings(self, fits: Sequence[BucketFit]) -> list[str]:
        """Return what should be changed before training."""
        return bucket_warnings([f.placement for f in fits], self.batch, names=[f.record.path.name for f in fits])

    def propose(self, images: ImageSet) -> Iterator[Proposal]:
        """Propose to move each image, with its captions and mask, into the folder named after its bucket."""
        for fit in self.fits(images):
            name = images.name(fit.record.path)
            folder = bucket_name(fit.placement.bucket)
            if name.parent.name == folder:
                continue
            # An image sorted earlier at another resolution moves to a sibling folder, not into a nested one.
            home = name.parent.parent if _BUCKET_FOLDER.fullmatch(name.parent.name) else name.parent
            to = home / folder / name.name
            yield Proposal(
                name, f"{fit.description}: into {folder}/", partial(move_with_sidecars, fit.record, images, to)
            )


# --- the page ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _PageImage:
    name: str
    description: str
    image: InlineImage


@dataclass(frozen=True)
class _PageBucket:
    name: str
    steps: int
    entries: list[_PageImage]


def write_page(
    page: Path,
    operation: Bucket,
    images: ImageSet,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write one HTML file with all images by bucket; the parts that the crop removes are shaded.

    Raises:
        BakehouseError: an image is missing, or the page cannot be written.
    """
    fits = operation.fits(images)
    entries: dict[Size, list[_PageImage]] = defaultdict(list)
    ordered = sorted(fits, key=lambda f: -f.placement.lost_fraction)
    with thread_pool() as pool:
        for done, (fit, entry) in enumerate(zip(ordered, pool.map(_page_image, ordered), strict=True), 1):
            entries[fit.placement.bucket].append(entry)
            progress(done, len(fits))
    buckets = [
        _PageBucket(bucket_name(row.bucket), row.batches, entries[row.bucket])
        for row in bucket_table([f.placement for f in fits], operation.batch)
    ]
    text = render(
        "bakehouse.curation",
        "buckets.html.j2",
        title=f"Buckets of {images.root.resolve().name} at {operation.buckets.resolution} pixels",
        warnings=operation.warnings(fits),
        buckets=buckets,
        batch=operation.batch,
    )
    return write_html(page, text)


def _page_image(fit: BucketFit) -> _PageImage:
    return _PageImage(fit.record.path.name, fit.description, inline_image(shaded(fit), THUMBNAIL_SIDE))


def shaded(fit: BucketFit) -> Image.Image:
    """Return a thumbnail with the parts that the crop removes under a red shade."""
    with opened(fit.record.path) as file:
        file.draft(None, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        image = flattened(upright_srgb(file))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    across, down = image.width / fit.placement.resized[0], image.height / fit.placement.resized[1]
    left, top, right, bottom = fit.placement.crop_box
    kept = (round(left * across), round(top * down), round(right * across) - 1, round(bottom * down) - 1)
    shade = Image.new("RGBA", image.size, _SHADE)
    ImageDraw.Draw(shade).rectangle(kept, fill=(0, 0, 0, 0))
    return Image.alpha_composite(image.convert("RGBA"), shade).convert("RGB")
