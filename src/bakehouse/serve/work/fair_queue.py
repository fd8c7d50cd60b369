"""A bounded queue that is fair between callers: deficit round robin (Shreedhar and Varghese 1996).

Each caller has a line of its own. Lines are visited in turn; a visit adds a quantum of work to the line's credit, and
what the credit covers is taken. So who asks for a thousand pictures waits for them, and nobody else does.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


class QueueFullError(Exception):
    """The queue holds as much as it may."""


@dataclass
class _Line(Generic[T]):
    waiting: deque[tuple[T, float]] = field(default_factory=deque)
    credit: float = 0.0
    visited: bool = False
    """Whether this turn's quantum was added."""


class FairQueue(Generic[T]):
    """Items of callers with their costs, in any unit; `quantum` is in the same unit."""

    def __init__(self, *, limit: int, quantum: float) -> None:
        self._limit, self._quantum = limit, quantum
        self._lines: dict[str, _Line[T]] = {}
        """Only lines that are not empty, the next to be visited first."""

    def __len__(self) -> int:
        return sum(len(line.waiting) for line in self._lines.values())

    def add(self, caller: str, items: list[tuple[T, float]], *, always: bool = False) -> None:
        """Add items with their costs at the end of a caller's line, all or none; `always`: also beyond the limit.

        Raises:
            QueueFullError: they do not fit.
        """
        if not always and len(self) + len(items) > self._limit:
            raise QueueFullError
        if not items:
            return
        self._lines.setdefault(caller, _Line()).waiting.extend(items)

    def take(self) -> T | None:
        """Take the next item; None if the queue is empty."""
        while self._lines:
            caller, line = next(iter(self._lines.items()))
            if not line.visited:
                line.credit += self._quantum
                line.visited = True
            item, cost = line.waiting[0]
            if cost <= line.credit:
                line.waiting.popleft()
                line.credit -= cost
                if not line.waiting:
                    del self._lines[caller]  # an idle caller saves no credit
                return item
            del self._lines[caller]
            line.visited = False
            self._lines[caller] = line
        return None

    def take_alike(self, fits: Callable[[T], bool], most: int) -> list[T]:
        """Take up to `most` more items that can share a batch with one just taken: the first of each line, in turn.

        They are paid for by their lines, whose credit may become negative: taken early, not free.
        """
        taken: list[T] = []
        found = True
        while found and len(taken) < most:
            found = False
            for caller, line in list(self._lines.items()):
                if len(taken) == most or not line.waiting or not fits(line.waiting[0][0]):
                    continue
                item, cost = line.waiting.popleft()
                line.credit -= cost
                taken.append(item)
                found = True
                if not line.waiting:
                    del self._lines[caller]
        return taken

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out all items that are unwanted, and return them."""
        removed: list[T] = []
        for caller, line in list(self._lines.items()):
            removed += [item for item, _ in line.waiting if unwanted(item)]
            line.waiting = deque(entry for entry in line.waiting if not unwanted(entry[0]))
            if not line.waiting:
                del self._lines[caller]
        return removed

    def order(self) -> list[T]:
        """Return all items in the order in which they would be taken now, one by one."""
        rest: FairQueue[T] = FairQueue(limit=self._limit, quantum=self._quantum)
        rest._lines = {
            caller: _Line(copy.copy(line.waiting), line.credit, line.visited) for caller, line in self._lines.items()
        }
        ordered = []
        while (item := rest.take()) is not None:
            ordered.append(item)
        return ordered
