from __future__ import annotations

from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread

Bits = Annotated[int, typer.Option(metavar="N", help="Of 64: images whose hashes differ in so many are compared.")]
Local = Annotated[float, typer.Option(metavar="LEVELS", help="Of 255: a tile that differs more is a change.")]
Ratio = Annotated[float, typer.Option(metavar="TIMES", help="And more than so many times the usual tile.")]
Usual = Annotated[float, typer.Option(metavar="LEVELS", help="Images whose usual tile differs more are not the same.")]
Crops = Annotated[
    Literal["list", "drop", "ignore"], typer.Option(help="What becomes of images that were cut out of others.")
]
Text = Annotated[Literal["auto", "off"], typer.Option(help="Of two copies, drop the one with text over it.")]
Captions = Annotated[bool, typer.Option(help="Give the richest caption to the copy that stays.")]


@spread
def dedupe(
    folder: Folder, *, bits: Bits = 10, local: Local = 8.0, ratio: Ratio = 4.0, usual: Usual = 12.0,
    crops: Crops = "list", text: Text = "auto", captions: Captions = True, way: Way,
) -> None:  # fmt: skip
    """Keep each picture once, the best copy of it; other expressions and outfits all stay."""
    from functools import partial

    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.dedupe import Dedupe
    from bakehouse.data import scan

    limits = {"local": local, "ratio": ratio, "usual": usual}
    values = {"bits": bits, "limits": limits, "crops": crops, "text": text, "captions": captions}
    run_verb(folder, Dedupe.parse(values, source="dataset dedupe"), way, look=partial(scan, whole=False))
