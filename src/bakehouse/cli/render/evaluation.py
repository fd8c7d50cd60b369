"""Result of an evaluation, and the next command."""

from __future__ import annotations

from collections.abc import Iterable

from bakehouse.cli.render.safe_printing import echo, shell_command
from bakehouse.core.events import Event
from bakehouse.core.message_text import counted
from bakehouse.core.run_folder import Run
from bakehouse.evaluation import Asked, Evaluated, SliderScored


def print_slider(events: Iterable[Event]) -> None:
    """Print the verdict on a slider, the reason and the report."""
    for event in events:
        if isinstance(event, SliderScored):
            echo(f"{event.verdict}: {event.reason}")
            echo(f"report: {event.report}")


def print_verdict(run: Run, events: Iterable[Event]) -> None:
    """Print the verdict, the reasons, the advice, the report and the command that generates with the pick."""
    for event in events:
        if isinstance(event, Asked):
            share = f"{event.own:.0%} ({event.low:.0%} to {event.high:.0%}) of {counted(event.images, 'image')}"
            echo(f"{event.words}: {share} show what the words stand for")
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
