from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups

Bits = Annotated[
    int, typer.Option(metavar="N", help="Maximum Hamming distance of hashes (of 64 bits) to compare two images.")
]
Local = Annotated[float, typer.Option(metavar="LEVELS", help="Maximum tile difference (of 255) between duplicates.")]
Ratio = Annotated[
    float, typer.Option(metavar="TIMES", help="Minimum ratio to the typical tile difference for a local change.")
]
Usual = Annotated[
    float, typer.Option(metavar="LEVELS", help="Maximum typical tile difference (of 255) between duplicates.")
]
Crops = Annotated[
    Literal["list", "drop", "ignore"], typer.Option(help="Images that are crops of others: list, drop or ignore them.")
]
Text = Annotated[Literal["auto", "off"], typer.Option(help="Detect overlaid text, and drop the copy that has it.")]
Captions = Annotated[bool, typer.Option(help="Move the best caption to the copy that stays.")]


@expand_option_groups
def dedupe(
    folder: Folder, *, bits: Bits = 10, local: Local = 8.0, ratio: Ratio = 4.0, usual: Usual = 12.0,
    crops: Crops = "list", text: Text = "auto", captions: Captions = True, options: RunOptions,
) -> None:  # fmt: skip
    """Remove duplicates. The best copy stays, and so do variants."""
    from functools import partial

    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.dedupe import Dedupe
    from bakehouse.data import scan

    limits = {"local": local, "ratio": ratio, "usual": usual}
    values = {"bits": bits, "limits": limits, "crops": crops, "text": text, "captions": captions}
    run_operation(
        folder, Dedupe.parse(values, source="dataset dedupe"), options, read_images=partial(scan, whole=False)
    )
