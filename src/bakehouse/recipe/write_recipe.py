"""Writes a recipe as TOML, with the reason of every decided number as a comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from bakehouse.recipe.plan import Plan
from bakehouse.recipe.recipe import Recipe


def plan_to_toml(plan: Plan, *, beside: Path | None = None) -> str:
    """Return the plan's recipe as TOML, with decided values. Paths inside `beside` become relative to it."""
    reasons = {d.key: d.reason for d in plan.decisions}
    return _write(plan.recipe, reasons, beside)


def recipe_to_toml(recipe: Recipe, *, beside: Path | None = None, reasons: Mapping[str, str] | None = None) -> str:
    """Return a recipe without a plan as TOML; `reasons` by dotted key become comments."""
    return _write(recipe, reasons or {}, beside)


def _write(recipe: Recipe, reasons: Mapping[str, str], beside: Path | None) -> str:
    values = _without_none({"version": recipe.version, **recipe.settings(mode="json")})
    document = tomlkit.document()
    # Plain values first: behind the first table header, TOML would take them for the table's.
    for key, value in values.items():
        if not isinstance(value, (dict, list)):
            _add(document, key, value, key, reasons)
    for key, value in values.items():
        if isinstance(value, dict):
            document.add(key, _table(value, key, reasons, beside))
        elif isinstance(value, list):
            array = tomlkit.aot()
            for i, item in enumerate(value):
                array.append(_table(item, f"{key}.{i}", reasons, beside))
            document.add(key, array)
    return tomlkit.dumps(document)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """Drop null values, which TOML does not have, and tables that are empty without them."""
    kept = {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}
    return {k: v for k, v in kept.items() if v != {}}


def _table(values: dict[str, Any], path: str, reasons: Mapping[str, str], beside: Path | None) -> Table:
    table = tomlkit.table()
    if path in reasons:
        table.comment(reasons[path])
    for key, value in _plain_first(values):
        here = f"{path}.{key}"
        if isinstance(value, dict) and value:
            table.add(key, _table(value, here, reasons, beside))
        else:
            _add(table, key, _shorter(key, value, beside), here, reasons)
    return table


def _plain_first(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((k, v) for k, v in values.items() if not isinstance(v, dict))
    yield from ((k, v) for k, v in values.items() if isinstance(v, dict))


def _add(table: Any, key: str, value: Any, path: str, reasons: Mapping[str, str]) -> None:
    item = tomlkit.item(value)
    if path in reasons:
        item.comment(reasons[path])
    table.add(key, item)


def _shorter(key: str, value: Any, beside: Path | None) -> Any:
    """Return paths of the user's folders relative to the recipe's own folder."""
    if key not in ("folder", "holdout") or beside is None:
        return value
    path = Path(value)
    return path.relative_to(beside).as_posix() if path.is_absolute() and path.is_relative_to(beside) else value
