"""What a failure is: something that the user can mend, or a fault of ours, whose traceback is kept."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gristmill.errors import UserError, no_descriptors
from gristmill.files import FULL, write_text
from gristmill.progress import quantity

TRACEBACK = "traceback.txt"  # in a run folder
# What SQLite, Arrow, safetensors and NumPy say: their errors have no error number of their own.
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
ELSEWHERE = "check its rights, or use a copy of it, or another folder by --out where the command has that"
FULL_TEXT = re.compile(
    rf"\b(?:os error|errno) (?:{'|'.join(map(str, FULL))})\b|disk is full|No space left on device"
    r"|^\d+ requested and \d+ written",
    re.I,
)
NO_MEMORY = re.compile(r"can't allocate memory|out of memory", re.I)  # PyTorch's, of processor and GPU
PEER_LOST = re.compile(
    r"\b(?:gloo|NCCL)\b.*(?:connection|remote process|timed? ?out)", re.I | re.S
)  # torch.distributed
UNWRITABLE = re.compile(r"disk I/O error|readonly database|unable to open database file")  # SQLite's
BROKEN = re.compile(r"malformed|not a database|unsupported file format")


def explained(error: BaseException, where: str = "", folder: Path | None = None) -> UserError | None:
    """An error as a mistake or misfortune that the user can mend, or None where it is none.

    `where` names the stage, `folder` is where it writes.
    """
    begins = f"{where}: " if where else ""
    for cause in causes(error):
        if isinstance(cause, UserError):
            return cause
        if no_descriptors(cause):
            return UserError(
                f"{begins}too few file descriptors ({os.strerror(errno.EMFILE)})",
                "raise the limit, as `ulimit -n 1024` does, and give the same command again: it goes on from here",
            )
        full = isinstance(cause, OSError) and cause.errno in FULL
        if full or FULL_TEXT.search(str(cause)):
            return UserError(
                f"{begins}no space is left to write{disk_of(cause, folder)} ({cause})",
                "free some space, or raise the limit on it, and give the same command again: it goes on from here",
            )
        if isinstance(cause, MemoryError) or (isinstance(cause, RuntimeError) and NO_MEMORY.search(str(cause))):
            what = str(cause).splitlines()[0] if str(cause) else "an allocation failed"
            return UserError(f"{begins}not enough memory: {what}", "set a smaller model, batch or context")
        if isinstance(cause, RuntimeError) and PEER_LOST.search(str(cause)):
            return UserError(
                f"{begins}another process of this training has ended",
                "give the same command again: it goes on from here",
            )
        if isinstance(cause, sqlite3.OperationalError) and UNWRITABLE.search(str(cause)):
            return UserError(f"{begins}a database cannot be written: {cause}", "check the disk's space and rights")
        if isinstance(cause, sqlite3.DatabaseError) and BROKEN.search(str(cause)):
            remedy = (
                "gristmill verify tells which; run the recipe again, without the .partial folder where there is one"
            )
            return UserError(f"{begins}a database is damaged: {cause}", remedy)
        if isinstance(cause, OSError) and cause.errno is not None and cause.filename is not None:
            if cause.errno in REFUSED and may_be_read(str(cause.filename)):
                place = str(cause.filename).removesuffix(".tmp")  # as what is written atomically is named at first
                return UserError(f"{begins}cannot write {place}: {cause.strerror}", ELSEWHERE)
            return UserError(f"{begins}{cause.strerror}: {cause.filename}", "check the path, space and rights")
    return None


def may_be_read(path: str) -> bool:
    """Whether reading is not what was refused: the file can be read, or its folder looked into, where there is none."""
    return os.access(path, os.R_OK) or (not os.path.lexists(path) and os.access(Path(path).parent, os.X_OK))


def disk_of(cause: BaseException, folder: Path | None) -> str:
    """Which disk is meant, and what is free there, as ` on the disk at /data (12 kB free)`; nothing if unknown."""
    named = getattr(cause, "filename", None) or folder
    try:
        place = Path(named).resolve().parent if named else None
        while place and not place.is_mount():
            place = place.parent
        return f" on the disk at {place} ({quantity(shutil.disk_usage(place).free)}B free)" if place else ""
    except (OSError, TypeError):
        return ""


@contextmanager
def explaining(where: str, folder: Path) -> Iterator[None]:
    """Turn an error within that the user can mend into a UserError."""
    try:
        yield
    except Exception as error:
        if known := explained(error, where, folder):
            raise known from error
        raise


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


@contextmanager
def traced(folder: Path) -> Iterator[None]:
    """Keep the traceback of a fault of ours in a run folder; the one of an earlier run is removed."""
    path = folder / TRACEBACK
    path.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if explained(error) is None:
            error.traceback_file = save_traceback(error, path)  # type: ignore[attr-defined]
        raise


def save_traceback(error: BaseException, path: Path | None = None) -> Path:
    """Write an error's traceback to `path`, or to a temporary file; returns where it is."""
    text = "".join(traceback.format_exception(error))
    if path is not None:
        try:
            write_text(path, text)
            return path
        except OSError:
            pass
    with tempfile.NamedTemporaryFile("w", prefix="gristmill-traceback-", suffix=".txt", delete=False) as file:
        file.write(text)
    return Path(file.name)


def told_fault(error: BaseException) -> str:
    """One line on a fault of ours, and where its traceback is."""
    path = getattr(error, "traceback_file", None) or save_traceback(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"error: this is a fault of gristmill's, not yours ({what}); its traceback is in {path}"
