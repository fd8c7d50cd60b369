from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bakehouse.cli.dataset.options import Folder, RunOptions
from bakehouse.cli.expand_option_groups import expand_option_groups
from bakehouse.core.bundled_models import BUNDLED_TAGGER

By = Annotated[
    Literal["tag", "cluster", "example"],
    typer.Option(help="Sort by a tag of the caption, by similarity, or by example folders."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Tag of a concept. Repeatable.")]
Clusters = Annotated[int | None, typer.Option(metavar="N", help="Number of groups. Default: chosen automatically.")]
Embedder = Annotated[str, typer.Option(metavar="crumb|FILE.onnx", help="Embedding model for similarity.")]
Sure = Annotated[
    float, typer.Option(metavar="SHARE", help="Minimum similarity gap between the two best folders to move an image.")
]
IntoRecipe = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="FILE", help="Sort into the concept folders of this recipe, by trigger."),
]


@expand_option_groups
def sort(
    folder: Folder, *, by: By = "tag", tag: Tags = None, clusters: Clusters = None, embedder: Embedder = BUNDLED_TAGGER,
    sure: Sure = 0.02, recipe: IntoRecipe = None, options: RunOptions,
) -> None:  # fmt: skip
    """Move images into one folder for each concept. Captions and masks follow."""
    from bakehouse.cli.dataset.folders_of_recipe import folders_of
    from bakehouse.cli.dataset.run_operation import run_operation
    from bakehouse.curation.sorting import Sort

    folders = folders_of(recipe, folder) if recipe else {}
    values = {"by": by, "tags": tag or (), "clusters": clusters, "embedder": embedder, "sure": sure, "folders": folders}
    run_operation(folder, Sort.parse(values, source="dataset sort"), options)
