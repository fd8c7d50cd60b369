"""Output of `bakehouse templates`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table
from bakehouse.cli.render.safe_printing import echo
from bakehouse.generation.templates import TemplateSet


def print_library(sets: Sequence[TemplateSet], *, json: bool, quiet: bool) -> None:
    """Print a row for each set with its first prompt; names alone, or JSON."""
    if json:
        print_json([{"name": s.name, "about": s.about, "prompts": len(s.templates)} for s in sets])
    elif quiet:
        echo(*(s.name for s in sets), sep="\n")
    else:
        table = Table("name", "use", "prompts", "example", box=None, pad_edge=False)
        for s in sets:
            table.add_row(s.name, s.about, str(len(s.templates)), s.templates[0].sentence)
        print_table(table)


def print_set(found: TemplateSet, *, json: bool, quiet: bool) -> None:
    """Print the prompts of a set with their names; the prompts alone, or JSON."""
    if json:
        print_json(found.to_json())
    elif quiet:
        echo(*(t.sentence for t in found.templates), sep="\n")
    else:
        table = Table("name", "prompt", box=None, pad_edge=False)
        for t in found.templates:
            table.add_row(t.name, t.sentence)
        print_table(table)
