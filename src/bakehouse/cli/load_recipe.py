"""The recipe of a command: from a recipe file, a folder of images or a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.core.run_folder import Run
    from bakehouse.recipe import Recipe


def read_recipe(
    source: Path,
    *,
    subject: str | None = None,
    kind: str | None = None,
    base: str | None = None,
    settings: Sequence[str] = (),
) -> Recipe:
    """Return the recipe of `source`, changed by `--subject`, `--kind`, `--base` and `--set`.

    Raises:
        UsageError: no such file or folder, or images without a subject.
        Problems: wrong keys or values, all at once.
    """
    from bakehouse.core.settings import parse_setting
    from bakehouse.recipe import Recipe, recipe_for_folder, short_settings
    from bakehouse.recipe.from_folder import check_subjects, names_images

    changes = dict(parse_setting(s) for s in settings)
    if names_images(source):
        kind = changes.get("kind", kind or "character")
        recipe = recipe_for_folder(source, subject or "", kind=kind, base=base or BUNDLED_BASE)
        check_subjects(recipe, source)
    else:
        recipe = Recipe.load(source / "recipe.toml" if source.is_dir() else source)
        changes = short_settings(recipe, subject=subject, kind=changes.get("kind", kind), base=base) | changes
    return recipe.with_values(changes).resolved_from(Path.cwd()) if changes else recipe


def subject_of(run: Run | None) -> str:
    """Return the subject of a run, the default prompt.

    Raises:
        UsageError: not a run, or its recipe has no subject.
    """
    from bakehouse.recipe import Recipe

    subject = Recipe.load(run.recipe).concepts[0].subject if run else ""
    if not subject:
        raise UsageError("no prompt given, and MODEL is not a run folder with a subject", hint='pass --prompt "..."')
    return subject
