from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, Way
from bakehouse.cli.option_groups import spread
from bakehouse.core.bundled_models import BUNDLED_TAGGER

By = Annotated[
    Literal["tag", "cluster", "example"],
    typer.Option(help="A tag; groups that look alike; or the folder that looks most like it."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A concept's tag. May come again.")]
Clusters = Annotated[int | None, typer.Option(metavar="N", help="So many groups. Left out: as many as fit best.")]
Embedder = Annotated[str, typer.Option(metavar="crumb|FILE.onnx", help="What likeness is.")]
Sure = Annotated[float, typer.Option(metavar="SHARE", help="An image that is as much like two folders stays.")]
IntoRecipe = Annotated[
    Path | None, typer.Option("--recipe", metavar="FILE", help="Into the folders of its concepts, by their triggers.")
]


@spread
def sort(
    folder: Folder, *, by: By = "tag", tag: Tags = None, clusters: Clusters = None, embedder: Embedder = BUNDLED_TAGGER,
    sure: Sure = 0.02, recipe: IntoRecipe = None, way: Way,
) -> None:  # fmt: skip
    """Put images into a folder for each concept: 1_red dress/ and so on; captions and masks go along."""
    from bakehouse.cli.dataset.concepts import folders_of
    from bakehouse.cli.dataset.run_operation import run_verb
    from bakehouse.curation.sorting import Sort

    folders = folders_of(recipe, folder) if recipe else {}
    values = {"by": by, "tags": tag or (), "clusters": clusters, "embedder": embedder, "sure": sure, "folders": folders}
    run_verb(folder, Sort.parse(values, source="dataset sort"), way)
