"""Shows the events of long work: bars in a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from bakehouse.cli.render.consoles import notes
from bakehouse.cli.render.printing import say
from bakehouse.cli.render.units import duration, number, size
from bakehouse.core import events as ev
from bakehouse.core.errors import BakehouseError
from bakehouse.core.pluralize import counted

Painter = Callable[[ev.Event], None]

_LINE_EVERY_SECONDS = 10.0
_LINE_AFTER_SECONDS = 2.0
"""What is quicker needs no lines on the way."""
_LINES_PER_TASK = 20
_READY = "getting ready"
"""What is said until the first event: programs and models are being loaded."""
_DRAWING = "drawing samples"
"""Counted by the pictures that were written."""
_MEMORY = 0.9
"""Of the running mean of losses: single batches jump."""


def show(work: Iterable[ev.Event], *, json: bool = False, quiet: bool = False) -> list[ev.Event]:
    """Paints events as they come and returns those that a summary needs: all but steps and counts.

    Raises:
        BakehouseError: the work ended with `Failed`.
    """
    kept: list[ev.Event] = []
    with painting(json=json, quiet=quiet) as paint:
        for event in work:
            paint(event)
            if not isinstance(event, (ev.Step, ev.Progress)):
                kept.append(event)
    if kept and isinstance(last := kept[-1], ev.Failed):
        hint = f"the last good state is {last.last_good}; the same command goes on from there" if last.last_good else ""
        raise BakehouseError(last.error, hint=hint)
    return kept


@contextlib.contextmanager
def painting(*, json: bool = False, quiet: bool = False) -> Iterator[Painter]:
    """What paints one event, for work that calls back instead of yielding."""
    console = notes()
    if json:
        yield _json_line
    elif quiet:
        yield lambda event: _print(console, event) if isinstance(event, ev.Warned) else None
    elif console.is_terminal:
        with _Bars(console) as bars:
            yield bars.paint
    else:
        console.print(_READY)
        yield _Lines(console).paint


def _json_line(event: ev.Event) -> None:
    say(json.dumps(event.to_json(), ensure_ascii=False), flush=True)


def _print(console: Console, event: ev.Event) -> None:
    line = describe(event)
    if line:
        console.print(line, soft_wrap=True, style="yellow" if isinstance(event, ev.Warned) else None)


def describe(event: ev.Event) -> str:
    """One line for an event that happens once; empty for what is counted."""
    match event:
        case ev.Started():
            begin = f"goes on at step {event.step} of {event.steps}" if event.step else f"{event.steps} steps"
            return f"baking {event.run}: {begin}, {event.epochs} epochs, on {event.device}"
        case ev.Sampled():
            return f"sample {event.path}"
        case ev.Saved():
            return f"saved {event.path}"
        case ev.Warned():
            return f"warning: {event.message}"
        case ev.Noted():
            return event.message
        case ev.Stopped():
            return f"stopped at step {event.step}: {event.why}"
        case ev.Finished():
            how = f"in {duration(event.seconds)}" if event.seconds else "were there already"
            return f"done: {event.step} steps {how}"
        case _ if event.to_json()["event"] == "scored":
            return _scored(event)
        case _:
            return ""


def _scored(event: Any) -> str:
    """A checkpoint's figures as they come; known by its name, since `evaluate` need not be loaded to train."""
    subject, kept, drift = (number(x, 2) for x in (event.subject, event.prompt_kept, event.drift))
    at = f"{event.unit} {event.epoch} at weight {event.weight:g}, {counted(event.images, 'picture')}"
    return f"{at}: subject {subject}, prompt kept {kept}, drift {drift}"


def _rates(rates: Mapping[str, float]) -> str:
    """`lr 2.0e-03`, or `lr unet 2.0e-03 text 4.0e-03`; groups that learn at a multiple of these are left out."""
    shown = {name: rate for name, rate in rates.items() if " x " not in name} or dict(rates)
    if len(set(shown.values())) == 1:
        return f"lr {next(iter(shown.values())):.1e}"
    return "lr " + " ".join(f"{name} {rate:.1e}" for name, rate in shown.items())


class _Losses:
    """Running means of the losses; None until one was seen."""

    def __init__(self) -> None:
        self.means: dict[str, float | None] = {"loss": None, "subject": None, "prior": None}

    def add(self, event: ev.Step) -> str:
        """Takes a step in and says where the losses are; subject and prior apart where there are both."""
        for name, value in (("loss", event.loss), ("subject", event.subject_loss), ("prior", event.prior_loss)):
            mean = self.means[name]
            if value is not None:
                self.means[name] = value if mean is None else _MEMORY * mean + (1 - _MEMORY) * value
        parts = [f"{name} {number(mean)}" for name, mean in self.means.items() if mean is not None]
        return "  ".join(parts if self.means["prior"] is not None else parts[:1])


class _Lines:
    """For logs: a line where a task ends, and on the way for each twentieth of it or every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.losses = _Losses()
        self.steps, self.epochs = 0, 0
        self._said: dict[str, tuple[int, float]] = {}

    def paint(self, event: ev.Event) -> None:
        match event:
            case ev.Progress():
                self._count(event)
            case ev.Step():
                losses = self.losses.add(event)
                if self._due("steps", event.step, self.steps, event.time):
                    where = f"step {event.step}/{self.steps}  epoch {event.epoch}/{self.epochs}"
                    speed = f"{event.images_per_s:.1f} images/s  {size(event.memory)}"
                    self._say(f"{where}  {losses}  {_rates(event.rates)}  {speed}")
            case _:
                if isinstance(event, ev.Started):
                    self.steps, self.epochs = event.steps, event.epochs
                _print(self.console, event)

    def _count(self, event: ev.Progress) -> None:
        """A thing that begins is named once; one that has no parts is not counted."""
        first = event.what not in self._said
        due = self._due(event.what, event.done, event.total, event.time)
        if first and not event.done:
            self._say(event.what if event.total == 1 else f"{event.what}: {event.total}")
        elif due and event.done and event.total > 1:
            self._say(f"{event.what} {event.done}/{event.total}")

    def _due(self, task: str, done: int, total: int, now: float) -> bool:
        before, when = self._said.setdefault(task, (done - 1, now))
        part = done - before >= max(1, total // _LINES_PER_TASK)
        waited = now - when
        due = done >= total or waited >= _LINE_EVERY_SECONDS or (part and waited >= _LINE_AFTER_SECONDS)
        if due:
            self._said[task] = (done, now)
        return due

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)


class _Bars:
    """For terminals: a bar for each thing that is counted, what happens once above them."""

    def __init__(self, console: Console) -> None:
        self.losses = _Losses()
        self.tasks: dict[str, TaskID] = {}
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
        )

    def __enter__(self) -> _Bars:
        self.tasks[_READY] = self.progress.add_task(_READY, total=None, note="")
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def paint(self, event: ev.Event) -> None:
        if _READY in self.tasks and not isinstance(event, ev.Warned):
            self.progress.remove_task(self.tasks.pop(_READY))
        match event:
            case ev.Progress():
                self._count(event.what, event.done, event.total, "")
            case ev.Started():
                _print(self.progress.console, event)
                self._count("training", event.step, event.steps, "")
            case ev.Step():
                note = f"{self.losses.add(event)}  {_rates(event.rates)}  {event.images_per_s:.1f} img/s"
                self._count("training", event.step, None, note)
            case ev.Sampled():
                _print(self.progress.console, event)
                if _DRAWING in self.tasks:
                    self.progress.advance(self.tasks[_DRAWING])
            case _:
                _print(self.progress.console, event)

    def _count(self, what: str, done: int, total: int | None, note: str) -> None:
        if total == 1:
            self._spin(what, done)
            return
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=total, completed=done, note=note)
        changes: dict[str, Any] = {} if total is None else {"total": total}
        self.progress.update(self.tasks[what], completed=done, note=note, **changes)

    def _spin(self, what: str, done: int) -> None:
        """A thing without parts: there until it is done."""
        if done and what in self.tasks:
            self.progress.remove_task(self.tasks.pop(what))
        elif not done:
            self.tasks[what] = self.progress.add_task(what, total=None, note="")
