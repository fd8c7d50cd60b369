"""Runs one operation on a dataset: read the images, propose changes, then list, preview or apply them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.cli.dataset.options import RunOptions

if TYPE_CHECKING:
    from bakehouse.curation.operation import Verb
    from bakehouse.data import ImageSet


def run_operation(
    folder: Path, operation: Verb, options: RunOptions, read_images: Callable[..., ImageSet] | None = None
) -> None:
    """Apply an operation to a dataset, or show what it proposes (`--dry-run`, `--preview`).

    `read_images` replaces `scan` for operations that need not decode images: (folder, progress) to images.
    """
    from bakehouse.cli.render.dataset import (
        print_proposals,
        print_recovered,
        print_skipped,
        print_step,
        progress_callbacks,
    )
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.curation.history import apply, recover
    from bakehouse.curation.operation import name_of, proposed
    from bakehouse.curation.preview_page import write_preview
    from bakehouse.data import scan

    name, quiet = name_of(operation), options.quiet or options.json
    only_shown = options.dry_run or options.preview is not None
    with progress_renderer(quiet=quiet) as on_event:
        progress_of = progress_callbacks(on_event)
        print_recovered(recover(folder), quiet=quiet)
        images = (read_images or scan)(folder, progress=progress_of("reading images"))
        proposals = proposed(operation, images, on_event)
        if options.preview is not None:
            write_preview(options.preview, name, images, proposals, progress=progress_of("writing the preview"))
        if not only_shown:
            settings = operation.settings(mode="json")
            progress = progress_of(name)
            step = apply(folder, name, proposals, settings=settings, out=options.out, progress=progress, tell=on_event)
    if only_shown:
        print_proposals(name, images, proposals, page=options.preview, json=options.json)
    else:
        if not quiet:
            print_skipped(images)
        print_step(name, step, options.out or folder, json=options.json)
