from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.options import Json, KindOption, Quiet, Subject
from bakehouse.cli.render.safe_printing import echo, shell_command

Trainer = Literal["kohya", "kohya-gui", "easy", "diffusers", "onetrainer", "ai-toolkit", "leco"]


def import_(
    settings: Annotated[
        list[Path],
        typer.Argument(metavar="SETTINGS...", help="Settings files of another trainer, or a script that calls it."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the recipe to this file. Default: print it."),
    ] = None,
    trainer: Annotated[
        Trainer | None,
        typer.Option("--from", help="Trainer that the settings belong to. Default: detected from their content."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of images, if the settings name another one or none.")
    ] = None,
    subject: Subject = None,
    kind: KindOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail and write nothing if a setting could not be converted.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert another trainer's settings into a recipe. Every key is accounted for."""
    from bakehouse.cli.render.import_report import print_imported
    from bakehouse.core.errors import Problems
    from bakehouse.core.files import write_text
    from bakehouse.recipe.importers import import_settings

    made = import_settings(settings, trainer=trainer, images=images, subject=subject, kind=kind)
    if strict and made.lost:
        raise Problems("not everything could be taken over:", [str(note) for note in made.lost])
    toml = made.to_toml(beside=(out or Path("recipe.toml")).resolve().parent)
    if out:
        write_text(out, toml)
    print_imported(made, json=json, quiet=quiet, aside=out is None)
    if out is None and not json:
        echo(toml, end="")
    elif out and not json:
        echo(f"wrote {out}; check the plan with: {shell_command('bakehouse', 'plan', out)}")
