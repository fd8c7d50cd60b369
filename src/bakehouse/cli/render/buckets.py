"""Output of `dataset bucket`: a table, the bucket of every image, and the HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings
from bakehouse.cli.render.dataset import print_skipped, progress_callbacks, skipped_files
from bakehouse.cli.render.events import progress_renderer
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import counted

if TYPE_CHECKING:
    from bakehouse.cli.dataset.options import RunOptions
    from bakehouse.curation.bucket import Bucket, BucketFit
    from bakehouse.data import ImageSet

_SHOWN = 40
"""Images that are listed; `--json` and the page list all."""


def print_buckets(folder: Path, operation: Bucket, options: RunOptions) -> None:
    """Print the buckets of a dataset, or write the HTML page.

    Raises:
        UsageError: `-o` without `--sort`.
    """
    from bakehouse.curation.bucket import write_page
    from bakehouse.data import scan

    if options.out is not None:
        raise UsageError(
            "-o needs --sort: without it no file is moved", hint="add --sort, or use --preview PAGE.html for a page"
        )
    with progress_renderer(quiet=options.quiet or options.json) as on_event:
        progress_of = progress_callbacks(on_event)
        images = scan(folder, progress=progress_of("reading images"))
        fits = operation.fits(images)
        if options.preview is not None:
            write_page(options.preview, operation, images, progress=progress_of("writing the page"))
    if options.json:
        print_json(_document(operation, images, fits))
        return
    print_table(_buckets(operation, fits))
    if not options.quiet:
        _print_images(images, fits)
    print_skipped(images)
    print_warnings(operation.warnings(fits))
    see = f"; see {options.preview}" if options.preview else ""
    echo(f"{counted(len(fits), 'image')}; nothing was changed{see}")


def _rows(operation: Bucket, fits: Sequence[BucketFit]) -> list[dict[str, Any]]:
    from bakehouse.curation.bucket import bucket_name
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
    for head in ("images", "batches", "largest scale", "largest crop loss"):
        table.add_column(head, justify="right")
    for row in _rows(operation, fits):
        scale, lost = f"x{row['largest_scale']:.2f}", f"{row['most_lost']:.1%}"
        table.add_row(row["bucket"], str(row["images"]), str(row["batches"]), scale, lost)
    return table


def _print_images(images: ImageSet, fits: Sequence[BucketFit]) -> None:
    """Print the images, largest crop loss first."""
    ordered = sorted(fits, key=lambda fit: -fit.placement.lost_fraction)[:_SHOWN]
    width = min(48, max(len(str(images.name(fit.record.path))) for fit in ordered))
    echo()
    for fit in ordered:
        echo(f"{images.name(fit.record.path)!s:<{width}}  {fit.description}")
    if len(fits) > _SHOWN:
        echo(f"... and {len(fits) - _SHOWN} more with less crop loss; --json lists all")


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
    return {
        "buckets": _rows(operation, fits),
        "images": listed,
        "skipped": skipped_files(images),
        "warnings": operation.warnings(fits),
    }
