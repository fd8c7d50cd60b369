from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import BaseOption, Json, KindOption, Quiet, Settings, Source, Subject
from bakehouse.cli.render.printing import say


def plan(
    source: Source,
    subject: Subject = None,
    kind: KindOption = None,
    base: BaseOption = None,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the recipe here, with its reasons.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a training would come to: every number and why. Loads no model."""
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.cli.render.consoles import busy
    from bakehouse.cli.render.plan import print_plan
    from bakehouse.core.files import write_text

    with busy("reading images", quiet=quiet or json):
        from bakehouse.recipe import make_plan, scan_concepts, to_toml

        recipe = read_recipe(source, subject=subject, kind=kind, base=base, settings=settings or ())
        made = make_plan(recipe, scan_concepts(recipe))
    if out:
        write_text(out, to_toml(made, beside=out.resolve().parent))
    print_plan(made, json=json, quiet=quiet)
    if out and not json:
        say(f"wrote {out}; bake it with: bakehouse train {out}")
