"""The report of an import: one line per key, those that were lost first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings, stderr_console
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.message_text import counted

if TYPE_CHECKING:
    from bakehouse.recipe.importers import Imported, Note


def print_imported(made: Imported, *, json: bool = False, quiet: bool = False, aside: bool = False) -> None:
    """The report as tables or as one JSON document; `aside` leaves standard output to the recipe itself."""
    if json:
        print_json(made.to_json())
        return
    print_warnings(str(note) for note in made.lost)
    if quiet:
        return
    summary = f"{made.title}: {status_counts(made)}"
    if aside:
        stderr_console().print(summary, soft_wrap=True)
        return
    print_table(_table(made))
    echo(summary)


def status_counts(made: Imported) -> str:
    """`12 set in the recipe, 3 built in, 1 not recognised`."""
    from bakehouse.recipe.importers import STATUS_WORDS

    counts = Counter(n.status for n in _reported(made))
    parts = [f"{counts[status]} {words}" for status, words in STATUS_WORDS.items() if counts[status]]
    usual = len(made.notes) - sum(counts.values())
    parts += [f"{counted(usual, 'key')} at {'its' if usual == 1 else 'their'} default" for _ in range(usual > 0)]
    return ", ".join(parts) or "no keys"


def _reported(made: Imported) -> list[Note]:
    """Return the notes worth a line: keys that change nothing are left out."""
    return [note for note in made.notes if not note.off]


def _table(made: Imported) -> Table:
    table = Table(title="Keys", title_justify="left", box=None, pad_edge=False)
    table.add_column("key", style="bold", overflow="fold")
    table.add_column("value", overflow="fold", max_width=40)
    table.add_column("result", overflow="fold")
    table.add_column("why", style="dim")
    for note in sorted(_reported(made), key=lambda n: not n.is_lost):
        table.add_row(note.key, _shown(note.value), _result(note), note.why)
    return table


def _result(note: Note) -> str:
    from bakehouse.recipe.importers import STATUS_WORDS

    if note.is_lost:
        return STATUS_WORDS[note.status]
    return f"sets {', '.join(note.sets)}" if note.status == "set" and note.sets else STATUS_WORDS[note.status]


def _shown(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
