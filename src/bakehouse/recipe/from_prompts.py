"""A slider's recipe from its prompts, without a recipe file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.settings import set_dotted
from bakehouse.recipe.recipe import Recipe


def recipe_for_slider(
    target: str,
    positive: str,
    negative: str = "",
    *,
    keep: Sequence[str] = (),
    images: Mapping[float, Path | str] | None = None,
    base: str = BUNDLED_BASE,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return a recipe for a slider between two prompts, or between folders of images.

    Args:
        target: the prompt whose images change: `person`.
        positive: what strength 1 shows more of: `person, big smile`.
        negative: the opposite: `person, frown`.
        keep: attributes to hold, in words.
        images: folders of images by the strength that each shows, `{1: "smile", -1: "sad"}`: the slider is trained on
            them, and the prompts name its ends.
        base: base model.
        settings: dotted keys, as with --set.

    Raises:
        Problems: wrong keys or values.
    """
    values: dict[str, Any] = {
        "kind": "slider",
        "model": {"base": base},
        "slider": {
            "prompts": [{"target": target, "positive": positive, "negative": negative}],
            **({"keep": list(keep)} if keep else {}),
        },
    }
    if images:
        values["concepts"] = [{"folder": str(folder), "strength": strength} for strength, folder in images.items()]
    for key, value in (settings or {}).items():
        set_dotted(values, key.split("."), value)
    return Recipe.parse(values, source="the slider's recipe").resolved_from(Path.cwd())
