"""Work on batches of texts in several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gristmill.processes import cores

A = TypeVar("A")
B = TypeVar("B")
AHEAD = 2  # items in flight a thread
MOST_THREADS = 16


def threads() -> int:
    """How many to work in. Results never depend on it."""
    return min(MOST_THREADS, cores())


def in_order(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """`map(function, items)` on threads, in the order of the items, with few of them in memory at once.

    For functions that spend their time in native code, which lets other threads run.
    """
    if workers == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
