"""Output of `dataset repeats`: a table, or a new recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings, spinner
from bakehouse.cli.render.dataset import print_skipped, skipped_files
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import UsageError
from bakehouse.core.files import write_text
from bakehouse.core.message_text import counted

if TYPE_CHECKING:
    from bakehouse.cli.dataset.options import RunOptions
    from bakehouse.curation.repeats import ConceptRepeats, Repeats
    from bakehouse.data import ImageSet


def print_repeats(source: Path, operation: Repeats, options: RunOptions, *, write: str | None = None) -> None:
    """Print the repeats of a dataset or a recipe; with `-o`, write a recipe with them.

    Raises:
        UsageError: options that do not fit the source.
    """
    if source.suffix.lower() == ".toml":
        if write:
            raise UsageError(
                f"--write {write} needs a dataset folder, and {source} is a recipe", hint="use -o NEW.toml"
            )
        _print_recipe_repeats(source, operation, options)
        return
    from bakehouse.curation.repeats import find_concepts, repeat_warnings
    from bakehouse.data import scan

    if options.out is not None:
        raise UsageError("-o needs --write", hint="add --write folders, --write toml or --write jsonl")
    with spinner("reading images", quiet=options.quiet or options.json):
        images = scan(source)
    rows = operation.rows(images)
    steps = operation.steps(images, rows)
    _print(images, rows, [*repeat_warnings(rows, find_concepts(images))], steps, operation, json=options.json)


def _print_recipe_repeats(path: Path, operation: Repeats, options: RunOptions) -> None:
    from bakehouse.curation.repeats import repeat_warnings
    from bakehouse.recipe import Recipe, recipe_to_toml, scan_concepts

    recipe = Recipe.load(path)
    with spinner("reading images", quiet=options.quiet or options.json):
        images = scan_concepts(recipe)
    names = [c.subject or c.folder.name for c in recipe.concepts]
    if len(set(names)) < len(names):
        names = [str(c.folder) for c in recipe.concepts]
    counts = {name: sum(r.concept == i for r in images) for i, name in enumerate(names)}
    rows = operation.solve(counts)
    _print(images, rows, [*repeat_warnings(rows)], None, operation, json=options.json)
    if options.out is not None and not options.dry_run:
        changed = recipe.with_values({f"concepts.{i}.repeats": row.repeats for i, row in enumerate(rows)})
        write_text(options.out, recipe_to_toml(changed, beside=options.out.resolve().parent))
        if not options.json:
            echo(f"wrote {options.out}")


def _print(
    images: ImageSet,
    rows: Sequence[ConceptRepeats],
    warnings: Sequence[str],
    steps: int | None,
    operation: Repeats,
    *,
    json: bool,
) -> None:
    shows = sum(row.shows for row in rows)
    if json:
        listed = [{**asdict(row), "shows": row.shows} for row in rows]
        document = {"concepts": listed, "shows": shows, "steps": steps}
        print_json(document | {"skipped": skipped_files(images), "warnings": warnings})
        return
    table = Table("concept", box=None, pad_edge=False)
    for head in ("images", "repeats", "shown per epoch", "target"):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(row.name, *map(str, (row.images, row.repeats, row.shows, row.target)))
    print_table(table)
    print_skipped(images)
    print_warnings(warnings)
    at = f"at batch size {operation.batch} and {operation.resolution} pixels"
    count = "" if steps is None else f", {counted(steps, 'step')} {at}"
    echo(f"{counted(shows, 'image')} per epoch{count}")
