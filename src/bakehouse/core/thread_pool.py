"""Thread pools for work on images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

WORKERS = min(4, os.cpu_count() or 1)


@contextmanager
def thread_pool() -> Iterator[ThreadPoolExecutor]:
    """A pool of threads, during which numpy's BLAS uses one core for each product.

    Images are many small products: with every thread using all cores they took twice as long.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(WORKERS) as pool:
        yield pool
