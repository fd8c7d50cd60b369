from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import BaseOption, Json, KindOption, Quiet, Settings, Source, Subject
from bakehouse.cli.render.printing import say

Rate = Annotated[
    float | None, typer.Option(metavar="RATE", help="Where the ramp begins or ends. Left out: from the plan.")
]


def find_rate(
    source: Source,
    subject: Subject = None,
    kind: KindOption = None,
    base: BaseOption = None,
    settings: Settings = None,
    steps: Annotated[int, typer.Option(min=1, help="Of the ramp.")] = 64,
    low: Rate = None,
    high: Rate = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the recipe here, with the rate found.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the readings as a picture.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the learning rate by a short probe in which it rises until the weights burst."""
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.cli.render.consoles import busy
    from bakehouse.cli.render.lr_finder import print_rate, watched, write_recipe
    from bakehouse.core.files import write_text

    with busy("reading images", quiet=quiet or json):
        recipe = read_recipe(source, subject=subject, kind=kind, base=base, settings=settings or ())
    test = watched(recipe, steps=steps, low=low, high=high, json=json, quiet=quiet)
    if figure:
        from bakehouse.training.lr_finder.chart import lr_chart

        write_text(figure, lr_chart(test))
    if out:
        write_recipe(recipe, test, out)
    if json:
        return
    print_rate(test, quiet=quiet)
    if out:
        say(f"wrote {out}; bake it with: bakehouse train {out}")
