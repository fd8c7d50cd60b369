"""What an evaluation came to, and what to do with it."""

from __future__ import annotations

from collections.abc import Iterable

from bakehouse.core.events import Event
from bakehouse.core.run import Run
from bakehouse.evaluate import Evaluated


def print_verdict(run: Run, events: Iterable[Event]) -> None:
    """The verdict, the pick with its reason, the report, and the command that draws with it."""
    for event in events:
        if isinstance(event, Evaluated):
            print(f"{event.verdict}: {event.why}")
            if event.mend:
                print(event.mend)
            print(f"report: {event.report}")
            print(f'draw: bakehouse generate {run.folder / event.weights} "..." --weight {event.weight:g}')
