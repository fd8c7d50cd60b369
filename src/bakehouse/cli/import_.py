from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.options import Json, KindOption, Quiet, Subject
from bakehouse.cli.render.printing import say

Trainer = Literal["kohya", "kohya-gui", "easy", "diffusers", "onetrainer", "ai-toolkit"]


def import_(
    settings: Annotated[
        list[Path],
        typer.Argument(metavar="SETTINGS...", help="Another trainer's settings or a script that calls it."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the recipe here. Left out: print it.")
    ] = None,
    trainer: Annotated[
        Trainer | None, typer.Option("--from", help="Whose settings they are. Left out: read from their content.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of images, where the settings name another or none.")
    ] = None,
    subject: Subject = None,
    kind: KindOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if anything could not be taken over; write nothing.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a recipe of another trainer's settings, and say what became of every key."""
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
        say(toml, end="")
    elif out and not json:
        say(f"wrote {out}; see what it comes to with: bakehouse plan {out}")
