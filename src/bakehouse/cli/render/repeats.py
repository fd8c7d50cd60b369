"""How often each concept is shown: as a table, and in a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bakehouse.cli.render.consoles import busy, print_json, print_table, print_warnings
from bakehouse.cli.render.printing import say
from bakehouse.core.errors import UsageError
from bakehouse.core.files import write_text

if TYPE_CHECKING:
    from bakehouse.cli.dataset.options import Way
    from bakehouse.curation.repeats import ConceptRepeats, Repeats


def show_repeats(source: Path, operation: Repeats, way: Way, *, write: str | None = None) -> None:
    """Says the repeats of a dataset or a recipe; with `-o`, writes the recipe anew with them.

    Raises:
        UsageError: options that do not go with the source.
    """
    if source.suffix.lower() == ".toml":
        if write:
            raise UsageError(f"--write {write} is for folders, and {source} is a recipe", hint="-o NEW.toml writes one")
        _of_recipe(source, operation, way)
        return
    from bakehouse.curation.repeats import find_concepts, repeat_warnings
    from bakehouse.data import scan

    if way.out is not None:
        raise UsageError("-o needs --write: what shall be written there?", hint="--write folders, toml or jsonl")
    with busy("reading images", quiet=way.quiet or way.json):
        images = scan(source)
    rows = operation.rows(images)
    steps = operation.steps(images, rows)
    _print(rows, [*repeat_warnings(rows, find_concepts(images))], steps, operation, json=way.json)


def _of_recipe(path: Path, operation: Repeats, way: Way) -> None:
    from bakehouse.curation.repeats import repeat_warnings
    from bakehouse.recipe import Recipe, recipe_to_toml, scan_concepts

    recipe = Recipe.load(path)
    with busy("reading images", quiet=way.quiet or way.json):
        images = scan_concepts(recipe)
    names = [c.subject or c.folder.name for c in recipe.concepts]
    if len(set(names)) < len(names):
        names = [str(c.folder) for c in recipe.concepts]
    counts = {name: sum(r.concept == i for r in images) for i, name in enumerate(names)}
    rows = operation.solve(counts)
    _print(rows, [*repeat_warnings(rows)], None, operation, json=way.json)
    if way.out is not None and not way.dry_run:
        changed = recipe.with_values({f"concepts.{i}.repeats": row.repeats for i, row in enumerate(rows)})
        write_text(way.out, recipe_to_toml(changed, beside=way.out.resolve().parent))
        if not way.json:
            say(f"wrote {way.out}")


def _print(
    rows: Sequence[ConceptRepeats], warnings: Sequence[str], steps: int | None, operation: Repeats, *, json: bool
) -> None:
    shows = sum(row.shows for row in rows)
    if json:
        listed = [{**asdict(row), "shows": row.shows} for row in rows]
        print_json({"concepts": listed, "shows": shows, "steps": steps, "warnings": warnings})
        return
    table = Table("concept", box=None, pad_edge=False)
    for head in ("images", "repeats", "an epoch", "wished"):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(row.name, *map(str, (row.images, row.repeats, row.shows, row.target)))
    print_table(table)
    print_warnings(warnings)
    counted = (
        f", {steps} steps at batch {operation.batch} and {operation.resolution} pixels" if steps is not None else ""
    )
    say(f"{shows} images an epoch{counted}")
