from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.draw_options import DrawOptions
from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.generate_remote import Output, generate_remotely
from bakehouse.cli.generation_options import Base, GenerationOptions, ModelOrServer, Prediction, Seed, Weight
from bakehouse.cli.help_panels import IMAGE, MODEL, OUTPUT
from bakehouse.cli.image_requests import image_requests
from bakehouse.cli.options import Json, Quiet
from bakehouse.cli.prompt_options import PromptOptions
from bakehouse.cli.region_options import RegionOptions
from bakehouse.cli.sampler_options import SamplerOptions
from bakehouse.cli.template_options import TemplateOptions
from bakehouse.core.errors import UsageError

Prompt = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT", help="Text prompt; the subject of --templates. With --image: default the image's caption."
    ),
]
Again = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Generate an image again, with all settings of its infotext. Needs no MODEL.",
        rich_help_panel=IMAGE,
    ),
]
Count = Annotated[int, typer.Option("-n", "--count", help="Number of images.", rich_help_panel=IMAGE)]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Output folder.", rich_help_panel=OUTPUT)]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        envvar="BAKEHOUSE_TOKEN",
        show_envvar=False,
        help="Token for a MODEL on a server. Default: BAKEHOUSE_TOKEN.",
        rich_help_panel=MODEL,
    ),
]
Preview = Annotated[
    int,
    typer.Option(
        metavar="STEPS",
        help="Write a rough preview image every few steps, removed at the end. 0: never.",
        rich_help_panel=OUTPUT,
    ),
]


@expand_option_groups
def generate(
    model: ModelOrServer = None,
    prompt: Prompt = None,
    *,
    again: Again = None,
    count: Count = 1,
    seed: Seed = -1,
    out: Out = Path("pictures"),
    options: GenerationOptions,
    draw: DrawOptions,
    words: TemplateOptions,
    prompts: PromptOptions,
    regions: RegionOptions,
    sampler_options: SamplerOptions,
    weight: Weight = None,
    base: Base = None,
    prediction: Prediction = None,
    token: Token = None,
    preview: Preview = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Generate images and print their paths. Each file holds its settings (infotext)."""
    make = partial(options.request, seed=seed, count=count, regions=regions.parse(), **sampler_options.fields())
    if model is not None and model.startswith(("http://", "https://")):
        here = {"again": again, "weight": weight, "base": base, "prediction": prediction}
        output = Output(out, preview, json, quiet)
        return generate_remotely((model, token), prompt, make, (options, draw, words, prompts), here, output)
    from bakehouse import generation as room
    from bakehouse.cli.adapter_arguments import extra_adapters
    from bakehouse.cli.generate_again import repeated
    from bakehouse.cli.render.events import progress_renderer
    from bakehouse.cli.render.preview_file import previews_to_file
    from bakehouse.cli.render.save_images import save_images
    from bakehouse.generation.templates import DrawnPrompt, recorded

    same = None
    if again is not None:
        others = {"count": count != 1, "seed": seed != -1, "weight": weight is not None}
        groups = (options, sampler_options, draw, words, prompts, regions)
        same = repeated(again, model, prompt, groups, base=base, prediction=prediction, others=others)
        source, more, drawn = same.source, same.adapters, [DrawnPrompt(same.request, {})]
    elif model is None:
        raise UsageError("MODEL and PROMPT are missing")
    else:
        source = room.resolve(model, base=base, prediction=prediction)
        drawn = image_requests(prompt, make, source, draw, words, prompts, out=out)
        more = extra_adapters(source, options.adapter, weight)
    with (
        progress_renderer(quiet=quiet or json) as render,
        previews_to_file(out / "preview-in-progress.png", render) as on_event,
        room.Pipeline.open(source, adapters=more, dtype=options.precision, **prompts.folders) as pipeline,
        pipeline.adapter_strengths(*([] if weight is None else [weight])),
    ):
        if same is not None:
            same.warn_of_weights(pipeline.model_hash)
        requests = [one.request for one in drawn]
        images = pipeline.generate(requests, batch=options.batch, preview_every=preview, on_event=on_event)
        return save_images(recorded(images, drawn), out, json=json)
