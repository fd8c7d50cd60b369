"""The short way: a folder and a few words instead of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakehouse.core.spec import put
from bakehouse.data.layouts import ConceptFolder, read_layout
from bakehouse.recipe.recipe import Recipe


def recipe_for_folder(
    folder: Path | str,
    subject: str = "",
    *,
    kind: str = "character",
    base: str = "crumb",
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe for a folder in any known layout: plain, `N_name` folders, concepts_list.json, metadata.jsonl.

    `settings` are dotted keys, as with --set.

    Raises:
        UsageError: the folder is not there or holds nothing to learn from.
        Problems: wrong keys or values.
    """
    layout = read_layout(Path(folder))
    taught = [c for c in layout if not c.is_reg]
    classes = [c for c in layout if c.is_reg]
    values: dict[str, Any] = {
        "kind": kind,
        "model": {"base": base},
        "concepts": [_concept(c, subject if len(taught) == 1 else "") for c in taught],
    }
    if classes:
        values["prior"] = {"source": "folder", "folder": str(classes[0].folder)}
    for key, value in (settings or {}).items():
        put(values, key.split("."), value)
    return Recipe.parse(values, source=f"the recipe for {folder}").resolved_from(Path.cwd())


def _concept(found: ConceptFolder, subject: str) -> dict[str, Any]:
    values: dict[str, Any] = {"folder": str(found.folder), "subject": subject or found.class_tokens or ""}
    if found.repeats:
        values["repeats"] = found.repeats
    return values
