"""A range test in a terminal: a row of bars for each rate, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bakehouse.cli.render.consoles import print_table
from bakehouse.cli.render.events import show
from bakehouse.cli.render.printing import say
from bakehouse.core.events import Event
from bakehouse.core.files import write_text

if TYPE_CHECKING:
    from bakehouse.recipe import Recipe
    from bakehouse.training.lr_finder.suggestion import RangeTestResult

_WIDTH = 40
"""Of the longest bar, characters."""


def watched(
    recipe: Recipe, *, steps: int, low: float | None, high: float | None, json: bool, quiet: bool
) -> RangeTestResult:
    """Runs the test with its progress shown."""
    found: list[RangeTestResult] = []

    def work() -> Iterator[Event]:
        from bakehouse.training import find_lr

        found.append((yield from find_lr(recipe, steps=steps, low=low, high=high)))

    show(work(), json=json, quiet=quiet)
    return found[0]


def print_rate(test: RangeTestResult, *, quiet: bool = False) -> None:
    """The readings as bars (left out when `quiet`), the rate and why."""
    if not quiet:
        print_table(_readings(test))
    rates = ", ".join(f"{key} = {rate:g}" for key, rate in _found(test).items())
    say(f"{rates}: {test.why}")


def _found(test: RangeTestResult) -> dict[str, float]:
    rates = {"optimizer.lr": test.lr, "optimizer.text_lr": test.text_lr}
    return {key: rate for key, rate in rates.items() if rate is not None}


def write_recipe(recipe: Recipe, test: RangeTestResult, path: Path) -> None:
    """The whole plan as a recipe with the rates that were found, their reason behind them."""
    from bakehouse.recipe import make_plan, recipe_to_toml

    rates = _found(test)
    plan = make_plan(recipe.with_values({"optimizer.lr": None, "optimizer.text_lr": None, **rates}))
    reasons = {d.key: d.reason for d in plan.decisions}
    reasons |= dict.fromkeys(rates, "in the ratio it had") | {next(iter(rates)): f"by a range test: {test.why}"}
    write_text(path, recipe_to_toml(plan.recipe, beside=path.resolve().parent, reasons=reasons))


def _readings(test: RangeTestResult) -> Table:
    table = Table(title="Readings, in percent of the loss at the start", title_justify="left", box=None, pad_edge=False)
    for name in ("rate", "subject's loss", "class"):
        table.add_column(name, justify="right")
    table.add_column("learned")
    deepest = min(r.subject for r in test.measurements)
    for r in test.measurements:
        subject, drift = 100 * r.subject / test.base_loss, 100 * r.drift / test.base_loss
        bar = "█" * max(0, round(_WIDTH * r.subject / deepest))
        table.add_row(f"{r.lr:.1e}", f"{subject:+.1f}", f"{drift:.1f}", bar)
    return table
