"""The recipe of a grid as text, which is saved in its PNG, so that it can be made again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.generation.infotext import read_text
from bakehouse.generation.model_source import ModelSource, resolve
from bakehouse.generation.request import ImageRequest
from bakehouse.generation.request_json import request_from_json, request_to_json

RECIPE_CHUNK = "bakehouse-grid"
"""The PNG text chunk that holds a grid's recipe."""


@dataclass(frozen=True, kw_only=True)
class GridRecipe:
    """A grid's inputs: `make_grid(r.source(), r.x, r.y, r.request, out, z=r.z, **r.opening())` makes it again."""

    model: str
    """MODEL as it was given."""
    x: str
    y: str = ""
    z: str = ""
    request: ImageRequest
    base: str = ""
    """The base of a model that is an adapter's file."""
    prediction: str = ""
    """The prediction type, where it was given."""
    weights: tuple[tuple[str, float], ...] = ()
    """The model's own adapters, files and strengths: of a run those that were selected at the time."""
    adapters: tuple[tuple[str, float], ...] = ()
    """Added adapters: files and strengths."""
    precision: str = "auto"
    folders: dict[str, str] = field(default_factory=dict)
    """Where prompts look for `loras` and `embeddings`."""

    def source(self) -> ModelSource:
        """Return the model.

        Raises:
            UsageError: it is not there any more.
        """
        found = resolve(self.model, base=self.base or None, prediction=self.prediction or None)  # type: ignore[arg-type]
        own = tuple((Path(path), strength) for path, strength in self.weights)
        if gone := [str(path) for path, _ in own if not path.exists()]:
            raise UsageError(
                f"{', '.join(gone)}, which the grid was made with, is not there any more",
                hint="put it back, or make a new grid from its model",
            )
        return dataclasses.replace(found, adapters=own)

    def opening(self) -> dict[str, Any]:
        """Return the rest of what `make_grid` needs to open the model."""
        adapters = [(Path(path), strength) for path, strength in self.adapters]
        return {"adapters": adapters, "dtype": self.precision, **{k: Path(v) for k, v in self.folders.items()}}

    def to_json(self) -> str:
        """Return the text that is saved in the grid's PNG."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.dumps({"version": 2, **fields, "request": request_to_json(self.request)}, ensure_ascii=False)


def read_recipe(path: Path | str) -> GridRecipe:
    """Return the recipe in a grid's PNG.

    Raises:
        BakehouseError: not an image, or its recipe cannot be read.
        UsageError: an image without a grid recipe.
    """
    text = read_text(path, RECIPE_CHUNK)
    if text is None:
        raise UsageError(
            f"{path} is not a grid: it has no text chunk {RECIPE_CHUNK}",
            hint="pass a grid.png that `bakehouse grid` saved",
        )
    try:
        value = parse_json(text)
        value.pop("version")
        files = {
            name: tuple((str(file), float(strength)) for file, strength in value.pop(name))
            for name in ("weights", "adapters")
        }
        return GridRecipe(**{**value, **files, "request": request_from_json(value["request"])})
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BakehouseError(f"{path}: its grid recipe cannot be read: {e!r}") from e
