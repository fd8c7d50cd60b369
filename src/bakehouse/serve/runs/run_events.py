"""The events of a run as a stream: all so far, then each new one, with numbers by which a client goes on.

The id of an event is its line in events.jsonl with a checksum of the line. A training that resumes writes the events
after its last state anew: a client whose line is no longer there gets `rewound` and everything again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.run_folder import Run


@dataclass(frozen=True)
class StreamedEvent:
    """One event of a run."""

    id: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.values["event"])


class EventStream:
    """Reads a run's events; each call gives what is new.

    Args:
        run: the run; its file need not be there yet.
        every: of the steps, only each n-th; other events always.
    """

    def __init__(self, run: Run, every: int = 1) -> None:
        self._path, self._name, self._every = run.events, run.name, max(1, every)
        self._lines: list[int] = []
        """Checksums of the lines that were read."""
        self._file = (0, 0)
        self._offset = 0

    def read_new(self) -> Iterator[StreamedEvent]:
        """Yield the events that were added.

        Raises:
            BakehouseError: the file is there and cannot be read.
        """
        try:
            with self._path.open("rb") as f:
                yield from self._read(f.fileno(), f)
        except FileNotFoundError:
            return
        except OSError as e:
            raise BakehouseError(f"the events of {self._name} cannot be read: {e.strerror or e}") from e

    def _read(self, descriptor: int, lines: Any) -> Iterator[StreamedEvent]:
        found = os.fstat(descriptor)
        before, place = self._lines, 0
        if self._file != (found.st_dev, found.st_ino):
            self._file, self._offset, self._lines = (found.st_dev, found.st_ino), 0, []
        else:
            place = len(before)
        is_same = True
        lines.seek(self._offset)
        for line in lines:
            if not line.endswith(b"\n"):
                break  # the writer is in the middle of it
            self._offset += len(line)
            checksum = zlib.crc32(line)
            known = place < len(before) and before[place] == checksum and is_same
            if not known and place < len(before) and is_same:
                is_same = False
                yield _rewound(everything=False)
            self._lines.append(checksum)
            place += 1
            if known or not (event := self._event(line, place, checksum)):
                continue
            yield event

    def _event(self, line: bytes, place: int, checksum: int) -> StreamedEvent | None:
        try:
            values = parse_json(line)
        except ValueError:
            return None
        if not isinstance(values, dict) or not isinstance(values.get("event"), str):
            return None
        if values["event"] == "step" and self._every > 1 and int(values.get("step", 0)) % self._every:
            return None
        return StreamedEvent(f"{place}-{checksum:08x}", shown_event(values, self._name))


def after(events: list[StreamedEvent], last_id: str) -> list[StreamedEvent]:
    """Return the events after the one with an id; if it is not there any more, all, after a `rewound`."""
    if not last_id:
        return events
    place = next((i for i, event in enumerate(events) if event.id == last_id), None)
    return events[place + 1 :] if place is not None else [_rewound(everything=True), *events]


def shown_event(values: dict[str, Any], run: str) -> dict[str, Any]:
    """Return an event with addresses in place of the server's paths."""
    shown = dict(values)
    for key, folder in (("path", "samples" if shown["event"] == "sampled" else "weights"), ("weights", "weights")):
        if isinstance(shown.get(key), str) and shown[key]:
            shown[key] = Path(shown[key]).name
            shown["url"] = f"/api/v1/runs/{run}/{folder}/{shown[key]}"
    if isinstance(shown.get("run"), str):
        shown["run"] = run
    if isinstance(shown.get("last_good"), str):
        shown["last_good"] = Path(shown["last_good"]).name
    return shown


def _rewound(*, everything: bool) -> StreamedEvent:
    """What is sent before events that replace others; `all`: before all events from the beginning."""
    return StreamedEvent("", {"event": "rewound", "all": everything})
