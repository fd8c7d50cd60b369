"""Runs one operation on a dataset: read the images, propose changes, then list, preview or apply them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.cli.dataset.options import RunOptions

if TYPE_CHECKING:
    from bakehouse.curation.operation import Operation
    from bakehouse.data import ImageSet


def run_operation(
    folder: Path,
    operation: Operation,
    options: RunOptions,
    read_images: Callable[..., ImageSet] | None = None,
    *,
    warnings: Sequence[str] = (),
) -> None:
    """Apply an operation to a dataset, or show what it proposes (`--dry-run`, `--preview`).

    `read_images` replaces `scan` for operations that need not decode images: (folder, progress) to images. `warnings`
    come before those of the operation.
    """
    from bakehouse.cli.render.dataset import (
        print_proposals,
        print_skipped,
        print_step,
        progress_callbacks,
        recovered_warning,
    )
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.message_collector import MessageCollector
    from bakehouse.core.events import Warned
    from bakehouse.curation.apply_and_undo import apply_proposals, recover
    from bakehouse.curation.operation import collect_proposals, operation_name
    from bakehouse.curation.preview_page import write_preview
    from bakehouse.data import scan

    name, quiet = operation_name(operation), options.quiet or options.json
    only_shown = options.dry_run or options.preview is not None
    with progress_renderer(quiet=quiet) as on_event:
        progress_of, messages = progress_callbacks(on_event), MessageCollector(on_event)
        for warning in warnings:
            messages(Warned(message=warning))
        if recovered := recover(folder):
            messages(recovered_warning(recovered))
        images = (read_images or scan)(folder, progress=progress_of("reading images"))
        proposals = collect_proposals(operation, images, messages)
        if options.preview is not None:
            write_preview(options.preview, name, images, proposals, progress=progress_of("writing the preview"))
        if not only_shown:
            settings = operation.settings(mode="json")
            progress = progress_of(name)
            step = apply_proposals(
                folder, name, proposals, settings=settings, out=options.out, progress=progress, on_event=messages
            )
    if only_shown:
        print_proposals(name, images, proposals, page=options.preview, messages=messages, json=options.json)
    else:
        if not quiet:
            print_skipped(images)
        print_step(name, step, options.out or folder, images=images, messages=messages, json=options.json)
