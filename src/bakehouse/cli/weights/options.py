"""Options that the weights commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(metavar="FILE", help="Adapter file.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="Output file or folder.")]
Dtype = Annotated[
    str | None, typer.Option(metavar="TYPE", help="Number format: fp16, bf16 or fp32. Default: as in the source.")
]
RequiredDtype = Annotated[str, typer.Option(metavar="TYPE", help="Number format: fp16, bf16 or fp32.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be written; write nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists, even the source.")]
BaseModel = Annotated[
    str | None,
    typer.Option("--base", metavar="MODEL", help="Base model: crumb, a folder, a file or a downloaded Hub id."),
]
Rank = Annotated[int | None, typer.Option(help="Rank of the result; with --by, the maximum rank.")]
By = Annotated[
    str | None,
    typer.Option(
        metavar="RULE=X",
        help="Rank rule: ratio, sv_ratio, threshold, quantile, sv_cumulative or sv_fro, e.g. sv_fro=0.95.",
    ),
]
ConvRank = Annotated[int | None, typer.Option("--conv-rank", help="Rank of 3x3 convolutions.")]
ConvBy = Annotated[str | None, typer.Option("--conv-by", metavar="RULE=X", help="Rank rule of 3x3 convolutions.")]
Clamp = Annotated[
    float, typer.Option("--clamp-quantile", help="Clamp factors to this quantile (kohya's default: 0.99). 1: off.")
]
