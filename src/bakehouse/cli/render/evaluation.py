"""Result of an evaluation, and the next command."""

from __future__ import annotations

from collections.abc import Iterable

from bakehouse.cli.render.safe_printing import echo, shell_command
from bakehouse.core.events import Event
from bakehouse.core.run_folder import Run
from bakehouse.evaluation import Evaluated, SliderScored


def print_slider(events: Iterable[Event]) -> None:
    """Print the verdict on a slider, the reason and the report."""
    for event in events:
        if isinstance(event, SliderScored):
            echo(f"{event.verdict}: {event.reason}")
            echo(f"report: {event.report}")


def print_verdict(run: Run, events: Iterable[Event]) -> None:
    """Print the verdict, the reasons, the advice, the report and the command that generates with the pick."""
    for event in events:
        if isinstance(event, Evaluated):
            echo(f"{event.verdict}: {event.reason}")
            echo(event.why)
            if event.advice:
                echo(event.advice)
            echo(f"report: {event.report}")
            if not event.weights:
                continue
            weights = shell_command(run.folder / event.weights)
            echo(f'generate with: bakehouse generate {weights} "..." --weight {event.weight:g}')
