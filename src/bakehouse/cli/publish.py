from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.options import Json, Quiet, RunFolder


def publish(
    run: RunFolder,
    to: Annotated[
        str, typer.Option("--to", metavar="WHERE", help="Folder, hub:owner/name, or a URL such as s3://bucket/zwx.")
    ],
    weights: Annotated[
        str | None, typer.Option(metavar="NAME", help="File or folder in weights/. Default: what evaluate picked.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Strength to recommend. Default: what evaluate picked.")
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="WORDS", help="Title of the card. Default: the subject.")] = None,
    author: Annotated[str | None, typer.Option(metavar="NAME", help="Author of the model.")] = None,
    about: Annotated[str | None, typer.Option(metavar="WORDS", help="A paragraph for the card.")] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="ID", help="Licence, by its id on the Hub. Default: the base's.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="ID", help="Hub id of the base, if it was trained from a file.")
    ] = None,
    person: Annotated[
        Literal["real", "none"] | None,
        typer.Option(help="Whether it is of a real person, who agrees to this, or of none."),
    ] = None,
    images: Annotated[int, typer.Option(metavar="N", help="Images in the gallery.")] = 6,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository visible to all.")] = False,
    replace_card: Annotated[
        bool, typer.Option("--replace-card", help="Replace a card that was edited at the destination.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be published; publish nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Publish without asking, whatever the scores are.")] = False,
    accept: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Publish in spite of this, as --dry-run names it.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish a run: to a folder, a URL, or the Hugging Face Hub.

    With a model card, a gallery, the scores and files for diffusers and webuis.
    """
    from bakehouse.cli.render.publish import confirm, preview_plan, publish_to
    from bakehouse.core.run_folder import Run
    from bakehouse.publish import PublishSpec, check_destination, plan

    values = {
        "weights": weights, "strength": strength, "title": title, "author": author, "about": about,
        "licence": licence, "base": base, "person": person, "images": images, "public": public,
        "replace_card": replace_card,
    }  # fmt: skip
    spec = PublishSpec.parse({k: v for k, v in values.items() if v is not None}, source="publish")
    check_destination(to)
    planned = plan(Run.open(run), spec)
    if dry_run:
        preview_plan(planned, to, json=json, quiet=quiet)
        return
    confirm(planned, yes=yes, accepted=accept or (), json=json)
    publish_to(planned, to, json=json, quiet=quiet)
