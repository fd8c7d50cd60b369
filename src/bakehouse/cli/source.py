"""Makes a recipe of what the user names: a recipe file, a folder of images or a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.core.errors import UsageError

if TYPE_CHECKING:
    from bakehouse.core.run import Run
    from bakehouse.recipe import Recipe


def read_recipe(
    source: Path,
    *,
    subject: str | None = None,
    kind: str | None = None,
    base: str | None = None,
    settings: Sequence[str] = (),
) -> Recipe:
    """The recipe that `source` means, with `--subject`, `--kind`, `--base` and `--set` laid over it.

    Raises:
        UsageError: nothing there, or a folder of images without a subject.
        Problems: wrong keys or values, all at once.
    """
    from bakehouse.core.spec import parse_setting
    from bakehouse.recipe import Recipe, recipe_for_folder

    changes = dict(parse_setting(s) for s in settings)
    if source.is_dir() and not any((source / name).is_file() for name in ("recipe.toml", "inputs.json")):
        if not subject:
            raise UsageError(
                f"{source} is a folder of images: say what is in it",
                hint='--subject "zwx person": a rare word for it and what the base calls such a thing',
            )
        recipe = recipe_for_folder(source, subject, kind=kind or "character", base=base or "crumb")
    else:
        recipe = Recipe.load(source / "recipe.toml" if source.is_dir() else source)
        words = {"concepts.0.subject": subject, "kind": kind, "model.base": base}
        changes = {k: v for k, v in words.items() if v is not None} | changes
    return recipe.with_values(changes).resolved_from(Path.cwd()) if changes else recipe


def subject_of(run: Run | None) -> str:
    """What a run's pictures show where nobody says.

    Raises:
        UsageError: it is no run, or its recipe names no subject.
    """
    from bakehouse.recipe import Recipe

    subject = Recipe.load(run.recipe).concepts[0].subject if run else ""
    if not subject:
        raise UsageError("what shall the pictures show?", hint='only a run knows its subject: say --prompt "..."')
    return subject
