"""What a recipe says of how images will be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.recipe import Recipe


def of_recipe(folder: Path, path: Path) -> dict[str, Any]:
    """What an audit asks of a recipe; open numbers stay open."""
    from bakehouse.cli.dataset.audit_base import of_base
    from bakehouse.recipe import Recipe

    recipe = Recipe.load(path)
    captions, row = recipe.captions, recipe.optimizer.row
    values = of_base(recipe.model.base)
    values["buckets"] |= recipe.buckets.settings()
    values |= {
        "recipe": str(path),
        "kind": recipe.kind,
        "batch": recipe.train.batch_size,
        "keep_tokens": captions.keep_tokens,
        "mark": captions.keep_tokens_separator,
        "max_tokens": recipe.model.max_tokens,
        "optimizer": "prodigy" if row.finds_rate else "adamw",
        "faster": recipe.loss.weighting.kind in ("min_snr", "soft_min_snr") or recipe.noise.ip_gamma > 0,
        # Open repeats are the plan's to choose, and with them what is shown in all.
        "epochs": recipe.train.epochs if all(c.repeats for c in recipe.concepts) else None,
        "repeats": _repeats(recipe, folder),
        "reg": _below(recipe.prior.folder, folder) if recipe.prior.folder else (),
        "triggers": [t.settings() for t in recipe.triggers] or _subjects(recipe),
        "compiled": bool(recipe.triggers) or bool(captions.prefix),
    }
    return values


def _repeats(recipe: Recipe, folder: Path) -> dict[str, int]:
    return {name: c.repeats for c in recipe.concepts if c.repeats for name in _below(c.folder, folder)}


def _below(path: Path, folder: Path) -> tuple[str, ...]:
    """A folder's name in the dataset, with the dataset's own as `.`; nothing where it lies elsewhere."""
    inside, root = path.resolve(), folder.resolve()
    return (inside.relative_to(root).as_posix(),) if inside.is_relative_to(root) else ()


def _subjects(recipe: Recipe) -> list[dict[str, Any]]:
    alone = len(recipe.concepts) == 1
    return [
        {"word": c.trigger_word, "class_word": c.class_name, "strategy": "fluid",
         "folders": () if alone else (c.folder.name,)}
        for c in recipe.concepts if c.trigger_word
    ]  # fmt: skip
