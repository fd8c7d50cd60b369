"""Buckets of a dataset: a table, every image in its bucket, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings
from bakehouse.cli.render.dataset import counting
from bakehouse.cli.render.events import painting
from bakehouse.cli.render.printing import say
from bakehouse.core.errors import UsageError
from bakehouse.core.pluralize import counted

if TYPE_CHECKING:
    from bakehouse.cli.dataset.options import Way
    from bakehouse.curation.buckets import Bucket, BucketFit
    from bakehouse.data import ImageSet

_SHOWN = 40
"""So many images are listed on a screen; `--json` has all, and so has the page."""


def show_buckets(folder: Path, operation: Bucket, way: Way) -> None:
    """Prints the buckets of a dataset, or writes their page.

    Raises:
        UsageError: `-o` without `--sort`.
    """
    from bakehouse.curation.buckets import write_page
    from bakehouse.data import scan

    if way.out is not None:
        raise UsageError("-o needs --sort: without it nothing is moved", hint="--preview PAGE.html writes a page")
    with painting(quiet=way.quiet or way.json) as paint:
        count = counting(paint)
        images = scan(folder, progress=count("looking"))
        fits = operation.fits(images)
        if way.preview is not None:
            write_page(way.preview, operation, images, progress=count("picturing"))
    if way.json:
        print_json(_document(operation, images, fits))
        return
    print_table(_buckets(operation, fits))
    if not way.quiet:
        _print_images(images, fits)
    print_warnings(operation.warnings(fits))
    say(f"{counted(len(fits), 'image')}, nothing was changed{f': see {way.preview}' if way.preview else ''}")


def _rows(operation: Bucket, fits: Sequence[BucketFit]) -> list[dict[str, Any]]:
    from bakehouse.curation.buckets import bucket_name
    from bakehouse.data import bucket_table

    return [
        {
            "bucket": bucket_name(row.bucket),
            "images": row.images,
            "batches": row.batches,
            "largest_scale": round(row.largest_scale, 3),
            "most_lost": round(row.most_lost, 4),
        }
        for row in bucket_table([fit.placement for fit in fits], operation.batch)
    ]


def _buckets(operation: Bucket, fits: Sequence[BucketFit]) -> Table:
    table = Table("bucket", box=None, pad_edge=False)
    for head in ("images", "batches", "largest scale", "most lost"):
        table.add_column(head, justify="right")
    for row in _rows(operation, fits):
        scale, lost = f"x{row['largest_scale']:.2f}", f"{row['most_lost']:.1%}"
        table.add_row(row["bucket"], str(row["images"]), str(row["batches"]), scale, lost)
    return table


def _print_images(images: ImageSet, fits: Sequence[BucketFit]) -> None:
    """Those that lose most first."""
    ordered = sorted(fits, key=lambda fit: -fit.placement.lost_fraction)[:_SHOWN]
    width = min(48, max(len(str(images.name(fit.record.path))) for fit in ordered))
    say()
    for fit in ordered:
        say(f"{images.name(fit.record.path)!s:<{width}}  {fit.description}")
    if len(fits) > _SHOWN:
        say(f"... and {len(fits) - _SHOWN} more, which lose less; --json has all")


def _document(operation: Bucket, images: ImageSet, fits: Sequence[BucketFit]) -> dict[str, Any]:
    listed = [
        {
            "path": str(images.name(fit.record.path)),
            "size": [fit.record.width, fit.record.height],
            "bucket": list(fit.placement.bucket),
            "scale": fit.placement.scale,
            "lost": dict(zip(("left", "top", "right", "bottom"), fit.lost, strict=True)),
            "lost_fraction": fit.placement.lost_fraction,
        }
        for fit in fits
    ]
    return {"buckets": _rows(operation, fits), "images": listed, "warnings": operation.warnings(fits)}
