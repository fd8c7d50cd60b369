from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.generation_options import Base, Drawing, Model, Prediction, Seed
from bakehouse.cli.option_groups import spread
from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.render.printing import say

Axis = typer.Option(metavar="AXIS[=VALUES]", help="epoch, weight=0.4,0.8, seed=1-4, steps, guidance, sampler, ...")


@spread
def grid(
    model: Model,
    *,
    x: Annotated[str, Axis] = "epoch",
    y: Annotated[str | None, Axis] = None,
    prompt: Annotated[str | None, typer.Option(metavar="WORDS", help="Left out: the run's subject.")] = None,
    seed: Seed = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Left out: grids/NAME.")] = None,
    how: Drawing,
    base: Base = None,
    prediction: Prediction = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw one picture with one or two things varied. The same command again makes only what is missing."""
    from bakehouse.cli.load_recipe import subject_of
    from bakehouse.cli.render.adapters import more_adapters
    from bakehouse.cli.render.events import show
    from bakehouse.generation import Drawn, make_grid, resolve

    source = resolve(model, base=base, prediction=prediction)
    request = how.request(subject_of(source.run) if prompt is None else prompt, seed=seed)
    folder = out or Path("grids") / source.title
    more = more_adapters(source, how.adapter)
    making = make_grid(source, x, y, request, folder, batch=how.batch, adapters=more, dtype=how.precision)
    events = show(making, json=json, quiet=quiet)
    if not json:
        say(*(event.path for event in events if isinstance(event, Drawn)))
