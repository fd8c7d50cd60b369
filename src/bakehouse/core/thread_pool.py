"""Thread pools for work on images."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = min(4, os.cpu_count() or 1)


@contextmanager
def thread_pool() -> Iterator[ThreadPoolExecutor]:
    """A pool of threads, during which numpy's BLAS uses one core for each product.

    Images are many small products: with every thread using all cores they took twice as long.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(WORKERS) as pool:
        yield pool


def map_ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield `work(item)` in the order of the items.

    At most `ahead` results are made before they are asked for: `pool.map` makes all, which are too many if each is an
    image.
    """
    made: deque[Future[Result]] = deque()
    for item in items:
        made.append(pool.submit(work, item))
        if len(made) > ahead:
            yield made.popleft().result()
    while made:
        yield made.popleft().result()
