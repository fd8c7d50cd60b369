from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import BaseOption, Json, Quiet

Paths = Annotated[
    list[str], typer.Argument(metavar="RUN|FILE...", help="Run folder, or adapter files to compare with each other.")
]
Programs = Annotated[
    list[str] | None,
    typer.Option("--program", metavar="NAME", help="Program that must load the file, e.g. ComfyUI. Repeatable."),
]
Draw = Annotated[
    int,
    typer.Option(metavar="N", min=0, max=1000, help="Generate N images for the checks of images that need them."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 1 for warnings too.")]


def doctor(
    paths: Paths,
    base: BaseOption = None,
    program: Programs = None,
    draw: Draw = 0,
    device: Annotated[str, typer.Option(metavar="NAME", help="Device: auto, cpu, mps, cuda or cuda:1.")] = "auto",
    strict: Strict = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find what is wrong with a run or adapter files.

    Each problem has its figures and the command that helps. Exit code 1 if there are errors.
    """
    from bakehouse.cli.render.doctor import print_report
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.core.events import result_of
    from bakehouse.doctor import DoctorSpec, examine

    values = {"base": base, "programs": program or (), "draw": draw, "device": device}
    spec = DoctorSpec.parse(values, source="doctor")
    with progress_renderer(quiet=quiet or json) as on_event:
        report = result_of(examine(paths, spec), on_event)
    print_report(report, json=json, quiet=quiet)
    if code := report.exit_code(strict=strict):
        raise typer.Exit(code)
