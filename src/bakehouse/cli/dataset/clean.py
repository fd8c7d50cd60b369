from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KIND", help="Only url, watermark, signature, bubble or text. May come again."),
]
MaskOut = Annotated[bool, typer.Option("--mask-out", help="Leave pictures as they are; text is black in the mask.")]
Painter = Annotated[
    str, typer.Option("--inpainter", metavar="NAME|FILE|none", help="LaMa, .pt or .onnx, for text on rough ground.")
]
Text = Annotated[bool, typer.Option("--text/--no-text", help="Whether to look for text.")]
Faceless = Annotated[bool, typer.Option("--faceless", help="Blur every face but the main one.")]
Faces = Annotated[
    Literal["auto", "anime", "photo"], typer.Option(help="Faces as in drawings, as in photos, or as fits.")
]


@spread
def clean(
    folder: Folder, *, kind: Kinds = None, mask_out: MaskOut = False, inpainter: Painter = "auto", text: Text = True,
    faceless: Faceless = False, faces: Faces = "auto", way: Way,
) -> None:  # fmt: skip
    """Take text, watermarks, signatures and other people's faces out of images."""
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.clean import Clean

    values = {"mask_out": mask_out, "inpainter": inpainter, "text": text, "faceless": faceless, "faces": faces}
    run_verb(folder, Clean.parse(values | ({"kinds": kind} if kind else {}), source="dataset clean"), way)
