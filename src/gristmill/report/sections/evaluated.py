"""Evaluated: what the assistant knows of what it read, and whether it admits what it cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.chat.template import exchange
from gristmill.evaluation.figures import FIGURES, OFTEN, OUTCOMES, label, spread
from gristmill.report.blocks import Block, Figure, Prose, Section, Table, Talk
from gristmill.report.plot import bar_chart, line_chart, number
from gristmill.report.reading import Folders, percent, records, span, sure, times, values
from gristmill.report.sections.text_and_tasks import RULES

SHOWN_ANSWERS = 3  # of each outcome
CHANGED = ("", "questions", "before", "after", "won", "lost", "difference", "95 % interval")
CONTAMINATED = ("shares", "questions", "met", "too short to be found", "right without them", "declined")
COUNTED = {  # the figures that a sentence tells, counted in answers
    "all_answerable_accuracy": "right answers",
    "unanswerable_declined": "unanswerable questions declined",
}
SAYS = (
    "The questions are held out: those of the split “test”, none of which training asked. Right means that the answer "
    "{}; declined, that the model said it does not know; wrong is everything else. Some questions cannot be answered "
    "from what was read: there, declining is what is wanted."
)
BOOTSTRAP = (
    "An interval of a change is the bootstrap's: the subjects asked about are drawn again and again, and 95 of 100 "
    "such draws fall within."
)
MATCHED = {
    "contains": "holds the expected words",
    "exact": "is the expected text to the letter",
    "number": "ends with the expected number",
}


def evaluated(folders: Folders) -> Section | None:
    """Scores by how often a fact was stated, what alignment changed, and examples."""
    results = {
        name: splits["test"] for name, splits in values(folders, "evaluate", "results.json").items() if "test" in splits
    }
    asked = {record["question"] for record in records(folders, "evaluate", "answers.jsonl")}
    said = [record["messages"] for record in records(folders, "evaluate", "conversations.jsonl")]
    talks: list[Block] = [Talk("asked too", turns) for turns in said if turns[0]["content"] not in asked]
    if not results:
        if not said:
            return None
        says = "No questions with known answers were given; this is what the finished model says when asked."
        return Section("What it says", says, [Talk("", turns) for turns in said])
    final = list(results)[-1]
    bars = [
        (
            f"stated {span(row)} times" if row["to"] else "stated, not counted how often",
            [(name, float(row[name])) for name in OUTCOMES],
        )
        for row in results[final]["by_stated"]
    ]
    stated = [
        [span(row) if row["to"] else "not counted", *shares(row)]
        for row in results[final]["by_stated"]
        if "intervals" in row
    ]
    kinds = [[row["kind"], *shares(row)] for row in results[final].get("by_kind", [])]
    blocks = [
        Table("Held-out questions, by model", ("", "asked", *map(str.upper, results)), scores(results)),
        Figure("Answers by how often the text states the fact", bar_chart(bars, "answers by statements")),
        Table("The same in shares", ("times stated", "questions", *OUTCOMES), stated),
        Table("Answers by kind of question", ("kind", "questions", *OUTCOMES), kinds),
        *changes(folders),
        *contaminated(folders, final),
        *trusted(folders),
        *answered(folders, final),
        *talks,
    ]
    matched = results[final].get("matched", ["contains"])
    says = SAYS.format(", or where the question asks for it ".join(MATCHED[one] for one in MATCHED if one in matched))
    return Section("What it knows, and what it admits not knowing", says, blocks)


def shares(row: Mapping[str, Any]) -> list[str]:
    """How many questions a row has, and the share of each outcome with its interval."""
    return [number(row["questions"]), *(percent(row[name] / row["questions"]) + sure(row, name) for name in OUTCOMES)]


def scores(results: Mapping[str, Any]) -> list[list[str]]:
    """By figure, each model's score; what nothing was asked about is left out."""
    rows = []
    for name, (group, _, _) in FIGURES.items():
        found = [percent(one[name]) + sure(one, name) for one in results.values() if name in one]
        first = next(iter(results.values()))
        asked = first.get("asked", {}).get(group)
        if len(found) == len(results) and asked != 0:
            rows.append([label(name, first.get("often", OFTEN)), number(asked) if asked else "", *found])
    return rows


def changes(folders: Folders) -> list[Block]:
    """What each step of alignment won and lost on the same questions, with intervals."""
    found, blocks = values(folders, "evaluate", "comparison.json"), list[Block]()
    for one in found.get("steps", [found] if found else []):
        # what was measured without the models between is put down to all of them
        names = [one["after"]] if "steps" in found else [*(n for n in ("dpo", "kto") if n in folders), one["after"]]
        after = " and ".join(map(str.upper, dict.fromkeys(names)))
        blocks += changed(one, after, found.get("often", OFTEN))
    return [*blocks, Prose(BOOTSTRAP)] if blocks else []


def changed(one: Mapping[str, Any], what: str, often: int) -> list[Block]:
    """What one step won and lost."""
    figures = {name: value for name, value in one["figures"].items() if name != "wrong_answer_rate"}
    if not figures:
        return []
    rows = [
        [
            label(name, often),
            *(number(value[key]) for key in ("questions", "before", "after", "gained", "lost")),
            *(points(value["difference"]), f"{points(value['low'])} to {points(value['high'])}"),
        ]
        for name, value in figures.items()
    ]
    told = " ".join(verdict(figures[name], counted) for name, counted in COUNTED.items() if name in figures)
    models = f"both models, {one['before'].upper()} and {one['after'].upper()}"
    return [
        Prose(
            f"What {what} changed: {models}, were asked the same questions, so each can be compared with itself. {told}"
        ),
        Table(f"The same questions before and after {what} (differences in percentage points)", CHANGED, rows),
    ]


def contaminated(folders: Folders, final: str) -> list[Block]:
    """Which test questions stand in what was trained on, and what the final model scores without them."""
    found = values(folders, "evaluate", "contamination.json")
    rows = []
    for rule, words in RULES.items():
        one = found.get(rule)
        if not one:
            continue
        left = one["without"].get(final, {}).get("test", {})
        scored = [
            percent(left[name]) + sure(left, name) if name in left else ""
            for name in ("all_answerable_accuracy", "unanswerable_declined")
        ]
        test = one.get("by_split", {}).get("test", one)
        rows.append([words, *(number(test[name]) for name in ("questions", "contaminated", "too_short")), *scored])
    caption = (
        "Test questions that stand in what was trained on (text, conversations, pairs, prompts), answer included, and "
        "the scores without them"
    )
    return [Table(caption, CONTAMINATED, rows)]


def trusted(folders: Folders) -> list[Block]:
    """Risk by coverage, and whether the model is right as often as it is sure."""
    found = values(folders, "evaluate", "confidence.json")
    if not found:
        return []
    points = [(one["coverage"], one["risk"]) for one in found["curve"]]
    stated, raw = found.get("stated_calibration_error"), percent(found["calibration_error"])
    raw += sure(found, "calibration_error")
    fitted = (
        f"; as stated, by two numbers fitted to {number(found['stated']['fitted_to'])} answers to other questions, "
        f"{percent(stated)}{sure(found, 'stated_calibration_error')}"
        if stated is not None
        else ""
    )
    return [
        Prose(
            "Should one trust an answer more where the model is surer of it? Its confidence is the probability of the "
            "answer's words. From the left, the curve takes only the surest answers and says which share of them is "
            f"wrong; at its right end are all {number(found['answered'])} that the model gave. How far confidence is "
            f"from the share that is right, on average (expected calibration error): {raw}{fitted}."
        ),
        Figure(
            "Wrong among the answers given (risk), by the share of questions answered (coverage)",
            line_chart([("wrong", points)], "share of questions answered", "share wrong"),
        ),
    ]


def verdict(one: Mapping[str, Any], what: str) -> str:
    """One figure's change in a sentence, counted in answers, with its interval."""
    count = one["after"] - one["before"]
    if not one["gained"] and not one["lost"]:
        return f"As many {what}, and on the same questions."
    many = f"{number(abs(count))} {'more' if count > 0 else 'fewer'}" if count else "As many"
    chance = "" if one["low"] > 0 or one["high"] < 0 else "; as that holds 0, it may be chance"
    between = f"95 % interval {points(one['low'])} to {points(one['high'])}{chance}"
    return f"{many} {what}: {points(one['difference'])} percentage points ({between})."


def points(difference: float) -> str:
    """Percentage points with their sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def answered(folders: Folders, final: str) -> list[Block]:
    """Examples of each outcome."""
    mine = [r for r in records(folders, "evaluate", "answers.jsonl") if r["model"] == final and r["split"] == "test"]
    shown: list[Block] = []
    for outcome in ("right", "declined", "wrong"):
        for record in spread([one for one in mine if one["outcome"] == outcome], SHOWN_ANSWERS):
            stated = f"the text states it {times(record['stated'])}" if record["stated"] else "the text states it"
            fact = stated if record["answerable"] else "nothing states it"
            shown.append(Talk(f"{outcome}: {fact}", exchange(record["question"], record["answer"])))
    return shown
