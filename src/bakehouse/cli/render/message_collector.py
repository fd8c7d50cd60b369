"""Collect the warnings and notes of an operation for its JSON output."""

from __future__ import annotations

from collections.abc import Callable

from bakehouse.core.events import Event, Noted, Warned


class MessageCollector:
    """Keeps warnings and notes, and passes every event on."""

    def __init__(self, forward: Callable[[Event], None]) -> None:
        self._forward = forward
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def __call__(self, event: Event) -> None:
        """Record a warning or note, and pass the event on."""
        if isinstance(event, Warned):
            self.warnings.append(event.message)
        elif isinstance(event, Noted):
            self.notes.append(event.message)
        self._forward(event)

    def to_json(self) -> dict[str, list[str]]:
        """Return the keys that the JSON document of every dataset command has."""
        return {"warnings": self.warnings, "notes": self.notes}
