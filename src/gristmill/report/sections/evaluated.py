"""Evaluated: what the assistant knows of what it read, and whether it admits what it cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.evaluation.questions import FIGURES, OUTCOMES
from gristmill.report.blocks import Block, Figure, Prose, Section, Table, Talk
from gristmill.report.plot import bar_chart, number
from gristmill.report.reading import Folders, percent, records, span, spread, values

SHOWN_ANSWERS = 3  # of each outcome
CHANGED = ("", "questions", "before", "after", "won", "lost", "difference", "95 % interval")
SAYS = (
    "The questions are held out: nothing that training asked was about their subjects. Right means that the answer "
    "holds the expected words; declined, that the model said it does not know; wrong is everything else. Some "
    "questions cannot be answered from what was read: there, declining is what is wanted."
)


def evaluated(folders: Folders) -> Section | None:
    """Scores by how often a fact was stated, what RL changed, and examples."""
    results = {
        name: splits["test"] for name, splits in values(folders, "evaluate", "results.json").items() if "test" in splits
    }
    talks: list[Block] = [Talk("", one["messages"]) for one in records(folders, "evaluate", "conversations.jsonl")]
    if not results:
        if not talks:
            return None
        says = "No questions with known answers were given; this is what the finished model says when asked."
        return Section("What it says", says, talks)
    final = list(results)[-1]
    bars = [
        (f"stated {span(row)} times" if row["to"] else "not counted", [(name, float(row[name])) for name in OUTCOMES])
        for row in results[final]["by_stated"]
    ]
    blocks = [
        Table("Held-out questions, by model", ("", "asked", *results), scores(results)),
        Prose("A fact that was read often is known best:") if len(bars) > 1 else Prose(""),
        Figure("Answers by how often the text states the fact", bar_chart(bars, "answers by statements")),
        *changes(folders),
        *answered(folders, final),
        *(Talk("asked too", talk.messages) if isinstance(talk, Talk) else talk for talk in talks),
    ]
    return Section("What it knows, and what it admits not knowing", SAYS, blocks)


def scores(results: Mapping[str, Any]) -> list[list[str]]:
    """By figure, each model's score; what nothing was asked about is left out."""
    rows = []
    for name, (group, _, label) in FIGURES.items():
        found = [scored[name] for scored in results.values() if name in scored]
        asked = next(iter(results.values())).get("asked", {}).get(group)
        if len(found) == len(results) and asked != 0:
            rows.append([label, number(asked) if asked else "", *map(percent, found)])
    return rows


def changes(folders: Folders) -> list[Block]:
    """What RL won and lost on the same questions, with intervals."""
    found = values(folders, "evaluate", "comparison.json")
    figures = {name: one for name, one in found.get("figures", {}).items() if name != "wrong_answer_rate"}
    if not figures:
        return []
    before, after = found["before"].upper(), found["after"].upper()
    rows = [
        [
            *(FIGURES[name][2], number(one["questions"]), number(one["before"]), number(one["after"])),
            *(number(one["gained"]), number(one["lost"]), points(one["difference"])),
            f"{points(one['low'])} to {points(one['high'])}",
        ]
        for name, one in figures.items()
    ]
    told = [verdict(FIGURES[name][2], one) for name, one in figures.items()]
    return [
        Prose(
            f"What {after} changed: both models, {before} and {after}, were asked the same questions, so each of them "
            f"can be compared with itself. {' '.join(told)} The intervals are the bootstrap's: the subjects asked "
            "about are drawn again and again, and 95 of 100 such draws fall within. An interval that holds 0 leaves "
            "open whether anything changed."
        ),
        Table(f"The same questions before and after {after} (differences in percentage points)", CHANGED, rows),
    ]


def verdict(label: str, one: Mapping[str, Any]) -> str:
    """One figure's change in a sentence."""
    sure = "" if one["low"] > 0 or one["high"] < 0 else ", which may be chance"
    return (
        f"{label[0].upper()}{label[1:]}: {number(one['gained'])} won and {number(one['lost'])} lost, "
        f"{points(one['difference'])} points ({points(one['low'])} to {points(one['high'])}){sure}."
    )


def points(difference: float) -> str:
    """Percentage points with their sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def answered(folders: Folders, final: str) -> list[Block]:
    """Examples of each outcome."""
    mine = [r for r in records(folders, "evaluate", "answers.jsonl") if r["model"] == final and r["split"] == "test"]
    shown: list[Block] = []
    for outcome in ("right", "declined", "wrong"):
        for record in spread([one for one in mine if one["outcome"] == outcome], SHOWN_ANSWERS):
            stated = f"the text says so {record['stated']} times" if record["stated"] else "the text says so"
            fact = stated if record["answerable"] else "nothing says so"
            pair = (
                {"role": "user", "content": record["question"]},
                {"role": "assistant", "content": record["answer"]},
            )
            shown.append(Talk(f"{outcome}: {fact}", pair))
    return shown
