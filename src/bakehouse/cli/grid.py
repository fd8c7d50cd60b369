from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.generation_options import Base, GenerationOptions, Model, Prediction, Seed
from bakehouse.cli.help_panels import AXES, OUTPUT, PROMPT
from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.prompt_options import PromptOptions
from bakehouse.cli.render.safe_printing import echo
from bakehouse.cli.sampler_options import SamplerOptions

Axis = typer.Option(
    metavar="AXIS[=VALUES]",
    help="Setting to vary, e.g. epoch, weight=0.4,0.8, seed=1-4, steps, guidance or sampler.",
    rich_help_panel=AXES,
)


@expand_option_groups
def grid(
    model: Model,
    *,
    x: Annotated[str, Axis] = "epoch",
    y: Annotated[str | None, Axis] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Text prompt. Default: the run's subject.", rich_help_panel=PROMPT),
    ] = None,
    seed: Seed = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Output folder. Default: grids/NAME.", rich_help_panel=OUTPUT),
    ] = None,
    options: GenerationOptions,
    prompts: PromptOptions,
    sampler_options: SamplerOptions,
    base: Base = None,
    prediction: Prediction = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Generate a grid of images with one or two settings varied. Run it again to resume."""
    from bakehouse.cli.adapter_arguments import extra_adapters
    from bakehouse.cli.load_recipe import subject_of
    from bakehouse.cli.render.events import render_events
    from bakehouse.generation import Drawn, make_grid, resolve
    from bakehouse.generation.prompt import escape

    source = resolve(model, base=base, prediction=prediction)
    words = escape(subject_of(source.run)) if prompt is None else prompt
    request = prompts.applied_to(options.request(words, seed=seed, **sampler_options.fields()))
    folder = out or Path("grids") / source.title
    more = extra_adapters(source, options.adapter)
    opening: dict[str, Any] = {"adapters": more, "dtype": options.precision, **prompts.folders}
    making = make_grid(source, x, y, request, folder, batch=options.batch, **opening)
    events = render_events(making, json=json, quiet=quiet)
    if not json:
        echo(*(event.path for event in events if isinstance(event, Drawn)))
