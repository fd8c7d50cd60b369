"""What `bakehouse grid` makes a grid of: from its options, or from the recipe in a grid's PNG."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakehouse.cli.adapter_arguments import extra_adapters
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.cli.draw_options import DrawOptions
    from bakehouse.cli.generation_options import GenerationOptions
    from bakehouse.cli.prompt_options import PromptOptions
    from bakehouse.cli.region_options import RegionOptions
    from bakehouse.cli.sampler_options import SamplerOptions
    from bakehouse.generation import ImageRequest, ModelSource
    from bakehouse.generation.grids.save import Scores


@dataclass(frozen=True)
class GridInputs:
    """The arguments of `make_grid`."""

    source: ModelSource
    request: ImageRequest
    opening: dict[str, Any]
    x: str = ""
    y: str = ""
    z: str = ""

    def with_axes(self, x: str, y: str | None, z: str | None) -> GridInputs:
        return replace(self, x=x, y=y or "", z=z or "")

    @property
    def folder(self) -> Path:
        """The default output folder."""
        return Path("grids") / self.source.title

    def scores(self) -> Scores | None:
        """Return what scores the images; None for a model that was not evaluated."""
        if self.source.run is None:
            return None
        from bakehouse.evaluation.grid_scores import scores_of_run

        return scores_of_run(self.source.run)


def inputs_of(
    model: str | None,
    prompt: str | None,
    groups: tuple[GenerationOptions, DrawOptions, PromptOptions, RegionOptions, SamplerOptions],
    *,
    seed: int,
    base: str | None,
    prediction: Any,
) -> GridInputs:
    """Return the inputs that the options describe, without axes.

    Raises:
        UsageError: no model, no prompt for a model that is not a run, a folder of images, or invalid options.
    """
    from bakehouse.cli.load_recipe import subject_of
    from bakehouse.generation import resolve
    from bakehouse.generation.prompt import escape

    if model is None:
        raise UsageError("MODEL is missing", hint="bakehouse grid runs/me, or --again grid.png")
    options, draw, prompts, regions, sampler_options = groups
    source = resolve(model, base=base, prediction=prediction)
    words = escape(subject_of(source.run)) if prompt is None else prompt
    if draw.image is not None and draw.image.is_dir():
        raise UsageError(
            f"--image {draw.image} is a folder, and a grid begins from one image", hint="vary it: --x image=a.png,b.png"
        )

    in_regions = regions.parse()

    def make(words: str, **more: Any) -> ImageRequest:
        return prompts.applied_to(
            options.request(words, seed=seed, regions=in_regions, **sampler_options.fields(), **more)
        )

    # The output folder matters for a folder of images alone.
    (request,), _ = draw.requests(make, words, Path())
    opening = {"adapters": extra_adapters(source, options.adapter), "dtype": options.precision, **prompts.folders}
    return GridInputs(source, request, opening)


def inputs_of_file(path: Path) -> GridInputs:
    """Return the inputs in a grid's PNG.

    Raises:
        UsageError: it has none, or its model is not there any more.
        BakehouseError: the file is damaged.
    """
    from bakehouse.generation import read_recipe

    recipe = read_recipe(path)
    return GridInputs(recipe.source(), recipe.request, recipe.opening(), recipe.x, recipe.y, recipe.z)


def list_axes() -> None:
    """Print the axes: their names, those on labels (A1111's, where it has them), and their values."""
    from bakehouse.generation import AXES

    names, labels = (max(map(len, words)) for words in (AXES, [kind.label for kind in AXES.values()]))
    echo(*(f"{name:{names}}  {kind.label:{labels}}  {kind.takes}" for name, kind in AXES.items()), sep="\n")
