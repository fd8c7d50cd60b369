from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bakehouse.queue import scheduler
from bakehouse.queue.job_queue import JobQueue


@pytest.fixture
def queue(tmp_path: Path) -> JobQueue:
    return JobQueue(tmp_path / "queue.db")


@pytest.fixture
def filled(queue: JobQueue) -> Callable[..., list[int]]:
    """Adds jobs of these names; each has a run folder of its name beside the queue."""
    return lambda *names: [queue.add(name, f"# {name}\n", queue.path.parent / name).id for name in names]


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.02)

    return wait


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.02)
