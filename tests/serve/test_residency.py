"""Which models are in memory: one load for many callers, leases, the budget, failures, idling."""

from __future__ import annotations

import asyncio

import pytest

from bakehouse.core.errors import BakehouseError
from bakehouse.serve.errors import ServeError
from bakehouse.serve.work.residency import Residency


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeLoader:
    """Loads of given sizes that take given seconds of a clock; a gate can hold them up."""

    def __init__(self, clock: Clock, **sizes: int) -> None:
        self.clock, self.sizes = clock, sizes
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.seconds, self.failing = 4.0, False

    async def load(self, key: str) -> int:
        self.calls.append(f"load {key}")
        await self.gate.wait()
        self.clock.now += self.seconds
        if self.failing:
            raise BakehouseError(f"{key} is damaged")
        return self.sizes[key]

    async def unload(self, key: str) -> None:
        self.calls.append(f"unload {key}")

    async def park(self, key: str) -> None:
        self.calls.append(f"park {key}")

    async def unpark(self, key: str) -> None:
        self.calls.append(f"unpark {key}")


def law(test):
    """Run an async test with a clock and a loader of three models of 40, 40 and 70 bytes."""

    def run():
        async def body():
            clock = Clock()
            await test(clock, FakeLoader(clock, a=40, b=40, c=70))

        asyncio.run(body())

    run.__name__ = test.__name__
    return run


async def use(residency: Residency, key: str, size: int = 40) -> None:
    async with residency.lease(key, size):
        assert residency.state(key) == "warm"


@law
async def test_many_callers_wait_for_one_load_and_one_may_leave(clock, loader):
    residency = Residency(loader, budget=100, clock=clock)
    loader.gate.clear()
    callers = [asyncio.ensure_future(use(residency, "a")) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert residency.state("a") == "loading"
    callers[0].cancel()
    loader.gate.set()
    done = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [None] * 4
    assert loader.calls == ["load a"]


@law
async def test_nothing_is_moved_while_it_is_in_use(clock, loader):
    residency = Residency(loader, budget=100, clock=clock)
    async with residency.lease("a", 40):
        waiting = asyncio.ensure_future(use(residency, "c", 70))
        for _ in range(5):
            await asyncio.sleep(0)
        assert loader.calls == ["load a"]
        assert residency.state("a") == "warm"
    await waiting
    assert loader.calls == ["load a", "unload a", "load c"]
    assert residency.bytes == 70


@law
async def test_what_was_used_last_stays(clock, loader):
    residency = Residency(loader, budget=100, clock=clock)
    loader.sizes["d"] = 40
    await use(residency, "a")
    await use(residency, "b")
    await use(residency, "d")  # the one of a and b whose use is older goes
    await use(residency, "b")
    assert loader.calls.count("load b") == 1 or loader.calls.count("load a") == 1
    assert residency.bytes <= 100


@law
async def test_what_takes_long_to_load_stays_longer(clock, loader):
    residency = Residency(loader, budget=100, clock=clock)
    loader.seconds = 60.0
    await use(residency, "a")
    loader.seconds = 1.0
    await use(residency, "b")
    await use(residency, "c", 50)
    assert "unload b" in loader.calls
    assert loader.calls.index("unload b") == 2


@law
async def test_what_leaves_the_device_is_parked_if_there_is_space(clock, loader):
    residency = Residency(loader, budget=100, parking=50, clock=clock)
    await use(residency, "a")
    await use(residency, "c", 70)
    assert residency.state("a") == "parked"
    await use(residency, "a")
    assert loader.calls == ["load a", "park a", "load c", "unload c", "unpark a"]


@law
async def test_a_failure_is_remembered_with_a_growing_pause(clock, loader):
    residency = Residency(loader, budget=100, clock=clock)
    loader.failing = True
    pauses = []
    for _ in range(3):
        with pytest.raises(BakehouseError, match="a is damaged"):
            await use(residency, "a")
        with pytest.raises(ServeError) as e:
            await use(residency, "a")
        assert e.value.status == 503
        assert "a is damaged" in e.value.text
        pauses.append(e.value.retry_after)
        clock.now += e.value.retry_after
    assert pauses[0] < pauses[1] < pauses[2]
    assert loader.calls == ["load a"] * 3
    loader.failing = False
    await use(residency, "a")
    assert residency.state("a") == "warm"


@law
async def test_the_estimate_follows_past_loads(clock, loader):
    residency = Residency(loader, budget=100, clock=clock)
    guess = residency.estimated_time("a", 400_000_000)
    assert guess == pytest.approx(4.0)
    await use(residency, "a")
    assert residency.estimated_time("a", 40) == 0
    residency.lost()
    assert residency.state("a") == "cold"
    assert residency.estimated_time("a", 400_000_000) == pytest.approx(4.0)
    loader.seconds = 8.0
    await use(residency, "a")
    residency.lost()
    assert residency.estimated_time("a", 0) == pytest.approx(6.0)


@law
async def test_what_idles_is_unloaded_and_what_is_used_is_not(clock, loader):
    residency = Residency(loader, budget=100, idle_seconds=60, clock=clock)
    await use(residency, "a")
    async with residency.lease("b", 40):
        clock.now += 61
        await residency.sweep()
        assert residency.state("a") == "cold"
        assert residency.state("b") == "warm"


@law
async def test_what_can_never_fit_is_refused_at_once(clock, loader):
    residency = Residency(loader, budget=100, clock=clock)
    with pytest.raises(ServeError, match="budget"):
        await use(residency, "c", 101)
    assert loader.calls == []
