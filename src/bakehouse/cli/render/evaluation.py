"""What an evaluation came to, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from bakehouse.cli.render.printing import say
from bakehouse.core.events import Event
from bakehouse.core.run_folder import Run
from bakehouse.evaluation import Evaluated


def print_verdict(run: Run, events: Iterable[Event]) -> None:
    """The verdict, the pick with its reason, the report, and the command that draws with it."""
    for event in events:
        if isinstance(event, Evaluated):
            say(f"{event.verdict}: {event.why}")
            if event.advice:
                say(event.advice)
            say(f"report: {event.report}")
            weights = shlex.quote(str(run.folder / event.weights))
            say(f'draw: bakehouse generate {weights} "..." --weight {event.weight:g}')
