"""The same for every verb: look, propose, and then list, picture or do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.cli.dataset.options import Way

if TYPE_CHECKING:
    from bakehouse.curation.operation import Operation
    from bakehouse.data import ImageSet


def run_verb(folder: Path, verb: Operation, way: Way, look: Callable[..., ImageSet] | None = None) -> None:
    """Does to a dataset what a verb proposes, or shows it; the last line says how to take it back.

    `look` takes the place of `scan` for verbs that need not see the images: (folder, progress) to images.
    """
    from bakehouse.cli.render.dataset import (
        counting,
        print_passed_over,
        print_proposals,
        print_step,
        recovered_warning,
    )
    from bakehouse.cli.render.events import painting
    from bakehouse.cli.render.messages import MessageCollector
    from bakehouse.curation.history import apply_proposals, recover
    from bakehouse.curation.operation import collect_proposals, operation_name
    from bakehouse.curation.preview_page import write_preview
    from bakehouse.data import scan

    name, quiet = operation_name(verb), way.quiet or way.json
    only_shown = way.dry_run or way.preview is not None
    with painting(quiet=quiet) as paint:
        count, messages = counting(paint), MessageCollector(paint)
        if recovered := recover(folder):
            messages(recovered_warning(recovered))
        images = (look or scan)(folder, progress=count("looking"))
        proposals = collect_proposals(verb, images, messages)
        if way.preview is not None:
            write_preview(way.preview, name, images, proposals, progress=count("picturing"))
        if not only_shown:
            settings = verb.settings(mode="json")
            progress = count(name)
            step = apply_proposals(
                folder, name, proposals, settings=settings, out=way.out, progress=progress, on_event=messages
            )
    if only_shown:
        print_proposals(name, images, proposals, page=way.preview, messages=messages, json=way.json)
    else:
        if not quiet:
            print_passed_over(images)
        print_step(name, step, way.out or folder, images=images, messages=messages, json=way.json)
