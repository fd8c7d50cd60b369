from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.generation_options import Base, GenerationOptions, Model, Prediction, Seed, Weight
from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.prompt_options import PromptOptions


@expand_option_groups
def generate(
    model: Model,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Text prompt.")],
    *,
    count: Annotated[int, typer.Option("-n", "--count", help="Number of images.")] = 1,
    seed: Seed = -1,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Output folder.")] = Path("pictures"),
    options: GenerationOptions,
    prompts: PromptOptions,
    weight: Weight = None,
    base: Base = None,
    prediction: Prediction = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Generate images and print their paths. Each file holds its settings (infotext)."""
    from bakehouse import generation as room
    from bakehouse.cli.adapter_arguments import extra_adapters
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.save_images import save_images

    request = prompts.applied_to(options.request(prompt, seed=seed, count=count))
    source = room.resolve(model, base=base, prediction=prediction)
    more = extra_adapters(source, options.adapter, weight)
    with (
        progress_renderer(quiet=quiet or json) as on_event,
        room.Pipeline.open(source, adapters=more, dtype=options.precision, **prompts.folders) as pipeline,
        pipeline.adapter_strengths(*([] if weight is None else [weight])),
    ):
        save_images(pipeline.txt2img(request, batch=options.batch, on_event=on_event), out, json=json)
