"""Maps a pure function over a stream on several processes: bounded memory, results in order of the input."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
WORTH_IT = 6  # chunks below which starting processes costs more than it saves
AHEAD = 3  # chunks in flight a worker


def map_in_order(function: Callable[[A], B], chunks: Iterable[A], workers: int) -> Iterator[B]:
    """`map(function, chunks)` on `workers` processes; short inputs and one worker run in this process.

    `function` must be importable by name and pure: the results do not depend on `workers`.
    """
    stream = iter(chunks)
    first = list(islice(stream, WORTH_IT))
    if workers == 1 or len(first) < WORTH_IT:
        yield from map(function, chain(first, stream))
        return
    # spawn: forking a process that has threads (PyArrow, PyTorch) can hang the child
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for chunk in chain(first, stream):
                waiting.append(pool.submit(function, chunk))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def end_with_parent() -> None:
    """In a worker: stop when the parent process is gone, also after `kill -9`."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
