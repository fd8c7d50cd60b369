"""Output of a learning-rate range test: a bar for each rate, and the suggestion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bakehouse.cli.render.consoles import print_table
from bakehouse.cli.render.events import render_events
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.events import Event
from bakehouse.core.files import write_text

if TYPE_CHECKING:
    from bakehouse.recipe import Recipe
    from bakehouse.training.lr_finder.suggestion import RangeTestResult

_WIDTH = 40
"""Length of the longest bar, in characters."""


def run_range_test(
    recipe: Recipe, *, steps: int, low: float | None, high: float | None, json: bool, quiet: bool
) -> RangeTestResult:
    """Run the test and render its progress."""
    found: list[RangeTestResult] = []

    def work() -> Iterator[Event]:
        from bakehouse.training import find_lr

        found.append((yield from find_lr(recipe, steps=steps, low=low, high=high)))

    render_events(work(), json=json, quiet=quiet)
    return found[0]


def print_range_test(test: RangeTestResult, *, quiet: bool = False) -> None:
    """Print the measurements as bars (not with `quiet`), the rate and the reason."""
    if not quiet:
        print_table(_measurements(test))
    rates = ", ".join(f"{key} = {rate:g}" for key, rate in _found_rates(test).items())
    echo(f"{rates}: {test.why}")


def _found_rates(test: RangeTestResult) -> dict[str, float]:
    rates = {"optimizer.lr": test.lr, "optimizer.text_lr": test.text_lr}
    return {key: rate for key, rate in rates.items() if rate is not None}


def write_recipe(recipe: Recipe, test: RangeTestResult, path: Path) -> None:
    """Write the planned recipe with the found rates and their reasons."""
    from bakehouse.recipe import make_plan, recipe_to_toml

    rates = _found_rates(test)
    plan = make_plan(recipe.with_values({"optimizer.lr": None, "optimizer.text_lr": None, **rates}))
    reasons = {d.key: d.reason for d in plan.decisions}
    reasons |= dict.fromkeys(rates, "in the same ratio as before") | {
        next(iter(rates)): f"from a range test: {test.why}"
    }
    write_text(path, recipe_to_toml(plan.recipe, beside=path.resolve().parent, reasons=reasons))


def _measurements(test: RangeTestResult) -> Table:
    table = Table(
        title="Change of the loss, in percent of the loss at the start", title_justify="left", box=None, pad_edge=False
    )
    for name in ("learning rate", "subject", "class"):
        table.add_column(name, justify="right")
    table.add_column("improvement")
    deepest = min(r.subject for r in test.measurements)
    for r in test.measurements:
        subject, drift = 100 * r.subject / test.base_loss, 100 * r.drift / test.base_loss
        bar = "█" * max(0, round(_WIDTH * r.subject / deepest))
        table.add_row(f"{r.lr:.1e}", f"{subject:+.1f}", f"{drift:.1f}", bar)
    return table
