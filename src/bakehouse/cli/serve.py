from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.generation_options import Base
from bakehouse.cli.options import Json, Quiet

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL...]",
        help="Models to serve: crumb, a run, an adapter, a checkpoint, or NAME=MODEL. Default: crumb.",
        show_default=False,
    ),
]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Server's data folder. Default: the user's.")]


def serve(
    models: Models = None,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on. Others than loopback need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: a free one.")] = 7860,
    base: Base = None,
    device: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Device: auto, cpu, cuda:0. Repeatable: one worker each.")
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "fp16", "bf16"], typer.Option(help="Precision of the models.")
    ] = "auto",
    loras: Annotated[Path | None, typer.Option(metavar="DIR", help="Adapters that prompts may name.")] = None,
    embeddings: Annotated[Path | None, typer.Option(metavar="DIR", help="Embeddings that prompts may name.")] = None,
    anonymous: Annotated[
        Literal["none", "read", "draw"], typer.Option(help="What callers without a token may do.")
    ] = "none",
    hf_2023: Annotated[
        bool, typer.Option("--hf-2023", help="Answer as the Hugging Face Inference API did in early 2023.")
    ] = False,
    budget: Annotated[float | None, typer.Option(metavar="GB", help="Memory for models on each device.")] = None,
    parking: Annotated[float, typer.Option(metavar="GB", help="Main memory for models that leave a device.")] = 0.0,
    idle: Annotated[float | None, typer.Option(metavar="MINUTES", help="Unload models that are not used.")] = None,
    queue: Annotated[int, typer.Option(help="Images that may wait.")] = 256,
    allow_host: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Host name of this server.")] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(metavar="URL", help="Site whose pages may call it.")] = None,
    fetch_host: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Host to fetch images from.")] = None,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts into the log.")] = False,
    data: Data = None,
    datasets: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with a folder for each dataset. Default: in --data.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of runs. Default: in --data.")] = None,
    safety_checker: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Safety checker of served images: a folder or a Hub id.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Show what would be open to whom, and exit.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Serve models over HTTP: Hugging Face's, A1111's, OpenAI's API."""
    from bakehouse.cli.render.serve import print_open_to, print_ready
    from bakehouse.cli.serve_settings import serve_settings
    from bakehouse.serve.start import open_to
    from bakehouse.serve.start import serve as run

    settings = serve_settings(
        models or ["crumb"], base=base, devices=device or ["auto"], precision=precision, loras=loras,
        embeddings=embeddings, host=host, port=port, anonymous=anonymous, hf_2023=hf_2023, budget=budget,
        parking=parking, idle=idle, queue=queue, hosts=allow_host, origins=allow_origin, fetch_hosts=fetch_host,
        log_prompts=log_prompts, folder=data, datasets=datasets, runs=runs, safety_checker=safety_checker,
    )  # fmt: skip
    if check:
        print_open_to(settings, list(open_to(settings)), json=json)
    else:
        run(settings, on_ready=lambda url, token: print_ready(url, token, settings, json=json, quiet=quiet))
