"""What long work tells the world while it runs. Work yields events; only the command line prints them."""

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
        """A flat dict with the event's name under `event`."""
        return {"event": type(self).__name__.lower(), **dataclasses.asdict(self)}

    @staticmethod
    def from_json(value: object) -> Event | None:
        """The inverse of `to_json`. Fields that this version does not know are left out.

        None where it is no event that is known here: of a room that is not loaded, of another version, or damaged.
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
    """A run begins, or goes on from `step`."""

    run: str
    step: int
    steps: int
    epochs: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Anything countable that takes longer than a moment: caching, class images, grids."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One optimizer step. Losses are means over the samples of their sort; None where the batch had none."""

    step: int
    epoch: int
    loss: float
    subject_loss: float | None
    prior_loss: float | None
    rates: Mapping[str, float]
    """The learning rate of each group of weights, by its name: `unet`, `text`."""
    images_per_s: float
    memory: int
    """Peak bytes in use: device memory on a GPU, resident memory on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Sampled(Event):
    """A sample picture was written."""

    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """Weights were written."""

    step: int
    epoch: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something the user should know; the work goes on."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Noted(Event):
    """Something that was chosen for the user, and why."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """The run ends before its last step: what it was for is reached."""

    step: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The work is done."""

    step: int
    seconds: float
    weights: str


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The work stopped; `last_good` is the checkpoint to go on from."""

    step: int
    error: str
    last_good: str | None


OnEvent = Callable[[Event], None]
"""What is called with each event."""


def ignore(_: Event) -> None:
    """Do nothing: the default for `on_event`."""


@functools.cache
def _reader(kind: str) -> Any:
    """Checks the fields of a kind of event and makes one; other fields are passed over."""
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
