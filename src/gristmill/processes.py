"""The processes of a run: which of torchrun's this is (without torchrun there is one, the leader), its cores
and threads, the memory that it and all that it starts take, and how many connections it may have open.

torchrun sets these variables for every process that it starts (https://docs.pytorch.org/docs/stable/elastic/run.html).
"""

from __future__ import annotations

import atexit
import os
import resource
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from gristmill.errors import UserError

A = TypeVar("A")
B = TypeVar("B")
TOGETHER = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
RANK = int(os.environ["RANK"]) if TOGETHER else 0
LOCAL_RANK = int(os.environ["LOCAL_RANK"]) if TOGETHER else 0
SIZE = int(os.environ["WORLD_SIZE"]) if TOGETHER else 1
LEADER = RANK == 0  # it alone prints, writes what is no checkpoint, and runs the stages that do not train
EACH = 4  # descriptors of a request: two addresses that are tried at once, and two while a name is looked up
RESERVED = 16  # for the frontier, the WARC file, certificates and what the resolver reads
UNKNOWN = 32  # taken to be open where the system does not say
AHEAD = 2  # items in flight a thread
MOST_THREADS = 16
SAMPLE_SECONDS = 0.2  # between two looks at what all processes take


def leave(code: str | int | None) -> NoReturn:
    """End this process as `sys.exit` does, but without the end of the interpreter: where threads of PyTorch still hold
    objects of it, that aborts one of several processes now and then (https://github.com/pytorch/pytorch/issues/190489).
    """
    if isinstance(code, str):
        print(code, file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """How many threads to work in. Results never depend on it."""
    return min(MOST_THREADS, cores())


def in_order(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """`map(function, items)` on threads, in the order of the items, with few of them in memory at once.

    For functions that wait, or spend their time in native code, which lets other threads run.
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


def connections(wanted: int) -> tuple[int, int]:
    """How many requests may be in flight, at most `wanted`, and how many idle connections may be kept besides.

    The process's own limit is raised as far as the system allows. Raises UserError where not one connection is left.
    """
    try:
        used = len(list(Path("/dev/fd").iterdir()))
    except OSError:
        used = UNKNOWN
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = used + RESERVED + 2 * EACH * wanted
    if limit != resource.RLIM_INFINITY and limit < needed:
        with suppress(ValueError, OSError):
            raised = needed if most == resource.RLIM_INFINITY else min(most, needed)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, raised), most))
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = needed - used - RESERVED if limit == resource.RLIM_INFINITY else limit - used - RESERVED
    if free < EACH:
        raise too_few(f"{used} of {limit} are in use, and a connection takes {EACH}")
    at_once = min(wanted, free // EACH)
    return at_once, max(1, free - EACH * at_once)


def too_few(why: str) -> UserError:
    """What to say where descriptors are wanting."""
    return UserError(
        f"too few file descriptors: {why}",
        "raise the limit, as `ulimit -n 1024` does, or close what holds them; the same command goes on from here",
    )


@contextmanager
def watching_memory() -> Iterator[Callable[[], int]]:
    """Watch the memory of this process and all below it; yields what tells the most resident bytes so far, together.

    Pages that processes share count for each. Of this process alone no peak is missed, of the others one that is
    shorter than SAMPLE_SECONDS.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's own count of the peak begins again (Linux)
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE_SECONDS):
            most[0] = max(most[0], memory_of(descendants(os.getpid()), "VmRSS:"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: max(most[0], peak_rss())
    finally:
        over.set()
        thread.join()


def descendants(process: int) -> list[int]:
    """A process and all that it has started, and they; itself alone where the system does not say (Linux does)."""
    found = [process]
    for one in found:
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def memory_of(processes: list[int], field: str) -> int:
    """Bytes that a field of /proc/…/status tells of processes, together; 0 where there is none."""
    total = 0
    for process in processes:
        with suppress(OSError):  # it may have ended
            for line in Path(f"/proc/{process}/status").read_text().splitlines():
                total += int(line.split()[1]) * 1024 if line.startswith(field) else 0
    return total


def peak_rss() -> int:
    """Peak resident bytes of this process (elsewhere than on Linux: since it began)."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return memory_of([os.getpid()], "VmHWM:") or (used if os.uname().sysname == "Darwin" else used * 1024)
