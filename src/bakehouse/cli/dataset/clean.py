from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KIND", help="Kind of text: url, watermark, signature, bubble or text. Repeatable."),
]
MaskOut = Annotated[
    bool, typer.Option("--mask-out", help="Mask the text out of training instead of changing the image.")
]
Inpainter = Annotated[
    str,
    typer.Option(
        "--inpainter", metavar="NAME|FILE|none", help="LaMa model for text on structured backgrounds: .pt or .onnx."
    ),
]
Text = Annotated[bool, typer.Option("--text/--no-text", help="Detect and remove text.")]
TagBubbles = Annotated[
    bool,
    typer.Option(
        "--tag-bubbles/--no-tag-bubbles",
        help="Tag speech bubbles that cannot be painted over: `speech bubble`, `spoken heart`.",
    ),
]
Faceless = Annotated[bool, typer.Option("--faceless", help="Blur every face except the largest one.")]
Faces = Annotated[
    Literal["auto", "anime", "photo"], typer.Option(help="Face detector: for drawings, for photos, or both in turn.")
]


@expand_option_groups
def clean(
    folder: Folder, *, kind: Kinds = None, mask_out: MaskOut = False, inpainter: Inpainter = "auto", text: Text = True,
    tag_bubbles: TagBubbles = True, faceless: Faceless = False, faces: Faces = "auto", options: RunOptions,
) -> None:  # fmt: skip
    """Remove text, watermarks, signatures and other people's faces."""
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.clean import Clean

    values = {"mask_out": mask_out, "inpainter": inpainter, "text": text, "tag_bubbles": tag_bubbles}
    values |= {"faceless": faceless, "faces": faces}
    run_operation(folder, Clean.parse(values | ({"kinds": kind} if kind else {}), source="dataset clean"), options)
