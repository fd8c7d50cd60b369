"""Processes that train together, through torch.distributed: gradients by NCCL between GPUs, all else by gloo."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

import bakehouse
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event
from bakehouse.core.message_text import listed
from bakehouse.core.rank_environment import RankEnvironment
from bakehouse.training.interruption import Interruption, until_interrupted
from bakehouse.training.out_of_memory import OutOfMemory, is_out_of_memory
from bakehouse.training.ranks import RankEndedError

T = TypeVar("T")
P = ParamSpec("P")

TIMEOUT = datetime.timedelta(hours=12)
"""How long a rank waits for the others, which may wait for rank 0's samples and evaluations. A rank that has ended is
noticed at once: its connections are closed."""
GRACE_SECONDS = 5.0
"""How long a rank waits, after another has ended, for what started it to end it too: then one message is printed."""
_NOTE_SECONDS = 2.0
"""How long rank 0 waits for what a rank that fails says of it."""
_FLAT_BYTES = 1 << 28
"""Gradients that are sent at once, as one tensor."""
_FAILURE = "bakehouse/failure"
"""Key of the store under which the first rank that fails says why."""


class ProcessGroup:
    """The processes that torch.distributed has joined."""

    def __init__(self, environment: RankEnvironment, store: Store) -> None:
        self.environment = environment
        self.count = environment.count
        self.count_here = environment.local_count
        self.is_main = environment.rank == 0
        self._store = store
        self._interruption = Interruption()
        self._joint: list[Callable[..., object]] = []
        """What all ranks do when rank 0 asks for it by its place here."""

    # --- what is shared ---

    def share(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.environment.rank :: self.count]

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        if not parameters:
            return
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)
        with self._together():
            # On the CPU, so by gloo, which notices that a rank has ended; NCCL would wait for it.
            dist.all_reduce(used, dist.ReduceOp.MAX)
            trained = [p for p, is_used in zip(parameters, used.tolist(), strict=True) if is_used]
            for gradients in _chunks([_gradient(p) for p in trained]):
                flat = torch.cat([g.reshape(-1) for g in gradients])
                dist.all_reduce(flat)
                for gradient, summed in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
                    gradient.copy_(summed.view_as(gradient))

    def sum(self, tensor: Tensor) -> Tensor:
        total = tensor.cpu()
        with self._together():
            dist.all_reduce(total)
        return total

    def smallest(self, number: int) -> int:
        return min(self.gathered(number))

    def gathered(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.count
        with self._together():
            dist.all_gather_object(values, value)
        return values

    def exchanged(self, own: Iterable[T], total: int, at_once: int = 16) -> Iterator[T]:
        mine = iter(own)
        most = -(-total // self.count)
        for _ in range(-(-most // at_once)):
            packed = io.BytesIO()
            torch.save(list(islice(mine, at_once)), packed)
            for data in self.gathered(packed.getvalue()):
                # From the other processes of this training: any object, as in pickle.
                yield from torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)

    # --- what rank 0 does ---

    def on_main(self, work: Callable[[], T]) -> T:
        if not self.is_main:
            return cast(T, self._from_main())
        try:
            result = work()
        except Exception as e:
            self._tell_others(failure=_text(e))
            raise
        self._tell_others(result)
        return result

    def main_events(self, work: Generator[Event, None, T]) -> Generator[Event, None, T]:
        if not self.is_main:
            return cast(T, self._from_main())
        try:
            result = yield from work
        except Exception as e:
            self._tell_others(failure=_text(e))
            raise
        self._tell_others(result)
        return result

    def together(self, work: Callable[P, T]) -> Callable[P, T]:
        number = len(self._joint)
        self._joint.append(work)

        def ask_and_do(*args: P.args, **kwargs: P.kwargs) -> T:
            self._tell_others(request=(number, args, kwargs))
            with self.noticing_ends():
                return work(*args, **kwargs)

        return ask_and_do

    def _tell_others(self, result: object = None, *, failure: str = "", request: object = None) -> None:
        with self._together():
            dist.broadcast_object_list([result, failure, request])

    def _from_main(self) -> Any:
        while True:
            received: list[Any] = [None, "", None]
            with self._together():
                dist.broadcast_object_list(received)
            result, failure, request = received
            if failure:
                self._end(failure)
            if request is None:
                return result
            number, args, kwargs = request
            with self.noticing_ends():
                self._joint[number](*args, **kwargs)

    # --- what all have to agree on ---

    def everywhere(self, work: Callable[[], T]) -> T:
        error: BakehouseError | None = None
        try:
            result = work()
        except BakehouseError as e:
            error = e
        # The exit code too: rank 0 ends with the error of the first rank that failed.
        found = self.gathered(
            (f"{self.environment.name}: {error.message}", error.hint, error.exit_code) if error else None
        )
        failed = [f for f in found if f]
        if not failed:
            return result
        if not self.is_main:
            self._end("")
        if error is not None:
            raise error
        message, hint, code = failed[0]
        raise (UsageError if code == UsageError.exit_code else BakehouseError)(message, hint=hint)

    def on_other_machines(self, work: Callable[[], object]) -> None:
        first_there = self.environment.local_rank == 0 and not self.is_main
        self.everywhere(work if first_there else lambda: None)

    def check_same(self, what: str, values: Mapping[str, Any], hint: str) -> None:
        found = self.gathered((self.environment.name, dict(_flat(values))))
        _, expected = found[0]
        for name, others in found:
            different = [k for k in {**expected, **others} if expected.get(k) != others.get(k)]
            if not different:
                continue
            if not self.is_main:
                self._end("")
            pairs = [f"{key} = {others.get(key)!r} (rank 0 has {expected.get(key)!r})" for key in different]
            raise UsageError(f"{name} has {what} unlike rank 0's: {listed(pairs, 5)}", hint=hint)

    # --- how it ends ---

    def until_interrupted(self, events: Generator[Event, None, None], save: Callable[[], Event]) -> Iterator[Event]:
        # SIGTERM is what the launcher ends the others with when one has failed.
        with self._interruption.put_off([signal.SIGINT]):
            if self.is_main:
                yield from until_interrupted(events, save, self._interruption)
            else:
                yield from events

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """End this rank if another has ended, which torch.distributed tells as one of several errors."""
        try:
            yield
        except RuntimeError as e:
            if is_out_of_memory(e):
                raise
            self._end("")

    @contextlib.contextmanager
    def noticing_ends(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as e:
            # Errors of NCCL have a class of their own; gloo's are known by its source file, which they begin with.
            if not isinstance(e, dist.DistError) and "gloo/" not in str(e):
                raise
            self._end("")

    def _end(self, why: str) -> NoReturn:
        """End this rank since another one has; rank 0 says why, where nothing else does."""
        if self._interruption.requested:
            raise KeyboardInterrupt
        if self.environment.launched or not self.is_main:
            time.sleep(GRACE_SECONDS)  # ended by what started it, meanwhile
        if not self.is_main:
            raise SystemExit(1)
        raise RankEndedError(why or self._failure())

    def _failure(self) -> str:
        end = time.monotonic() + _NOTE_SECONDS
        with contextlib.suppress(RuntimeError):
            while time.monotonic() < end:
                if self._store.check([_FAILURE]):
                    return str(self._store.get(_FAILURE).decode())
                time.sleep(0.05)
        return "another rank has ended, without a word: killed, or its machine is gone; what started it may say more"

    def tell_failure(self, error: Exception) -> None:
        """Leave the reason why this rank ends where rank 0 finds it, and name the rank in the error."""
        if isinstance(error, RankEndedError):
            return
        if isinstance(error, BakehouseError) and (not self.is_main or isinstance(error, OutOfMemory)):
            error.message = f"{self.environment.name}: {error.message}"
        with contextlib.suppress(RuntimeError):
            self._store.compare_set(_FAILURE, "", _text(error))


@contextlib.contextmanager
def joined(environment: RankEnvironment) -> Iterator[ProcessGroup]:
    """Join the other processes of a training, which all call this, during the block.

    Raises:
        UsageError: they have different versions of bakehouse or PyTorch.
    """
    if environment.launched:
        _end_with(os.getppid())
    if torch.cuda.is_available() and environment.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(environment.local_rank)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, rank, count = next(iter(rendezvous("env://", timeout=TIMEOUT)))
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT)
    ranks = ProcessGroup(environment, store)
    try:
        versions = {"bakehouse": bakehouse.__version__, "torch": torch.__version__}
        ranks.check_same("versions", versions, "install the same versions on all machines")
        yield ranks
    except KeyboardInterrupt:
        if ranks.is_main:
            raise
        raise SystemExit(130) from None
    except Exception as e:
        ranks.tell_failure(e)
        raise
    dist.destroy_process_group()


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _gradient(parameter: Tensor) -> Tensor:
    """Return a parameter's gradient, zeros where this rank had no batch that uses it."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _chunks(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield neighbours of one type and device with at most `_FLAT_BYTES` together."""
    chunk: list[Tensor] = []
    size = 0
    for tensor in tensors:
        same = not chunk or (chunk[0].dtype, chunk[0].device) == (tensor.dtype, tensor.device)
        if chunk and (not same or size + tensor.nbytes > _FLAT_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(tensor)
        size += tensor.nbytes
    if chunk:
        yield chunk


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested settings by their dotted keys."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{key}.{number}")
    else:
        yield key, value


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, BakehouseError) else f"{type(error).__name__}: {error}"
