from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Framings = Annotated[
    list[str] | None,
    typer.Option(
        "--framing", metavar="NAME", help="Framing: cowboy_shot, upper_body or portrait. Repeatable. Default: all."
    ),
]
Faces = Annotated[
    Literal["auto", "anime", "photo"], typer.Option(help="Face detector: for drawings, for photos, or both in turn.")
]
Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="Training resolution.")]
Most = Annotated[float, typer.Option("--upscale", metavar="TIMES", help="Maximum enlargement of a crop by its bucket.")]
Outfits = Annotated[
    list[str] | None,
    typer.Option(
        "--outfit", metavar="TRIGGER", help="Trigger of an outfit, removed from the captions of portraits. Repeatable."
    ),
]
Headless = Annotated[
    bool,
    typer.Option("--headless", help="Crop below the chin, to show an outfit without its wearer."),
]
Characters = Annotated[
    list[str] | None,
    typer.Option(
        "--character", metavar="TRIGGER", help="Trigger of a character, removed from headless captions. Repeatable."
    ),
]

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="PATH", help="Crop this image of the folder alone. Repeatable. Default: all."),
]
Boxes = Annotated[
    list[str] | None,
    typer.Option(
        "--box",
        metavar="BOX",
        help="Crop this box, drawn by hand, instead of around faces: PATH:FRAMING:LEFT,TOP,RIGHT,BOTTOM in pixels; "
        "the framing `crop` keeps the caption. Repeatable.",
    ),
]


@expand_option_groups
def crop(
    folder: Folder, *, framing: Framings = None, faces: Faces = "auto", resolution: Resolution = 512,
    upscale: Most = 1.3, outfit: Outfits = None, headless: Headless = False, character: Characters = None,
    box: Boxes = None,
    only: Only = None,
    options: RunOptions,
) -> None:  # fmt: skip
    """Add closer crops around the face, with adapted captions."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.crops import Crop

    given = {"framings": framing, "outfit": outfit, "character": character, "boxes": box, "only": only}
    values: dict[str, object] = {"faces": faces, "resolution": resolution, "upscale": upscale, "headless": headless}
    values |= {"framings": ()} if headless else {}
    values |= {k: v for k, v in given.items() if v}
    run_operation(folder, Crop.parse(values, source="dataset crop"), options)
