from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.draw_options import DrawOptions
from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.generation_options import Base, GenerationOptions, OptionalModel, Prediction, Seed
from bakehouse.cli.help_panels import AXES, OUTPUT, PROMPT
from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.prompt_options import PromptOptions
from bakehouse.cli.region_options import RegionOptions
from bakehouse.cli.sampler_options import SamplerOptions

_axis = partial(typer.Option, metavar="AXIS[=VALUES]", rich_help_panel=AXES)
X = Annotated[
    str | None,
    _axis(
        help="Setting to vary from column to column: epoch, weight=0.4,0.8, seed=1-4, steps, guidance or any other; "
        "`--x help` lists them. Default: epoch."
    ),
]
Y = Annotated[str | None, _axis(help="Setting to vary from row to row.")]
Z = Annotated[str | None, _axis(help="Setting to vary from one grid to the next.")]
Prompt = Annotated[
    str | None,
    typer.Option(metavar="WORDS", help="Text prompt. Default: the run's subject.", rich_help_panel=PROMPT),
]
Again = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Make a grid again, from the recipe in its grid.png. Needs no MODEL.", rich_help_panel=AXES
    ),
]
Scores = Annotated[
    bool,
    typer.Option(help="Write scores under the images of a run that was evaluated.", rich_help_panel=OUTPUT),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Output folder. Default: grids/NAME.", rich_help_panel=OUTPUT),
]


@expand_option_groups
def grid(
    model: OptionalModel = None,
    *,
    x: X = None,
    y: Y = None,
    z: Z = None,
    again: Again = None,
    prompt: Prompt = None,
    seed: Seed = 1,
    options: GenerationOptions,
    draw: DrawOptions,
    prompts: PromptOptions,
    regions: RegionOptions,
    sampler_options: SamplerOptions,
    base: Base = None,
    prediction: Prediction = None,
    scores: Scores = True,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Generate a grid of images in which one to three settings vary. Run it again to resume.

    It is saved as an image, grid.png, and as a page with zoom and comparison, grid.html.
    """
    from bakehouse.cli.generate_again import refuse_given
    from bakehouse.cli.grid_inputs import inputs_of, inputs_of_file, list_axes
    from bakehouse.cli.render.events import render_events
    from bakehouse.cli.render.grid import print_grid
    from bakehouse.generation import make_grid

    if "help" in (x, y, z):
        list_axes()
        return
    groups = (options, draw, prompts, regions, sampler_options)
    if again is not None:
        single = {"MODEL": model, "x": x, "y": y, "z": z, "prompt": prompt, "base": base, "prediction": prediction}
        given = {name: value is not None for name, value in single.items()}
        refuse_given({**given, "seed": seed != 1}, groups, ("batch",))
        inputs = inputs_of_file(again)
    else:
        inputs = inputs_of(model, prompt, groups, seed=seed, base=base, prediction=prediction)
        inputs = inputs.with_axes(x or "epoch", y, z)
    making = make_grid(
        inputs.source, inputs.x, inputs.y, inputs.request, out or inputs.folder, z=inputs.z,
        scores=inputs.scores() if scores else None, batch=options.batch, **inputs.opening,
    )  # fmt: skip
    print_grid(render_events(making, json=json, quiet=quiet), json=json)
