"""Which base models are in memory: single-flight loads, a budget in bytes, leases, parking, idle unloading.

Pure bookkeeping around a `Loader`. A model in use has a lease and is never moved. What is moved first when space is
needed has the smallest (clock + seconds to load again / bytes): GreedyDual-Size (Cao and Irani 1997), which keeps what
is used, and what is expensive to bring back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from bakehouse.core.errors import BakehouseError
from bakehouse.serve.errors import ServeError

State = Literal["cold", "loading", "warm", "parked", "failed"]

_BYTES_PER_SECOND = 200e6
_SECONDS_TO_BEGIN = 2.0
"""What a load is thought to take before the first one was measured: a disk's speed, and the imports."""
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 5.0, 300.0
_NEWEST_SHARE = 0.5
"""Weight of the newest load in the moving average of load times."""


class Loader(Protocol):
    """What moves models; each call returns when it is done."""

    async def load(self, key: str) -> int:
        """Load a model on the device and return its size in bytes."""
        ...

    async def unload(self, key: str) -> None:
        """Free a model that is on the device or parked."""
        ...

    async def park(self, key: str) -> None:
        """Move a model from the device to main memory."""
        ...

    async def unpark(self, key: str) -> None:
        """Move a parked model to the device."""
        ...


@dataclass
class _Resident:
    bytes: int
    state: Literal["warm", "parked"] = "warm"
    leases: int = 0
    used: float = 0.0
    priority: float = 0.0


@dataclass
class _Failure:
    error: BakehouseError
    until: float
    times: int


class Residency:
    """The models of one worker. All methods are called from one event loop."""

    def __init__(
        self,
        loader: Loader,
        *,
        budget: int,
        parking: int = 0,
        idle_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing loaded.

        Args:
            loader: moves models.
            budget: bytes of models on the device.
            parking: bytes of models in main memory; 0: what leaves the device is unloaded.
            idle_seconds: unload what was not used for so long; None: never.
            clock: seconds.
        """
        self._loader, self._clock = loader, clock
        self.budget, self.parking, self.idle_seconds = budget, parking, idle_seconds
        self._residents: dict[str, _Resident] = {}
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._load_began: dict[str, float] = {}
        self._failures: dict[str, _Failure] = {}
        self._seconds: dict[str, float] = {}
        self._inflation = 0.0
        self._changed = asyncio.Event()
        self._moving = asyncio.Lock()

    def state(self, key: str) -> State:
        """Return where a model is."""
        if key in self._loads:
            return "loading"
        if key in self._residents:
            return self._residents[key].state
        return "failed" if key in self._failures else "cold"

    @property
    def bytes(self) -> int:
        """Bytes of models on the device."""
        return sum(one.bytes for one in self._residents.values() if one.state == "warm")

    def estimated_time(self, key: str, expected_bytes: int) -> float:
        """Return the seconds until a model is warm: 0 if it is; else from past loads, or from its size."""
        if self.state(key) == "warm":
            return 0.0
        guess = self._seconds.get(key, _SECONDS_TO_BEGIN + expected_bytes / _BYTES_PER_SECOND)
        began = self._load_began.get(key)
        return guess if began is None else max(1.0, guess - (self._clock() - began))

    @contextlib.asynccontextmanager
    async def lease(self, key: str, expected_bytes: int) -> AsyncIterator[None]:
        """Have a model on the device inside a `with` block; it is loaded first if it is not there.

        Callers that wait for the same model share one load; one that is cancelled leaves it to the others.

        Raises:
            ServeError: it failed to load a short while ago, or is larger than the budget.
            BakehouseError: it fails to load.
        """
        while self.state(key) != "warm":
            self._refuse_failed(key)
            if key not in self._loads:
                self._begin(key, expected_bytes)
            await asyncio.shield(self._loads[key])
        resident = self._residents[key]
        resident.leases += 1
        self._touch(key, resident)
        try:
            yield
        finally:
            resident.leases -= 1
            self._touch(key, resident)
            self._changed.set()

    async def sweep(self, most: float | None = None) -> None:
        """Unload what was idle for too long: for `idle_seconds`, or for `most` seconds if that is less."""
        limits = [seconds for seconds in (self.idle_seconds, most) if seconds is not None]
        if not limits:
            return
        async with self._moving:
            for key, one in list(self._residents.items()):
                if one.leases == 0 and self._clock() - one.used > min(limits):
                    await self._unload(key)

    async def give_back(self) -> None:
        """Unload whatever is not in use, parked models too."""
        async with self._moving:
            for key, one in list(self._residents.items()):
                if one.leases == 0:
                    await self._unload(key)

    def lost(self) -> None:
        """Note that the worker has ended: nothing is loaded any more. Leases end on their own."""
        self._residents.clear()
        self._changed.set()

    def _begin(self, key: str, expected_bytes: int) -> None:
        self._load_began[key] = self._clock()
        task = asyncio.ensure_future(self._bring(key, expected_bytes))
        self._loads[key] = task

        def ended(done: asyncio.Task[None]) -> None:
            del self._loads[key], self._load_began[key]
            if not done.cancelled():
                done.exception()  # seen, also if every caller has left

        task.add_done_callback(ended)

    async def _bring(self, key: str, expected_bytes: int) -> None:
        began = self._clock()
        try:
            async with self._moving:
                parked = self._residents.get(key)
                await self._make_room(key, parked.bytes if parked else expected_bytes)
                if parked is not None and key in self._residents:
                    await self._loader.unpark(key)
                    parked.state = "warm"
                else:
                    size = await self._loader.load(key)
                    self._residents[key] = _Resident(size)
                    took = self._clock() - began
                    before = self._seconds.get(key, took)
                    self._seconds[key] = _NEWEST_SHARE * took + (1 - _NEWEST_SHARE) * before
                self._touch(key, self._residents[key])
                self._failures.pop(key, None)
        except BakehouseError as e:
            if not (isinstance(e, ServeError) and e.code == "worker_lost"):  # that says nothing of the model
                times = self._failures[key].times + 1 if key in self._failures else 1
                wait = min(_LONGEST_BACK_OFF, _FIRST_BACK_OFF * 2 ** (times - 1))
                self._failures[key] = _Failure(e, self._clock() + wait, times)
            raise

    def _refuse_failed(self, key: str) -> None:
        failure = self._failures.get(key)
        if failure is not None and self._clock() < failure.until:
            raise ServeError(
                503,
                "model_failed",
                f"the model cannot be loaded: {failure.error.message}",
                hint=failure.error.hint,
                retry_after=failure.until - self._clock(),
            ) from failure.error

    async def _make_room(self, key: str, needed: int) -> None:
        """Move models away until `needed` bytes are free, waiting for leases to end if it must."""
        if needed > self.budget:
            raise ServeError(
                503,
                "model_too_large",
                f"the model needs {needed / 1e9:.1f} GB, and the server's budget is {self.budget / 1e9:.1f} GB",
                hint="start the server with a larger --budget, or on another device",
            )
        while self.bytes + needed > self.budget:
            idle = {k: one for k, one in self._residents.items() if one.state == "warm" and one.leases == 0}
            if not idle:
                self._changed.clear()
                await self._changed.wait()
                continue
            victim = min(idle, key=lambda k: idle[k].priority)
            self._inflation = idle[victim].priority
            if idle[victim].bytes <= self.parking:
                await self._park(victim)
            else:
                await self._unload(victim)

    async def _park(self, key: str) -> None:
        one = self._residents[key]
        while sum(other.bytes for other in self._residents.values() if other.state == "parked") + one.bytes > (
            self.parking
        ):
            parked = {k: other for k, other in self._residents.items() if other.state == "parked"}
            await self._unload(min(parked, key=lambda k: parked[k].priority))
        one.state = "parked"  # before it moves: nobody may lease it meanwhile
        await self._loader.park(key)

    async def _unload(self, key: str) -> None:
        self._residents.pop(key, None)
        await self._loader.unload(key)

    def _touch(self, key: str, resident: _Resident) -> None:
        resident.used = self._clock()
        cost = self._seconds.get(key, _SECONDS_TO_BEGIN)
        resident.priority = self._inflation + cost / max(1, resident.bytes)
