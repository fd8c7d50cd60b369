from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.generation_options import Base, Drawing, Model, Prediction, Seed, Weight
from bakehouse.cli.option_groups import spread
from bakehouse.cli.options import Json, Quiet


@spread
def generate(
    model: Model,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to draw.")],
    *,
    count: Annotated[int, typer.Option("-n", "--count", help="How many pictures.")] = 1,
    seed: Seed = -1,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to put them.")] = Path("pictures"),
    how: Drawing,
    weight: Weight = None,
    base: Base = None,
    prediction: Prediction = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw pictures and print where they are. Each file knows how it was made."""
    from bakehouse import generation as room
    from bakehouse.cli.render.adapters import more_adapters
    from bakehouse.cli.render.events import painting
    from bakehouse.cli.render.save_images import keep

    request = how.request(prompt, seed=seed, count=count)
    source = room.resolve(model, base=base, prediction=prediction)
    more = more_adapters(source, how.adapter, weight)
    with (
        painting(quiet=quiet or json) as paint,
        room.Pipeline.open(source, adapters=more, dtype=how.precision) as pipeline,
        pipeline.adapter_strengths(*([] if weight is None else [weight])),
    ):
        keep(pipeline.txt2img(request, batch=how.batch, on_event=paint), out, json=json)
