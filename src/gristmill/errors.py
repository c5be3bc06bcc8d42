"""The one exception that a user is meant to see."""

from __future__ import annotations

from collections.abc import Iterable
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


class TooLarge(UserError):
    """A file that is longer than any document."""


class MissingExtra(UserError):
    """A file that only an extra which is not installed can read; the remedy says how to install it."""
