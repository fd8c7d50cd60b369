"""Events that long operations yield or pass to `on_event`; only the command line prints them."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened; `time` is seconds since the epoch."""

    time: float = field(default_factory=time.time)
    kinds: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Event.kinds[cls.__name__.lower()] = cls

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dict, with the event's name under `event`."""
        return {"event": type(self).__name__.lower(), **dataclasses.asdict(self)}

    @staticmethod
    def from_json(value: object) -> Event | None:
        """Return the event that `to_json` gave; fields that this version does not know are ignored.

        None if the kind of event is unknown (its module is not imported, or another version wrote it) or it is damaged.
        """
        kind = value.get("event") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in Event.kinds:
            return None
        from pydantic import ValidationError

        try:
            event: Event = _reader(kind).validate_python(value)
        except ValidationError:
            return None
        return event


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """A run begins, or is resumed at `step`."""

    run: str
    step: int
    steps: int
    epochs: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """How far something that is counted has come: caching, class images, grids."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One optimizer step. Each loss is the mean over its kind of images; None if the batch had none."""

    step: int
    epoch: int
    loss: float
    subject_loss: float | None
    prior_loss: float | None
    rates: Mapping[str, float]
    """Learning rate of each parameter group, by name: `unet`, `text`."""
    images_per_s: float
    memory: int
    """Peak bytes in use: device memory on a GPU, resident memory on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Sampled(Event):
    """A sample image was written."""

    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Previewed(Event):
    """How far an image that is being generated has come: a rough picture of it."""

    image: int
    """Number of the image in the call, from 0."""
    step: int
    steps: int
    png: str
    """A PNG of one pixel per latent, in base64."""


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """Weights were written."""

    step: int
    epoch: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """A warning for the user; the operation continues."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Noted(Event):
    """A note for the user: what was chosen automatically, and why."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """The run ends before its last step, since its goal is reached."""

    step: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run is complete."""

    step: int
    seconds: float
    weights: str


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The run failed; `last_good` is the saved state from which it can be resumed."""

    step: int
    error: str
    last_good: str | None


OnEvent = Callable[[Event], None]
"""What is called with each event."""


def ignore(_: Event) -> None:
    """Do nothing: the default for `on_event`."""


def progress_callback(on_event: OnEvent, what: str) -> Callable[[int, int], None]:
    """Return a function of (done, total) that reports a task's progress as events."""
    return lambda done, total: on_event(Progress(what=what, done=done, total=total))


@functools.cache
def _reader(kind: str) -> Any:
    """A validator for one kind of event; unknown fields are ignored."""
    from pydantic import TypeAdapter

    return TypeAdapter(Event.kinds[kind])


def result_of(work: Generator[Event, None, T], on_event: OnEvent = ignore) -> T:
    """Return what a generator of events returns at its end; `on_event` is called with each event before that."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        on_event(event)
