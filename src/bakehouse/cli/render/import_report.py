"""What became of another trainer's settings: key by key, what was lost first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings, stderr_console
from bakehouse.cli.render.printing import echo
from bakehouse.core.pluralize import counted

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
    summary = f"{made.title}: {fates_of(made)}"
    if aside:
        stderr_console().print(summary, soft_wrap=True)
        return
    print_table(_table(made))
    echo(summary)


def fates_of(made: Imported) -> str:
    """`12 keys taken over, 3 done always, 1 not understood`."""
    from bakehouse.recipe.importers import FATES

    counts = Counter(n.fate for n in _told(made))
    said = [f"{counts[fate]} {words}" for fate, words in FATES.items() if counts[fate]]
    usual = len(made.notes) - sum(counts.values())
    said += [f"{counted(usual, 'key')} at {'its' if usual == 1 else 'their'} default" for _ in range(usual > 0)]
    return ", ".join(said) or "nothing was said"


def _told(made: Imported) -> list[Note]:
    """What is worth a line: a key that says what is so anyway is not."""
    return [note for note in made.notes if not note.off]


def _table(made: Imported) -> Table:
    table = Table(title="Keys", title_justify="left", box=None, pad_edge=False)
    table.add_column("key", style="bold", overflow="fold")
    table.add_column("value", overflow="fold", max_width=40)
    table.add_column("became", overflow="fold")
    table.add_column("why", style="dim")
    for note in sorted(_told(made), key=lambda n: not n.is_lost):
        table.add_row(note.key, _shown(note.value), _became(note), note.why)
    return table


def _became(note: Note) -> str:
    from bakehouse.recipe.importers import FATES

    if note.is_lost:
        return FATES[note.fate]
    return ", ".join(note.to) if note.fate == "taken" and note.to else FATES[note.fate]


def _shown(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
