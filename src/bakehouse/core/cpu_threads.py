"""Threads that share the cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

WORKERS = min(4, os.cpu_count() or 1)


@contextmanager
def thread_pool() -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads each keep to one core: numpy's BLAS spreads no product over the others meanwhile.

    Pictures are many small products; spread by every thread over all cores, they took twice as long.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(WORKERS) as pool:
        yield pool
