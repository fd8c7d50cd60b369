"""A plan for the eye: every number with its reason, the buckets, the warnings, what it will cost."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bakehouse.cli.render.consoles import print_json, print_table, print_warnings
from bakehouse.cli.render.printing import say
from bakehouse.cli.render.units import duration, size
from bakehouse.core.pluralize import counted

if TYPE_CHECKING:
    from bakehouse.recipe import Plan


def print_plan(plan: Plan, *, json: bool = False, quiet: bool = False) -> None:
    """The whole plan, as tables or as one JSON document; `quiet` leaves the summary and the warnings."""
    if json:
        print_json(plan.to_json())
        return
    if not quiet:
        print_table(_decisions(plan))
        print_table(_buckets(plan.to_json()["buckets"]))
    print_warnings(plan.warnings)
    say(_summary(plan))
    if not quiet and (words := _words(plan)):
        asking = f"bakehouse triggers probe {shlex.join(words)} --base {shlex.quote(plan.recipe.model.base)}"
        say(f"whether the base knows {' or '.join(words)} already, it says itself: {asking}")


def _words(plan: Plan) -> list[str]:
    """The words that are to be learned, each once."""
    recipe = plan.recipe
    named = [*(t.word for t in recipe.triggers), *(c.trigger_word for c in recipe.concepts)]
    return [word for word in dict.fromkeys(named) if word]


def _decisions(plan: Plan) -> Table:
    table = Table(title=f"Plan for {plan.recipe.title}", title_justify="left", box=None, pad_edge=False)
    table.add_column("setting", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("why", style="dim")
    for decision in plan.decisions:
        table.add_row(decision.key, _shown(decision.value), decision.reason)
    return table


def _buckets(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="\nBuckets, sizes in pixels", title_justify="left", box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name.replace("_", " "), justify="right", style="bold" if name == "bucket" else None)
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    return table


def _summary(plan: Plan) -> str:
    cost = plan.estimate
    work = f"{counted(len(plan.images), 'image')}, {counted(plan.steps, 'step')} in {counted(plan.epochs, 'epoch')}"
    room = f"{size(cost.memory_bytes)} of memory and {size(cost.disk_bytes)} of disk"
    return f"\n{work}; about {duration(cost.seconds)} on {cost.device}, {room} (within a factor of two)"


def _shown(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{k} = {_shown(v)}" for k, v in value.items())
        case [int(), int()] | (int(), int()):
            return f"{value[0]} x {value[1]}"
        case list() | tuple():
            return "; ".join(_shown(v) for v in value)
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)
