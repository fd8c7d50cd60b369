from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import BaseOption, Json, KindOption, Quiet, Settings, Source, Subject
from bakehouse.cli.render.safe_printing import echo, shell_command

Low = Annotated[
    float | None, typer.Option(metavar="RATE", help="First rate of the ramp. Default: 1/50 of the plan's rate.")
]
High = Annotated[
    float | None, typer.Option(metavar="RATE", help="Last rate of the ramp. Default: 50 times the plan's rate.")
]


def find_rate(
    source: Source,
    subject: Subject = None,
    kind: KindOption = None,
    base: BaseOption = None,
    settings: Settings = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of steps of the ramp.")] = 64,
    low: Low = None,
    high: High = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the recipe with the found rate to this file."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Write a chart of the measurements to this file.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find a learning rate by a range test.

    The rate rises step by step until training diverges; the result is a suggested rate.
    """
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.cli.render.consoles import spinner
    from bakehouse.cli.render.lr_finder import print_range_test, run_range_test, write_recipe
    from bakehouse.core.files import write_text

    with spinner("reading images", quiet=quiet or json):
        recipe = read_recipe(source, subject=subject, kind=kind, base=base, settings=settings or ())
    test = run_range_test(recipe, steps=steps, low=low, high=high, json=json, quiet=quiet)
    if figure:
        from bakehouse.training.lr_finder.chart import lr_chart

        write_text(figure, lr_chart(test))
    if out:
        write_recipe(recipe, test, out)
    if json:
        return
    print_range_test(test, quiet=quiet)
    if out:
        echo(f"wrote {out}; train with: {shell_command('bakehouse', 'train', out)}")
