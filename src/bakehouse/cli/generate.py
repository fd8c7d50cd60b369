from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.generation_options import Base, GenerationOptions, OptionalModel, Prediction, Seed, Weight
from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.sampler_options import SamplerOptions


@expand_option_groups
def generate(
    model: OptionalModel = None,
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="Text prompt.")] = None,
    *,
    again: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Generate an image again, with all settings of its infotext. Needs no MODEL."
        ),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", help="Number of images.")] = 1,
    seed: Seed = -1,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Output folder.")] = Path("pictures"),
    options: GenerationOptions,
    sampler_options: SamplerOptions,
    weight: Weight = None,
    base: Base = None,
    prediction: Prediction = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Generate images and print their paths. Each file holds its settings (infotext)."""
    from bakehouse import generation as room
    from bakehouse.cli.adapter_arguments import extra_adapters
    from bakehouse.cli.generate_again import repeated
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.save_images import save_images
    from bakehouse.core.errors import UsageError

    same = None
    if again is not None:
        others = {"count": count != 1, "seed": seed != -1, "weight": weight is not None}
        same = repeated(again, model, prompt, options, sampler_options, base=base, prediction=prediction, others=others)
        source, more, request = same.source, same.adapters, same.request
    elif model is None or prompt is None:
        raise UsageError(f"{'MODEL and PROMPT are' if model is None else 'PROMPT is'} missing")
    else:
        request = options.request(prompt, seed=seed, count=count, **sampler_options.fields())
        source = room.resolve(model, base=base, prediction=prediction)
        more = extra_adapters(source, options.adapter, weight)
    with (
        progress_renderer(quiet=quiet or json) as on_event,
        room.Pipeline.open(source, adapters=more, dtype=options.precision) as pipeline,
        pipeline.adapter_strengths(*([] if weight is None else [weight])),
    ):
        if same is not None:
            same.warn_of_weights(pipeline.model_hash)
        save_images(pipeline.txt2img(request, batch=options.batch, on_event=on_event), out, json=json)
