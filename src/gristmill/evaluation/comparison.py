"""Two models on the same questions: what one got right that the other did not, and how sure the difference is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.evaluation.figures import FIGURES
from gristmill.evaluation.intervals import of_changes, own
from gristmill.evaluation.questions import Question


def compare(
    questions: Sequence[Question], before: Sequence[str], after: Sequence[str], often: int
) -> dict[str, dict[str, Any]]:
    """By figure (`FIGURES`; those of which nothing was asked are left out), two models' outcomes on the same questions.

    `gained` and `lost` count the questions on which only the second or only the first model has the outcome that
    counts, `difference` is their balance over all `questions`. `low` and `high` are its 95 % interval by the bootstrap
    (Efron 1979), which draws subjects, not questions, as questions on one subject are answered alike; `subjects` says
    how many there are.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, (group, wanted, _) in FIGURES.items():
        asked = [number for number, question in enumerate(questions) if group in question.groups(often)]
        if not asked:
            continue
        first, second = (np.array([outcomes[number] == wanted for number in asked]) for outcomes in (before, after))
        subjects = own([questions[number].owner for number in asked])
        found[name] = {"questions": len(asked), "subjects": len(set(subjects)), **difference(first, second, subjects)}
    return found


def difference(
    before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray, owners: Sequence[str] = ()
) -> dict[str, Any]:
    """What came out (1) and what not (0), before and after: how many, and the difference of the shares with its
    interval, for which whole `owners` are drawn (each is one of its own, where none are named)."""
    first, second = np.asarray(before, bool), np.asarray(after, bool)
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    owners = owners or own([""] * len(first))
    low, high = of_changes(second.astype(np.float64) - first, owners, -1.0)
    return {
        "before": int(first.sum()),
        "after": int(second.sum()),
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / len(first),
        "low": low,
        "high": high,
    }
