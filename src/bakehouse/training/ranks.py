"""The processes of one training, one for each device: what they share, and what process 0 does for all of them.

The loop knows this interface alone. Batch k of a step goes to rank k mod N, and the gradients of all are added:
learning rates, orders, captions and noise are functions of the seed, the step and the batch's number, so the sum is
that of one process which accumulates them one after the other.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event
from bakehouse.core.rank_environment import rank_environment
from bakehouse.training.interruption import Interruption, until_interrupted

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
P = ParamSpec("P")


class RankEndedError(BakehouseError):
    """Another process of this training has ended, so that this one cannot go on."""


class Ranks(Protocol):
    """The processes of one training, seen from one. All of them call the same methods in the same order."""

    @property
    def count(self) -> int:
        """Number of processes."""

    @property
    def count_here(self) -> int:
        """Number of processes on this machine."""

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes the run: events, states, weights, samples, evaluations."""

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this rank's part of a list that is the same in all: items r, r + N, ..."""

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Add the gradients of all ranks; a parameter without a gradient in any keeps none."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of the ranks' tensors, which have one shape."""

    def smallest(self, number: int) -> int:
        """Return the smallest of the ranks' numbers."""

    def gathered(self, value: T) -> list[T]:
        """Return every rank's value, in the order of the ranks."""

    def exchanged(self, own: Iterable[T], total: int, at_once: int = 16) -> Iterator[T]:
        """Yield what all ranks yield from their shares of `total` items, as it is made; tensors on the CPU.

        `at_once` items of each rank are exchanged together.
        """

    def on_main(self, work: Callable[[], T]) -> T:
        """Return in every rank what `work` returns in rank 0, the only one that does it.

        Raises:
            Exception: of `work`, in rank 0; in the others RankEndedError.
        """

    def main_events(self, work: Generator[Event, None, T]) -> Generator[Event, None, T]:
        """Like `on_main`, for work that yields events; in other ranks there are none."""

    def together(self, work: Callable[P, T]) -> Callable[P, T]:
        """Return `work` as a part of what rank 0 does (`on_main`, `main_events`) in which all ranks take part.

        Rank 0 calls it; the others, which wait, call `work` with the same arguments, and drop the result. All ranks
        make such functions in the same order. An error in another rank than 0 ends all.
        """

    def noticing_ends(self) -> contextlib.AbstractContextManager[None]:
        """Inside the block, in which a model exchanges data itself, notice that another rank has ended.

        Raises:
            RankEndedError: it has, in rank 0.
        """

    def everywhere(self, work: Callable[[], T]) -> T:
        """Return what `work` returns in this rank, if it succeeds in all.

        Raises:
            BakehouseError: of `work`; in a rank where it succeeds RankEndedError.
        """

    def check_same(self, what: str, values: Mapping[str, Any], hint: str) -> None:
        """Check that values are those of rank 0 in every rank.

        Raises:
            UsageError: they are not; names the first rank with others, and what differs.
        """

    def on_other_machines(self, work: Callable[[], object]) -> None:
        """Do `work` in one rank of every machine but that of rank 0; like `everywhere` if it fails."""

    def until_interrupted(self, events: Generator[Event, None, None], save: Callable[[], Event]) -> Iterator[Event]:
        """Pass on the events of a training; an interruption ends it after the next of them, and rank 0 calls `save`.

        Ctrl-C interrupts; in the only process SIGTERM does too.

        Raises:
            KeyboardInterrupt: it was interrupted.
        """


class OnlyProcess:
    """A training in this process alone."""

    count = count_here = 1
    is_main = True

    def share(self, items: Sequence[T]) -> Sequence[T]:
        return items

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        pass

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def smallest(self, number: int) -> int:
        return number

    def gathered(self, value: T) -> list[T]:
        return [value]

    def exchanged(self, own: Iterable[T], total: int, at_once: int = 16) -> Iterator[T]:
        return iter(own)

    def on_main(self, work: Callable[[], T]) -> T:
        return work()

    def main_events(self, work: Generator[Event, None, T]) -> Generator[Event, None, T]:
        return work

    def together(self, work: Callable[P, T]) -> Callable[P, T]:
        return work

    def noticing_ends(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def everywhere(self, work: Callable[[], T]) -> T:
        return work()

    def check_same(self, what: str, values: Mapping[str, Any], hint: str) -> None:
        pass

    def on_other_machines(self, work: Callable[[], object]) -> None:
        pass

    def until_interrupted(self, events: Generator[Event, None, None], save: Callable[[], Event]) -> Iterator[Event]:
        interruption = Interruption()
        with interruption.put_off([signal.SIGINT, signal.SIGTERM]):
            yield from until_interrupted(events, save, interruption)


ALONE: Ranks = OnlyProcess()


@contextlib.contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other processes of this training during the block, if the environment says that there are any.

    Raises:
        UsageError: the environment is incomplete, or the processes have different versions.
    """
    environment = rank_environment()
    if environment is None:
        yield ALONE
        return
    from bakehouse.training.process_group import joined  # torch, once it is needed

    with joined(environment) as ranks:
        yield ranks
