from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.cli.help_panels import OUTPUT
from bakehouse.cli.options import BaseOption, Devices, Json, KindOption, OptionalSource, Quiet, Settings, Subject
from bakehouse.cli.render.safe_printing import echo, shell_command
from bakehouse.cli.slider_options import SliderOptions


@expand_option_groups
def plan(
    source: OptionalSource = None,
    *,
    subject: Subject = None,
    kind: KindOption = None,
    base: BaseOption = None,
    slider: SliderOptions,
    settings: Settings = None,
    devices: Devices = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write the recipe to this file, with the reasons as comments.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print the training plan: every number and its reason. Loads no model."""
    from bakehouse.cli.load_recipe import read_recipe
    from bakehouse.cli.render.consoles import spinner
    from bakehouse.cli.render.plan import print_plan
    from bakehouse.core.files import write_text

    with spinner("reading images", quiet=quiet or json):
        from bakehouse.recipe import make_plan, plan_to_toml, scan_concepts

        given: dict[str, Any] = {"subject": subject, "kind": kind, "base": base, "devices": devices}
        recipe = read_recipe(source, **given, settings=settings or (), slider=slider)
        made = make_plan(recipe, scan_concepts(recipe))
    if out:
        write_text(out, plan_to_toml(made, beside=out.resolve().parent))
    print_plan(made, json=json, quiet=quiet)
    if out and not json:
        echo(f"wrote {out}; train with: {shell_command('bakehouse', 'train', out)}")
