from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bakehouse.cli.options import Json, Quiet

models = typer.Typer(help="Download and name models: bases, taggers, upscalers and others.", no_args_is_help=True)
Given = Annotated[
    Path | None, typer.Option("--from", metavar="FILE", help="Use this file or package instead of downloading.")
]
Kind = Annotated[
    str | None,
    typer.Option(help="Kind of model: base, vae, adapter, tagger, upscaler, matte, faces, inpainter or ocr."),
]


@models.command("list")
def list_models(
    here: Annotated[bool, typer.Option("--here", help="List only models on this machine.")] = False,
    kind: Kind = None, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """List models: the catalogue, your own, and the Hugging Face cache."""
    from bakehouse.cli.render.models import print_models

    print_models(here=here, kind=kind, json=json, quiet=quiet)


@models.command("fetch")
def fetch(
    name: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names from `bakehouse models list`, or Hub ids of bases.")
    ],
    given: Given = None, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Download models. Files are verified; run it again to resume."""
    from bakehouse.cli.render.models import fetch_models

    fetch_models(name, given=given, json=json, quiet=quiet)


@models.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="New name, not in the catalogue.")],
    where: Annotated[str, typer.Argument(metavar="PATH|HUB_ID", help="File or folder (it is not moved), or Hub id.")],
    kind: Kind = None,
    licence: Annotated[str, typer.Option(metavar="WORDS", help="Licence of the model (free text).")] = "",
    json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Give your own model a short name. It can be used wherever a model is expected."""
    from bakehouse.cli.render.models import add_model

    add_model(name, where, kind, licence, json=json, quiet=quiet)


@models.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name from `bakehouse models list`.")],
    files: Annotated[
        bool, typer.Option("--files", help="Also delete the files, if bakehouse downloaded them.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove a model's name. Your own files are not deleted."""
    from bakehouse.cli.render.models import remove_model

    remove_model(name, files=files, json=json)
