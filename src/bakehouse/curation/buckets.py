"""Which bucket each image goes to, what that does to it, and folders by bucket."""

from __future__ import annotations

import base64
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from importlib import resources
from pathlib import Path

from PIL import Image, ImageDraw
from pydantic import Field

from bakehouse.core.cpu_threads import thread_pool
from bakehouse.core.files import write_html
from bakehouse.core.pluralize import counted
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.sidecars import moved
from bakehouse.data.buckets import BucketSpec, Placement, Size, assign, bucket_table, bucket_warnings
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import flattened, opened, upright_srgb

THUMB = 200
"""Longer side of the pictures on the page, pixels."""
_SHADE = (190, 20, 40, 150)
_SORTED = re.compile(r"[0-9]+x[0-9]+")
_SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Fit:
    """One image in its bucket."""

    record: ImageRecord
    placement: Placement

    @property
    def lost(self) -> tuple[int, int, int, int]:
        """What the crop takes at left, top, right and bottom, in pixels of the image."""
        p, scale = self.placement, self.placement.resized[0] / self.record.width
        left, top, right, bottom = p.crop_box
        edges = (left, top, p.resized[0] - right, p.resized[1] - bottom)
        return tuple(round(edge / scale) for edge in edges)  # type: ignore[return-value]

    @property
    def said(self) -> str:
        """`1000 x 1500 to 384 x 640, x0.43; loses 50 px left and 50 px right (10.0 %)`."""
        p = self.placement
        edges = [f"{edge} px {side}" for edge, side in zip(self.lost, _SIDES, strict=True) if edge]
        loses = f"loses {' and '.join(edges)} ({p.lost_fraction:.1%})" if edges else "loses nothing"
        return f"{self.record.width} x {self.record.height} to {bucket_name(p.bucket)}, x{p.scale:.2f}; {loses}"


def bucket_name(bucket: Size) -> str:
    """`384x640`."""
    return f"{bucket[0]}x{bucket[1]}"


class Bucket(Spec):
    """Buckets of a dataset; proposes to sort its images into folders by bucket."""

    buckets: BucketSpec = BucketSpec()
    batch: int = Field(1, ge=1)
    """Images a step: a bucket with fewer is warned of."""

    def fits(self, images: ImageSet) -> list[Fit]:
        """Each image in its bucket, in the order of the dataset."""
        placements = assign([(r.width, r.height) for r in images], self.buckets)
        return [Fit(record, placement) for record, placement in zip(images, placements, strict=True)]

    def warnings(self, fits: Sequence[Fit]) -> list[str]:
        """What a person should change before training."""
        return bucket_warnings([f.placement for f in fits], self.batch, names=[f.record.path.name for f in fits])

    def propose(self, images: ImageSet) -> Iterator[Proposal]:
        """Images that do not lie in a folder that is called as their bucket; captions and masks go along."""
        for fit in self.fits(images):
            name = images.name(fit.record.path)
            folder = bucket_name(fit.placement.bucket)
            if name.parent.name == folder:
                continue
            # An image that was sorted before, for another resolution, does not go deeper and deeper.
            home = name.parent.parent if _SORTED.fullmatch(name.parent.name) else name.parent
            to = home / folder / name.name
            yield Proposal(name, f"{fit.said}: into {folder}/", partial(moved, fit.record, images, to))


# --- the page ---------------------------------------------------------------------------------------------------------


def write_page(
    page: Path, verb: Bucket, images: ImageSet, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """A page of all images by bucket, with what the crop loses shaded; it needs no other file.

    Raises:
        BakehouseError: an image is gone, or the page cannot be written.
    """
    fits = verb.fits(images)
    figures: dict[Size, list[str]] = defaultdict(list)
    # Those that lose most come first: they are what one looks for.
    ordered = sorted(fits, key=lambda f: -f.placement.lost_fraction)
    with thread_pool() as pool:
        for done, (fit, figure) in enumerate(zip(ordered, pool.map(_figure, ordered), strict=True), 1):
            figures[fit.placement.bucket].append(figure)
            progress(done, len(fits))
    sections = [
        f"<section><h2>{bucket_name(row.bucket)} <span>{counted(row.images, 'image')}, "
        f"{counted(row.batches, 'step')} at batch {verb.batch}</span></h2>"
        f"<div>{''.join(figures[row.bucket])}</div></section>"
        for row in bucket_table([f.placement for f in fits], verb.batch)
    ]
    told = "".join(f"<li>{escape(warning)}</li>" for warning in verb.warnings(fits))
    template = resources.files("bakehouse.curation").joinpath("buckets.html").read_text("utf-8")
    title = f"Buckets of {images.root.resolve().name} at {verb.buckets.resolution} pixels"
    return write_html(
        page,
        template.replace("{{title}}", escape(title))
        .replace("{{warnings}}", told)
        .replace("{{body}}", "".join(sections)),
    )


def _figure(fit: Fit) -> str:
    image = shaded(fit)
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=80, method=2)
    data = base64.b64encode(stream.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    name = escape(fit.record.path.name)
    return (
        f'<figure><img src="data:image/webp;base64,{data}" alt="" {size} loading="lazy">'
        f"<figcaption><b>{name}</b> {escape(fit.said)}</figcaption></figure>"
    )


def shaded(fit: Fit) -> Image.Image:
    """A thumbnail with what the crop loses under a shade."""
    with opened(fit.record.path) as file:
        file.draft(None, (THUMB, THUMB))
        image = flattened(upright_srgb(file))
    image.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    across, down = image.width / fit.placement.resized[0], image.height / fit.placement.resized[1]
    left, top, right, bottom = fit.placement.crop_box
    kept = (round(left * across), round(top * down), round(right * across) - 1, round(bottom * down) - 1)
    shade = Image.new("RGBA", image.size, _SHADE)
    ImageDraw.Draw(shade).rectangle(kept, fill=(0, 0, 0, 0))
    return Image.alpha_composite(image.convert("RGBA"), shade).convert("RGB")
