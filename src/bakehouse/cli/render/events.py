"""Progress of long tasks: bars in a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import contextlib
import json as json_module
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
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

from bakehouse.cli.render.consoles import stderr_console
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core import events as ev
from bakehouse.core.errors import BakehouseError
from bakehouse.core.message_text import counted
from bakehouse.core.units import duration, number, size

ProgressRenderer = Callable[[ev.Event], None]

PROGRESS_FILE = "BAKEHOUSE_PROGRESS"
"""The variable that names a file for progress; the server sets it for the commands that it runs."""
_FILE_SECONDS = 0.2
_LINE_EVERY_SECONDS = 10.0
_LINE_AFTER_SECONDS = 2.0
"""Shorter tasks print no intermediate lines."""
_LINES_PER_TASK = 20
_LOADING = "loading"
"""Shown until the first event, while libraries and models are loaded."""
_SAMPLES = "drawing samples"
"""Name of the task that is counted by the sample images that were written."""
_LOSS_DECAY = 0.9
"""Decay of the running mean of losses."""


def render_events(events: Iterable[ev.Event], *, json: bool = False, quiet: bool = False) -> list[ev.Event]:
    """Render events as they come; return those that a summary needs (all but steps and progress).

    Raises:
        BakehouseError: the events end with `Failed`.
    """
    kept: list[ev.Event] = []
    with progress_renderer(json=json, quiet=quiet) as render:
        for event in events:
            render(event)
            if not isinstance(event, (ev.Step, ev.Progress)):
                kept.append(event)
    if kept and isinstance(last := kept[-1], ev.Failed):
        hint = (
            f"the last good state is {last.last_good}; run the same command again to resume from it"
            if last.last_good
            else ""
        )
        raise BakehouseError(last.error, hint=hint)
    return kept


@contextlib.contextmanager
def progress_renderer(*, json: bool = False, quiet: bool = False) -> Iterator[ProgressRenderer]:
    """Give a function that renders one event."""
    with _rendered(json=json, quiet=quiet) as render:
        path = os.environ.get(PROGRESS_FILE)
        yield render if path is None else _ProgressFile(Path(path), render)


class _ProgressFile:
    """Also writes progress as JSON lines into a file, for a program that watches this process."""

    def __init__(self, path: Path, render: ProgressRenderer) -> None:
        self._path, self._render = path, render
        self._written = 0.0

    def __call__(self, event: ev.Event) -> None:
        self._render(event)
        if isinstance(event, ev.Progress) and (event.done >= event.total or event.time - self._written > _FILE_SECONDS):
            self._written = event.time
            with self._path.open("a") as f:
                f.write(json_module.dumps(event.to_json()) + "\n")


@contextlib.contextmanager
def _rendered(*, json: bool, quiet: bool) -> Iterator[ProgressRenderer]:
    console = stderr_console()
    if json:
        yield _json_line
    elif quiet:
        yield lambda event: _print(console, event) if isinstance(event, ev.Warned) else None
    elif console.is_terminal:
        with _Bars(console) as bars:
            yield bars.render
    else:
        console.print(_LOADING)
        yield _Lines(console).render


def _json_line(event: ev.Event) -> None:
    echo(json_module.dumps(event.to_json(), ensure_ascii=False), flush=True)


def _print(console: Console, event: ev.Event) -> None:
    line = describe(event)
    if line:
        console.print(line, soft_wrap=True, style="yellow" if isinstance(event, ev.Warned) else None)


def describe(event: ev.Event) -> str:
    """Return a line for an event that happens once; empty for steps and progress."""
    match event:
        case ev.Started():
            length = f"{counted(event.steps, 'step')} in {counted(event.epochs, 'epoch')}"
            begin = f", resumed at step {event.step}" if event.step else ""
            return f"training {event.run} on {event.device}: {length}{begin}"
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
            steps = counted(event.step, "step")
            if event.seconds:
                return f"finished: {steps} in {duration(event.seconds)}"
            return f"already finished ({steps}); to train longer, start a new run with --run and --set train.epochs=N"
        case _ if event.to_json()["event"] == "scored":
            return _scored(event)
        case _:
            return ""


def _scored(event: Any) -> str:
    """Return a checkpoint's scores. The event is known by name: `evaluation` may not be imported."""
    subject, kept, drift = (number(x, 2) for x in (event.subject, event.prompt_kept, event.drift))
    at = f"{event.unit} {event.epoch} at strength {event.weight:g}, {counted(event.images, 'image')}"
    return f"{at}: subject {subject}, prompt kept {kept}, drift {drift}"


def _rates(rates: Mapping[str, float]) -> str:
    """Return `lr 2.0e-03`, or `lr unet 2.0e-03 text 4.0e-03`; groups at multiples of these are omitted."""
    shown = {name: rate for name, rate in rates.items() if " x " not in name} or dict(rates)
    if len(set(shown.values())) == 1:
        return f"lr {next(iter(shown.values())):.1e}"
    return "lr " + " ".join(f"{name} {rate:.1e}" for name, rate in shown.items())


class _Losses:
    """Running means of the losses; None before the first."""

    def __init__(self) -> None:
        self.means: dict[str, float | None] = {"loss": None, "subject": None, "prior": None}

    def add(self, event: ev.Step) -> str:
        """Add a step; return the losses as text, with subject and prior separate if there are both."""
        for name, value in (("loss", event.loss), ("subject", event.subject_loss), ("prior", event.prior_loss)):
            mean = self.means[name]
            if value is not None:
                self.means[name] = value if mean is None else _LOSS_DECAY * mean + (1 - _LOSS_DECAY) * value
        parts = [f"{name} {number(mean)}" for name, mean in self.means.items() if mean is not None]
        return "  ".join(parts if self.means["prior"] is not None else parts[:1])


class _Lines:
    """For logs: a line at the end of a task, and for each twentieth of it or every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.losses = _Losses()
        self.steps, self.epochs = 0, 0
        self._last_lines: dict[str, tuple[int, float]] = {}

    def render(self, event: ev.Event) -> None:
        match event:
            case ev.Progress():
                self._count(event)
            case ev.Step():
                losses = self.losses.add(event)
                if self._due("steps", event.step, self.steps, event.time):
                    where = f"step {event.step}/{self.steps}  epoch {event.epoch}/{self.epochs}"
                    speed = f"{event.images_per_s:.1f} images/s  {size(event.memory)}"
                    self._print_line(f"{where}  {losses}  {_rates(event.rates)}  {speed}")
            case _:
                if isinstance(event, ev.Started):
                    self.steps, self.epochs = event.steps, event.epochs
                _print(self.console, event)

    def _count(self, event: ev.Progress) -> None:
        """Print the name of a task that begins, then its count; tasks of one part are not counted."""
        first = event.what not in self._last_lines
        due = self._due(event.what, event.done, event.total, event.time)
        if first and not event.done:
            self._print_line(event.what if event.total == 1 else f"{event.what}: {event.total}")
        elif due and event.done and event.total > 1:
            self._print_line(f"{event.what} {event.done}/{event.total}")

    def _due(self, task: str, done: int, total: int, now: float) -> bool:
        before, when = self._last_lines.setdefault(task, (done - 1, now))
        part = done - before >= max(1, total // _LINES_PER_TASK)
        waited = now - when
        due = done >= total or waited >= _LINE_EVERY_SECONDS or (part and waited >= _LINE_AFTER_SECONDS)
        if due:
            self._last_lines[task] = (done, now)
        return due

    def _print_line(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)


class _Bars:
    """For terminals: a bar for each task, with single events printed above."""

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
        self.tasks[_LOADING] = self.progress.add_task(_LOADING, total=None, note="")
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def render(self, event: ev.Event) -> None:
        if _LOADING in self.tasks and not isinstance(event, ev.Warned):
            self.progress.remove_task(self.tasks.pop(_LOADING))
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
                if _SAMPLES in self.tasks:
                    self.progress.advance(self.tasks[_SAMPLES])
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
        """Show a spinner for a task of one part until it is done."""
        if done and what in self.tasks:
            self.progress.remove_task(self.tasks.pop(what))
        elif not done:
            self.tasks[what] = self.progress.add_task(what, total=None, note="")
