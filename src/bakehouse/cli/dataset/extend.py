from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.options import RunFolder

if TYPE_CHECKING:
    from bakehouse.synthesis.extension import ExtendSpec

Accept = Annotated[
    str | None,
    typer.Option(
        metavar="all|FILE", help="Add drawn images to the dataset: all that passed, or those with yes in accept.txt."
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="Device to draw on: auto, cpu, cuda, cuda:1, mps.")]


@dataclass(frozen=True)
class ExtendOptions:
    """What is drawn; `expand_option_groups` makes an option of each field."""

    count: Annotated[
        int | None,
        typer.Option(
            "-n", "--count", metavar="N", help="Images wanted. Default: as many as the dataset has, up to 24."
        ),
    ] = None
    tries: Annotated[int, typer.Option(metavar="N", help="Maximum images drawn per prompt, until one passes.")] = 4
    seed: Annotated[int, typer.Option(help="Decides the prompts and the images.")] = 0
    aspect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Vary framing, view, place or outfit. Repeatable. Default: all that apply to the subject.",
        ),
    ] = None
    least_fidelity: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Minimum subject fidelity, 0 to 1. Default: from the run's evaluation."),
    ] = None

    def parse(self) -> ExtendSpec:
        """Return the settings.

        Raises:
            Problems: values out of range.
        """
        from bakehouse.synthesis.extension import ExtendSpec

        values = {"count": self.count, "tries": self.tries, "seed": self.seed, "aspects": self.aspect or ()}
        return ExtendSpec.parse({**values, "least_fidelity": self.least_fidelity}, source="dataset extend")


@expand_option_groups
def extend(
    run: RunFolder, folder: Folder, *, drawing: ExtendOptions, accept: Accept = None, device: Device = "auto",
    options: RunOptions,
) -> None:  # fmt: skip
    """Draw images that a dataset lacks, with its run.

    Without --accept, images are drawn, scored and laid out on a page; the dataset is not changed.
    """
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.extension import print_candidates, print_extension
    from bakehouse.cli.render.message_collector import MessageCollector
    from bakehouse.core.errors import UsageError
    from bakehouse.core.events import result_of
    from bakehouse.core.run_folder import Run
    from bakehouse.synthesis.accept import ALL
    from bakehouse.synthesis.accept import accept as accepted
    from bakehouse.synthesis.draw_candidates import draw_candidates
    from bakehouse.synthesis.extension import Extension

    if accept is not None and accept != ALL:
        _refuse_drawing(drawing, device)
        run_operation(folder, accepted(accept), options)
        return
    if accept is None and (options.preview or options.out):
        raise UsageError(
            "--preview and --out are for --accept: without it the dataset is not changed",
            hint="draw first, look at the page, then accept",
        )
    extension = Extension.make(Run.open(run), folder, drawing.parse())
    if accept is None and options.dry_run:
        print_extension(extension, json=options.json)
        return
    with progress_renderer(quiet=options.quiet or options.json) as on_event:
        messages = MessageCollector(on_event)
        candidates = result_of(draw_candidates(extension, device=device), messages)
    if accept is None:
        print_candidates(extension, candidates, messages=messages, json=options.json)
    else:
        run_operation(folder, accepted(accept, candidates.folder), options)


def _refuse_drawing(drawing: ExtendOptions, device: str) -> None:
    """Refuse options of drawing beside a file of answers: its images are drawn already.

    Raises:
        UsageError: some were given; names all of them.
    """
    from bakehouse.core.errors import UsageError

    changed = [f.name for f in fields(drawing) if getattr(drawing, f.name) != f.default]
    given = [f"--{name.replace('_', '-')}" for name in (*changed, *(["device"] if device != "auto" else []))]
    if given:
        raise UsageError(
            f"--accept FILE adds images that are drawn already, so it cannot be used with {', '.join(given)}",
            hint="leave these out; without --accept, or with --accept all, images are drawn with them",
        )
