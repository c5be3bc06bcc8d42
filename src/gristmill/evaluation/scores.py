"""Figures of one model's answers, each with its 95 % interval, in all and by how often the fact was stated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.evaluation.figures import FIGURES, OUTCOMES
from gristmill.evaluation.intervals import Interval, of_outcome
from gristmill.evaluation.questions import Question

MOST = 10**9  # statements
APART = ("by_stated", "by_kind", "matched")  # of a split's figures: what is no figure of a group
Pair = tuple[Question, str]  # with its outcome


def score(
    questions: Sequence[Question], outcomes: Sequence[str], split: str, buckets: Sequence[int], often: int
) -> dict[str, Any]:
    """Figures of one model on one split, with a table by how often the fact was stated: the lower bounds of its rows
    are `buckets`. Facts stated as `often` count as well covered. A second table has a row for each kind of question.

    `asked` says how many questions are in each group, `matched` how their answers were compared; a figure of a group
    that has none is left out. `intervals` has each figure's; `by` says what was drawn (`intervals.of_outcome`).
    """
    pairs = [(q, o) for q, o in zip(questions, outcomes, strict=True) if q.split == split]
    groups = {
        group: [(q, o) for q, o in pairs if group in q.groups(often)]
        for group in ("often", "answerable", "unanswerable")
    }
    table = []
    for low, high in rows(buckets):
        if bucket := [(q, o) for q, o in groups["answerable"] if low <= q.stated <= high]:
            table.append({"from": low, "to": high, **counted(bucket)})
    kinds = {kind: [(q, o) for q, o in pairs if q.kind == kind] for kind in dict.fromkeys(q.kind for q, _ in pairs)}
    told = {name: (groups[group], wanted) for name, (group, wanted, _) in FIGURES.items() if groups[group]}
    return {
        "asked": {group: len(found) for group, found in groups.items()},
        "often": often,
        "matched": dict(Counter(q.match for q, _ in pairs)),
        **{name: sum(o == wanted for _, o in found) / len(found) for name, (found, wanted) in told.items()},
        "intervals": {name: interval(*one) for name, one in told.items()},
        "by_stated": table,
        "by_kind": [{"kind": kind, **counted(found)} for kind, found in kinds.items() if kind],
    }


def counted(pairs: Sequence[Pair]) -> dict[str, Any]:
    """How many questions had each outcome, with the intervals of their shares."""
    counts = {name: sum(o == name for _, o in pairs) for name in OUTCOMES}
    return {"questions": len(pairs), **counts, "intervals": {name: interval(pairs, name) for name in OUTCOMES}}


def without(
    questions: Sequence[Question], outcomes: Mapping[str, Sequence[str]], met: Sequence[bool], often: int
) -> dict[str, Any]:
    """Each model's figures of each split, with intervals, on the questions that were not met in the training text."""
    kept = [number for number, one in enumerate(met) if not one]
    clean = [questions[number] for number in kept]
    told: dict[str, Any] = {}
    for model, found in outcomes.items():
        told[model] = {}
        for split in sorted({question.split for question in clean}):
            scored = score(clean, [found[number] for number in kept], split, [1], often)
            told[model][split] = {name: one for name, one in scored.items() if name not in APART}
    return told


def rows(buckets: Sequence[int]) -> list[tuple[int, int]]:
    """The first and last count of each row: facts that nobody counted, those below the first bound, and the buckets."""
    bounds = sorted({1, *buckets})
    return [(0, 0), *zip(bounds, [bound - 1 for bound in bounds[1:]] + [MOST], strict=True)]


def interval(pairs: Sequence[Pair], wanted: str) -> Interval:
    """That of the share of questions with an outcome."""
    return of_outcome([o == wanted for _, o in pairs], [q.owner for q, _ in pairs])
