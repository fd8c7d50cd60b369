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
    base: str = BUNDLED_BASE,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return a recipe for a slider between two prompts.

    Args:
        target: the prompt whose images change: `person`.
        positive: what strength 1 shows more of: `person, big smile`.
        negative: the opposite: `person, frown`.
        keep: attributes to hold, in words.
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
    for key, value in (settings or {}).items():
        set_dotted(values, key.split("."), value)
    return Recipe.parse(values, source="the slider's recipe").resolved_from(Path.cwd())
