"""How far a run is, from its events: read once, then only what is added."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Failed, Finished, Sampled, Started, Step, Stopped, Warned
from bakehouse.core.run_folder import EventReader, Run

_RECENT = 50
"""Steps whose pace and loss are averaged."""


@dataclass
class RunStatus:
    """What the events of a run say so far."""

    step: int = 0
    steps: int = 0
    epoch: int = 0
    epochs: int = 0
    device: str = ""
    loss: float | None = None
    seconds_left: float | None = None
    samples: int = 0
    error: str = ""
    stopped: str = ""
    """Why it ended before its last step."""
    is_finished: bool = False
    warnings: list[str] = field(default_factory=list)
    losses: list[Step] = field(default_factory=list, repr=False)
    """Every step, in order."""

    def add(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case Started():
                self._rewind(event.step)
                self.steps, self.epochs, self.device = event.steps, event.epochs, event.device
                self.error, self.is_finished = "", False
            case Step():
                self._rewind(event.step - 1)
                self.step, self.epoch = event.step, event.epoch
                self.losses.append(event)
                self._average()
            case Sampled():
                self.samples += 1
            case Stopped():
                self.stopped = event.why
            case Warned():
                self.warnings.append(event.message)
            case Failed():
                self.error = event.error
            case Finished():
                self.is_finished, self.seconds_left = True, 0.0
            case _:
                pass

    def _rewind(self, step: int) -> None:
        """Forget the steps after one: a training that resumes does them again."""
        while self.losses and self.losses[-1].step > step:
            self.losses.pop()
        self.step = min(self.step, step)

    def _average(self) -> None:
        recent = self.losses[-_RECENT:]
        self.loss = sum(step.loss for step in recent) / len(recent)
        if len(recent) > 1 and self.steps:
            pace = (recent[-1].time - recent[0].time) / (len(recent) - 1)
            self.seconds_left = max(0.0, pace * (self.steps - self.step))


class RunStatuses:
    """The status of each run; each asks only for what its file has more."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[EventReader, RunStatus]] = {}
        self._lock = threading.Lock()

    def of(self, run: Run) -> RunStatus:
        """Return the status of a run; an empty one if it has not begun."""
        with self._lock:
            if run.folder not in self._known:
                self._known[run.folder] = (EventReader(run), RunStatus())
            reader, status = self._known[run.folder]
            with contextlib.suppress(BakehouseError):
                for event in reader.read_new():
                    status.add(event)
            return status

    def forget(self, run: Run) -> None:
        """Forget a run that was removed."""
        with self._lock:
            self._known.pop(run.folder, None)
