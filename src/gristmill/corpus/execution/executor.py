"""Runs a pure function over shards: in this process, on several processes, or on a Ray cluster.

A shard is a small description (a path and a range), its result a small JSON object; text goes through files, so no
document crosses from one process to another. What a shard holds depends on the input alone: the bytes that come out
are the same whatever runs them. A finished shard's result stays on disk, and a rerun begins after it.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gristmill.errors import Damaged, UserError, from_extra
from gristmill.files import sealed, sha256_file, unsealed, write_text
from gristmill.manifest import faults
from gristmill.processes import cores

A = TypeVar("A")
Result = dict[str, Any]
SHARD_BYTES = 16_000_000  # of input: less is not worth a process's start
AGAIN = "give the same command again: what is damaged is made again"
ANSWER_SECONDS = 10.0  # within which a Ray cluster must
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # preface, and empty SETTINGS
MOST_SHARDS = 1_000  # of one stage: larger inputs have larger shards


@dataclass(frozen=True)
class Backend:
    """What runs shards."""

    address: str = ""  # of a Ray cluster; `local` starts one on this machine; empty: processes, without Ray
    workers: int = 0  # processes; 0: one a core


current = Backend()


@contextmanager
def using(backend: Backend) -> Iterator[None]:
    """Run the shards of every stage within the block on this engine."""
    global current  # noqa: PLW0603
    before, current = current, backend
    try:
        yield
    finally:
        current = before


def parse_backend(name: str, workers: int = 0) -> Backend:
    """The engine of a command line: `processes`, `ray` (a cluster of this machine alone, for as long as the run takes)
    or `ray:ADDRESS`, where ADDRESS is what `ray.init` takes. Raises UserError for another.
    """
    if name == "processes":
        return Backend(workers=workers)
    if name == "ray":
        return Backend("local", workers)
    if name.startswith("ray:"):
        return Backend(name if name.startswith("ray://") else name.removeprefix("ray:"), workers)
    raise UserError(f"--engine {name}: no such engine", "choose processes, ray, or ray:HOST:PORT of a Ray cluster")


def shard_bytes(total: int) -> int:
    """How many bytes of an input of `total` bytes go into one shard."""
    return max(SHARD_BYTES, total // MOST_SHARDS)


Task = tuple[Callable[[Any], Result], Any, Path]


class Executor:
    """Maps functions over the shards of one stage on the current engine: `with Executor(size) as executor: …`.

    `size` is the stage's input in bytes: what would fit into one shard is not worth starting processes for.
    """

    def __init__(self, size: int) -> None:
        self.workers = 1 if size <= SHARD_BYTES else current.workers or cores()
        self.pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.pool:
            if kind:  # what is under way will be done again: nobody waits for it
                for child in set(multiprocessing.active_children()) - self.others:
                    child.terminate()
            self.pool.shutdown(cancel_futures=True)

    def map(
        self, function: Callable[[A], Result], shards: Sequence[A], folder: Path, done: Callable[[Result], None]
    ) -> list[Result]:
        """`function` of every shard, in order. Each result is written to `folder` when made; a rerun finds it there.

        `function` must be importable by name, pure but for the files that it writes atomically, and the shards small
        to send. `done` is called with each result as it comes, in any order. Raises what `function` raises.
        """
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{number:05d}.json" for number in range(len(shards))]
        tasks: list[Task] = []
        for shard, path in zip(shards, paths, strict=True):
            try:
                done(result_in(path))
            except (FileNotFoundError, Damaged):  # not made yet, or damaged since
                tasks.append((function, shard, path))
        for result in self.run(tasks):
            done(result)
        return [result_in(path) for path in paths]

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """The results of tasks as they are finished."""
        if current.address and tasks:
            return run_on_ray(tasks)
        if self.workers > 1 and len(tasks) > 1:
            return self.run_on_processes(tasks)
        return map(finish, tasks)

    def run_on_processes(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Processes of this machine, started when first needed."""
        if not self.pool:
            # spawn: forking a process that has threads (PyArrow, PyTorch) can hang the child
            context = multiprocessing.get_context("spawn")
            self.others = set(multiprocessing.active_children())
            self.pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=start_worker)
        futures = [self.pool.submit(finish, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process was ended from outside, most often for want of memory",
                "run the same command again, with fewer --workers: it goes on after the finished shards "
                '(a script of your own calls gristmill under `if __name__ == "__main__":`, for workers import it)',
            ) from None
        finally:
            for future in futures:
                future.cancel()


def finish(task: Task) -> Result:
    """Do one task and leave its result, last of all its files, whose checksums go with it."""
    function, shard, path = task
    result = function(shard)
    files = {
        os.path.relpath(file, path.parent): sha256_file(file) for file in getattr(shard, "files", ()) if file.exists()
    }
    write_text(path, sealed(json.dumps({"result": result, "files": files})))
    return result


def result_in(path: Path) -> Result:
    """What a task left. Raises Damaged where that or one of its files is not as it was written."""
    found = unsealed(path, AGAIN)
    for name, fault in faults(path.parent, found["files"]):
        raise Damaged(f"{path.parent / name} is {fault}", AGAIN)
    result: Result = found["result"]
    return result


def finish_in(folder: Path, task: Task) -> Result:
    """Do one task where its relative paths mean what they meant."""
    os.chdir(folder)
    return finish(task)


def must_answer(address: str) -> None:
    """Raise UserError where nothing answers at the HOST:PORT of a Ray cluster: Ray itself would wait without end.

    Ray speaks gRPC, whose server answers the beginning of HTTP/2 (RFC 9113, section 3.4) at once; one that closes the
    connection, as it may where it asks for TLS, is there.
    """
    host, _, port = address.rpartition("://")[2].strip("/").rpartition(":")
    if not (host and port.isascii() and port.isdigit()):
        return  # `local` and `auto`: Ray's own names
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            connection.sendall(HTTP_2)
            with suppress(ConnectionError):
                connection.recv(1)
    except (OSError, OverflowError) as error:
        remedy = "start one there (ray start --head), or check the address; --engine processes needs none"
        raise UserError(f"no Ray cluster at {address}: {error}", remedy) from error


def run_on_ray(tasks: Sequence[Task]) -> Iterator[Result]:
    """A Ray cluster, whose nodes have gristmill installed and see the run folder under the same path."""
    must_answer(current.address)
    with from_extra("ray", "--engine ray needs Ray"):
        import ray
    if not ray.is_initialized():
        try:
            ray.init(
                address=current.address,
                num_cpus=(current.workers or None) if current.address == "local" else None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises that class itself where a node is slow to start
            remedy = "check the address; a machine that is busy may need a second try"
            raise UserError(f"no Ray cluster at {current.address}: {error}", remedy) from error
    remote = ray.remote(num_cpus=1)(finish_in)
    folder = Path.cwd()
    waiting = [remote.remote(folder, task) for task in tasks]
    try:
        while waiting:
            (ready,), waiting = ray.wait(waiting)
            yield ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:  # a worker that ended four times, a node that is gone
        told = str(error).partition("\n")[0]
        raise UserError(f"Ray lost what it worked on: {told}", "run the same command again: it goes on") from None
    finally:
        for reference in waiting:
            ray.cancel(reference)


def start_worker() -> None:
    """In a worker: stop when the parent process is gone, also after `kill -9`, and on Ctrl-C without a traceback."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
