"""Options that the weights commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(metavar="FILE", help="An adapter file.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="PLACE", help="Where the result goes.")]
Dtype = Annotated[str | None, typer.Option(metavar="TYPE", help="fp16, bf16 or fp32. Left out: as the source.")]
Kept = Annotated[str, typer.Option(metavar="TYPE", help="fp16, bf16 or fp32.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would come out and write nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there, be it the source.")]
BaseModel = Annotated[
    str | None, typer.Option("--base", metavar="MODEL", help="crumb, a folder, a single file or a fetched Hub id.")
]
Rank = Annotated[int | None, typer.Option(help="Directions to keep; with --by the most there may be.")]
By = Annotated[
    str | None,
    typer.Option(metavar="RULE=X", help="ratio, sv_ratio, threshold, quantile, sv_cumulative or sv_fro: sv_fro=0.95."),
]
ConvRank = Annotated[int | None, typer.Option("--conv-rank", help="The same for 3x3 convolutions.")]
ConvBy = Annotated[str | None, typer.Option("--conv-by", metavar="RULE=X", help="The same for 3x3 convolutions.")]
Clamp = Annotated[float, typer.Option("--clamp-quantile", help="Hold factors in this quantile; kohya has 0.99.")]
