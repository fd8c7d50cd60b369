from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Base, Batch, Guidance, Json, Model, Negative, Quiet, Sampler, Seed, Side, Steps

Axis = typer.Option(metavar="AXIS[=VALUES]", help="epoch, weight=0.4,0.8, seed=1-4, steps, guidance, sampler, ...")


def grid(
    model: Model,
    x: Annotated[str, Axis] = "epoch",
    y: Annotated[str | None, Axis] = None,
    prompt: Annotated[str | None, typer.Option(metavar="WORDS", help="Left out: the run's subject.")] = None,
    seed: Seed = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Left out: grids/NAME.")] = None,
    negative: Negative = "",
    steps: Steps = 20,
    guidance: Guidance = None,
    sampler: Sampler = "dpm++ 2m",
    width: Side = None,
    height: Side = None,
    base: Base = None,
    batch: Batch = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw one picture with one or two things varied. The same command again makes only what is missing."""
    from bakehouse.cli.source import subject_of
    from bakehouse.cli.terminal.events import show
    from bakehouse.generate import Drawn, Request, make_grid, resolve

    source = resolve(model, base=base)
    request = Request(
        prompt=subject_of(source.run) if prompt is None else prompt, negative=negative, width=width, height=height,
        steps=steps, guidance=guidance, sampler=sampler, seed=seed,
    )  # fmt: skip
    folder = out or Path("grids") / source.title
    events = show(make_grid(source, x, y, request, folder, batch=batch), json=json, quiet=quiet)
    if not json:
        print(*(event.path for event in events if isinstance(event, Drawn)))
