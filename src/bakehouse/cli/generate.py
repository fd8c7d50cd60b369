from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import (
    Base,
    Batch,
    Guidance,
    Json,
    Model,
    Negative,
    Quiet,
    Sampler,
    Seed,
    Side,
    Steps,
    Weight,
)


def generate(
    model: Model,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to draw.")],
    count: Annotated[int, typer.Option("-n", "--count", help="How many pictures.")] = 1,
    seed: Seed = -1,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to put them.")] = Path("pictures"),
    negative: Negative = "",
    steps: Steps = 20,
    guidance: Guidance = None,
    sampler: Sampler = "dpm++ 2m",
    width: Side = None,
    height: Side = None,
    weight: Weight = None,
    base: Base = None,
    batch: Batch = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw pictures and print where they are. Each file knows how it was made."""
    from bakehouse import generate as room
    from bakehouse.cli.terminal.events import painting
    from bakehouse.cli.terminal.pictures import keep

    request = room.Request(
        prompt=prompt, negative=negative, width=width, height=height, steps=steps, guidance=guidance,
        sampler=sampler, seed=seed, count=count,
    )  # fmt: skip
    source = room.resolve(model, base=base)
    with (
        painting(quiet=quiet or json) as paint,
        room.Studio.open(source) as studio,
        studio.adapters_at(*([] if weight is None else [weight])),
    ):
        keep(studio.txt2img(request, batch=batch, on_event=paint), out, json=json)
