from __future__ import annotations

from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet, RunFolder


def evaluate(
    run: RunFolder,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe's [evaluate]: images=8."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")] = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a run against the untouched base; pick the checkpoint and weight to use."""
    from bakehouse.cli.render.evaluation import print_verdict
    from bakehouse.cli.render.events import show
    from bakehouse.core.run_folder import Run
    from bakehouse.core.settings import parse_setting
    from bakehouse.evaluation import evaluate as judge

    opened = Run.open(run)
    changes = dict(parse_setting(s) for s in settings or ())
    events = show(judge(opened, changes=changes, device=device), json=json, quiet=quiet)
    if not json:
        print_verdict(opened, events)
