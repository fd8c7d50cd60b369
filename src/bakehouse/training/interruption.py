"""Ctrl-C and SIGTERM while a training runs: they are remembered, the step is ended, and its state is saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from bakehouse.core.events import Event

_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


@dataclass
class Interruption:
    """Whether a training was asked to end."""

    requested: bool = False

    def request(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: remember the first, and end anywhere at the second."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    @contextlib.contextmanager
    def put_off(self, signals: Sequence[signal.Signals]) -> Iterator[None]:
        """Only remember these signals inside the block. Those that the program handles itself, or ignores, stay so."""
        before = {number: signal.getsignal(number) for number in signals}
        ours = [number for number, handler in before.items() if handler in _DEFAULTS]
        if threading.current_thread() is not threading.main_thread():
            ours = []  # signals are another thread's
        for number in ours:
            signal.signal(number, self.request)
        try:
            yield
        finally:
            for number in ours:
                signal.signal(number, before[number])


def until_interrupted(
    events: Generator[Event, None, None], save: Callable[[], Event], interruption: Interruption
) -> Iterator[Event]:
    """Pass on the events of a training; after an interruption end it at the next event, call `save`, yield its event.

    A step is ended before its event is yielded, so that the state belongs to a whole step.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    for event in events:
        yield event
        if interruption.requested:
            events.close()  # weights that were swapped for samples are put back
            yield save()
            raise KeyboardInterrupt


@contextlib.contextmanager
def ending_like_ctrl_c() -> Iterator[None]:
    """Handle SIGTERM as Ctrl-C is handled inside the block; both handlers are put back afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
