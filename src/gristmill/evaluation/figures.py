"""The shares of questions that are reported: of which questions, and which outcome counts; questions to begin with.

Imports nothing heavy: a server reads this, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gristmill.inputs.text_files import read_log
from gristmill.manifest import Manifest

T = TypeVar("T")
OFTEN = 50  # `evaluate.often`, where files of an earlier version do not say it
OUTCOMES = ("right", "wrong", "declined")
FIGURES = {  # name in results and summary: what it is a share of, the outcome that counts, in words
    "answerable_accuracy": ("often", "right", "right answers, facts stated {often} times or more"),
    "all_answerable_accuracy": ("answerable", "right", "right answers, all"),
    "unanswerable_declined": ("unanswerable", "declined", "unanswerable questions declined"),
    "wrong_answer_rate": ("unanswerable", "wrong", "unanswerable questions answered all the same"),
}


def label(name: str, often: int) -> str:
    """A figure in words; `often` is from how many statements a fact counts as stated often (`evaluate.often`)."""
    return FIGURES[name][2].format(often=often)


def shown(figure: Mapping[str, Any]) -> tuple[str, str]:
    """A task's figure and its interval in words: `47.8%`, `44.7 to 50.9`; of what is no share (a perplexity) `2.403`,
    `1.001 to 6.878`; the interval is empty where there is none."""
    share = "aggregation" not in figure and 0 <= figure["value"] <= 1
    bounds = [figure[side] for side in ("low", "high") if side in figure]
    if share:
        return f"{figure['value']:.1%}", " to ".join(f"{100 * bound:.1f}" for bound in bounds)
    return f"{figure['value']:,.4g}", " to ".join(f"{bound:,.4g}" for bound in bounds)


def figures_of(task: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures among what is told of a task, by name."""
    return {name: one for name, one in task.items() if isinstance(one, dict) and "value" in one}


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items: the first, the last, and others evenly spread between."""
    last = len(items) - 1
    return [items[round(index * last / max(1, count - 1))] for index in range(count)] if count <= last else [*items]


def sureness(folder: Path | None) -> tuple[float, str]:
    """How sure of each word a model had to be where it was evaluated, and what it said where it was not, from the
    finished stage's folder: 0 where there is none, or it did not matter."""
    made = Manifest.read(folder) if folder else None
    params = made.params if made else {}
    declines = params.get("declines") or [""]
    return (float(params.get("sure", 0.0)), declines[0]) if declines[0] else (0.0, "")


def examples(folder: Path, count: int = 3) -> list[str]:
    """Test questions to begin with, from a finished stage's folder: those that its final model answered rightly, and
    as the last one that it rightly declined. Empty where the folder holds no such answers.
    """
    records = list(read_log(folder, "answers.jsonl"))
    final = [r for r in records if r["split"] == "test" and r["model"] == records[-1]["model"]]
    declined = [r["question"] for r in final if r["outcome"] == "declined" and not r["answerable"]]
    right = [r["question"] for r in final if r["outcome"] == "right"]
    last = spread(declined, 1)
    return spread(right, count - len(last)) + last
