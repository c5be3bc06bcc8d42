"""One run a folder: a lock that ends with its process, whatever ends that."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from gristmill.errors import UserError
from gristmill.inputs.folders import LOCK
from gristmill.manifest import in_run
from gristmill.processes import LEADER
from gristmill.runs.failures import ELSEWHERE
from gristmill.settings.stages import BY_NAME

PATIENCE = 1.0  # seconds that a holder may take to write who it is
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # file systems without


def lock_of(out: Path) -> Path:
    """The lock for writing a stage's folder alone: its run's where the run may write it too, else one next to it."""
    parent = out.absolute().parent
    return parent / LOCK if out.name in BY_NAME and in_run(out.absolute()) else parent / f".{out.name}{LOCK}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`. Raises UserError that names the process that holds it, if another one does.

    The kernel frees the lock when its process ends (flock(2)), so the file that a killed process leaves locks nothing.
    Of torchrun's processes the leader takes it.
    """
    if not LEADER:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = acquire(path)
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {error.strerror}", ELSEWHERE) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: whoever opened it meanwhile sees that it is gone, and opens a new one
        os.close(held)


def acquire(path: Path) -> int:
    """Open and lock the file; returns its descriptor."""
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            if told := holder(path):
                raise UserError(
                    f"another gristmill works in {path.parent}: {told}",
                    "wait for it, or choose another folder with --out",
                ) from None
            continue
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), path.stat()):
                sign(held)
                return held
        os.close(held)  # another process removed the file as it ended


def sign(held: int) -> None:
    """Write who holds a lock into its file, if the disk has room for that: it is held without, too."""
    who = {"process": os.getpid(), "started": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
    with suppress(OSError):
        os.ftruncate(held, 0)
        os.pwrite(held, json.dumps(who).encode(), 0)


def holder(path: Path) -> str:
    """Who holds a lock, as `process 12, started 2026-01-31 12:00:00`; empty where it is no longer held."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            who = json.loads(path.read_text())
            return f"process {who['process']}, started {who['started']}"
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() > end:
                return "a process that has not said which it is"
            time.sleep(0.01)
