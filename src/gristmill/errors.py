"""The one exception that a user is meant to see, and what an error of one record among many is."""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can mend: what happened, where, and the remedy.

    `problem` and `remedy` are a sentence each, without a full stop; the remedy may be empty. The command line prints
    them as one message without a traceback and exits with code 2.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}\n  remedy: {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say after an unknown name: ", did you mean `…`?" where a known one is like it, else nothing."""
    found = get_close_matches(name, list(known), n=1)
    return f", did you mean `{found[0]}`?" if found else ""


def typed(path: object) -> str:
    """A path as a command has it that a person may copy: in quotes where it has a space or the like, and behind `./`
    where it would be taken for an option.
    """
    words = str(path)
    return shlex.quote(f"./{words}" if words.startswith("-") else words)


FAULT = "fault"  # the rule and outcome of a record on which code of ours fails
RUN_OUT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}  # descriptors and memory, for a moment or for good
LONGEST_TRACEBACK = 20_000  # characters


def no_descriptors(error: BaseException) -> bool:
    """Whether no file descriptor was left; what loads libraries says so in words alone."""
    of_machine = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    return of_machine or (isinstance(error, (OSError, ImportError)) and os.strerror(errno.EMFILE) in str(error))


def concerns_all(error: Exception) -> bool:
    """Whether an error says nothing of the record at hand, because the next one would meet it too: a want of memory,
    space, file descriptors, modules or a working disk, and what the user can mend.
    """
    of_machine = (isinstance(error, OSError) and error.errno is not None) or no_descriptors(error)
    return of_machine or isinstance(error, (UserError, MemoryError, ImportError, sqlite3.OperationalError))


def fault_notes(error: Exception) -> dict[str, str]:
    """What a log says of an error that concerns one record: `why` in a line, and the `traceback`."""
    lines = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace").decode()
    if len(lines) > LONGEST_TRACEBACK:  # its last line may hold the record
        lines = f"{lines[: LONGEST_TRACEBACK // 2]}\n…\n{lines[-LONGEST_TRACEBACK // 2 :]}"
    why = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
    return {"why": why[:500], "traceback": lines}


class Damaged(UserError):
    """A file that is not as it was written, or that is gone."""


class TooLarge(UserError):
    """A file that is longer than any document."""


class MissingExtra(UserError):
    """Something that only an extra which is not installed can do; the remedy says how to install it."""


@contextmanager
def from_extra(extra: str, problem: str, otherwise: str = "") -> Iterator[None]:
    """Around imports of what an extra installs. Raises MissingExtra where they fail; `otherwise` ends the remedy."""
    try:
        yield
    except ImportError as error:
        raise MissingExtra(problem, f"pip install 'gristmill[{extra}]'{otherwise}") from error
