from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Framings = Annotated[
    list[str] | None,
    typer.Option("--framing", metavar="NAME", help="Only cowboy_shot, upper_body or portrait. May come again."),
]
Faces = Annotated[
    Literal["auto", "anime", "photo"], typer.Option(help="Faces as in drawings, as in photos, or as fits.")
]
Resolution = Annotated[int, typer.Option(metavar="PIXELS", help="What will be trained at.")]
Most = Annotated[float, typer.Option("--upscale", metavar="TIMES", help="Crops that would be enlarged more are left.")]
Outfits = Annotated[
    list[str] | None,
    typer.Option("--outfit", metavar="TRIGGER", help="An outfit's trigger; portraits lose it. May come again."),
]


@spread
def crop(
    folder: Folder, *, framing: Framings = None, faces: Faces = "auto", resolution: Resolution = 512,
    upscale: Most = 1.3, outfit: Outfits = None, way: Way,
) -> None:  # fmt: skip
    """Add cowboy shots, upper bodies and portraits of large images, with captions that follow."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.crops import Crop

    given = {"framings": framing, "outfit": outfit}
    values = {"faces": faces, "resolution": resolution, "upscale": upscale, **{k: v for k, v in given.items() if v}}
    run_verb(folder, Crop.parse(values, source="dataset crop"), way)
