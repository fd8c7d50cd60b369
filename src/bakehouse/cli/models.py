from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet

models = typer.Typer(help="Base models and helpers by name.", no_args_is_help=True)
Given = Annotated[Path | None, typer.Option("--from", metavar="FILE", help="A copy of yours, or the package with it.")]
Kind = Annotated[str | None, typer.Option(help="base, vae, adapter, tagger, upscaler, matte, faces, inpainter, ocr.")]


@models.command("list")
def list_models(
    here: Annotated[bool, typer.Option("--here", help="Only what is on this machine.")] = False,
    kind: Kind = None, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """List the models that have names: the catalogue's, your own, and base models in the Hub's cache."""
    from bakehouse.cli.render.models import print_models

    print_models(here=here, kind=kind, json=json, quiet=quiet)


@models.command("fetch")
def fetch(
    name: Annotated[list[str], typer.Argument(help="As in the list.")],
    given: Given = None, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Bring models here: each file checked. Stopped, the same command goes on where it was."""
    from bakehouse.cli.render.models import fetch_models

    fetch_models(name, given=given, json=json, quiet=quiet)


@models.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Short, and not in the catalogue.")],
    where: Annotated[str, typer.Argument(metavar="PATH|HUB_ID", help="It stays where it is.")],
    kind: Kind = None,
    licence: Annotated[str, typer.Option(metavar="WORDS", help="Whose terms bind who uses it.")] = "",
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Give a model of yours a short name. Wherever a model is asked for, the name will do."""
    from bakehouse.cli.render.models import add_model

    add_model(name, where, kind, licence, json=json, quiet=quiet)


@models.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="As in the list.")],
    files: Annotated[bool, typer.Option("--files", help="Also the files that bakehouse itself has fetched.")] = False,
    json: Json = False,
) -> None:
    """Take a name off the shelf. Your own files are never touched."""
    from bakehouse.cli.render.models import remove_model

    remove_model(name, files=files, json=json)
