from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.draw_options import DrawOptions
from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.generation_options import Base, GenerationOptions, Model, Prediction, Seed, Weight
from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.prompt_options import PromptOptions
from bakehouse.cli.template_options import TemplateOptions


@expand_option_groups
def generate(
    model: Model,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="Text prompt; the subject of --templates. With --image: default the image's caption."
        ),
    ] = None,
    *,
    count: Annotated[int, typer.Option("-n", "--count", help="Number of images.")] = 1,
    seed: Seed = -1,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Output folder.")] = Path("pictures"),
    options: GenerationOptions,
    draw: DrawOptions,
    words: TemplateOptions,
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
    from bakehouse.cli.render.preview_file import previews_to_file
    from bakehouse.cli.render.save_images import save_images
    from bakehouse.core.events import Warned
    from bakehouse.generation.templates import recorded

    given = "" if prompt is None and words.templates else prompt
    requests, notes = draw.requests(partial(options.request, seed=seed, count=count), given, out)
    source = room.resolve(model, base=base, prediction=prediction)
    drawn = [
        replace(one, request=prompts.applied_to(one.request))
        for request in requests
        for one in words.draw(request, source, prompt=prompt)
    ]
    more = extra_adapters(source, options.adapter, weight)
    with (
        progress_renderer(quiet=quiet or json) as render,
        previews_to_file(out / "preview-in-progress.png", render) as on_event,
        room.Pipeline.open(source, adapters=more, dtype=options.precision, **prompts.folders) as pipeline,
        pipeline.adapter_strengths(*([] if weight is None else [weight])),
    ):
        for note in notes:
            on_event(Warned(message=note))
        images = pipeline.generate(
            [one.request for one in drawn], batch=options.batch, preview_every=draw.preview, on_event=on_event
        )
        save_images(recorded(images, drawn), out, json=json)
