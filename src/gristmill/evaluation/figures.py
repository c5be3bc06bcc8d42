"""The shares of questions that are reported: of which questions, and which outcome counts. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
OFTEN = 50  # statements from which a fact counts as well covered
OUTCOMES = ("right", "wrong", "declined")
FIGURES = {  # name in results and summary: what it is a share of, the outcome that counts, in words
    "answerable_accuracy": ("often", "right", f"right answers, facts stated {OFTEN} times or more"),
    "all_answerable_accuracy": ("answerable", "right", "right answers, all"),
    "unanswerable_declined": ("unanswerable", "declined", "unanswerable questions declined"),
    "wrong_answer_rate": ("unanswerable", "wrong", "unanswerable questions answered all the same"),
}


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items: the first, the last, and others evenly spread between."""
    last = len(items) - 1
    return [items[round(index * last / max(1, count - 1))] for index in range(count)] if count <= last else [*items]
