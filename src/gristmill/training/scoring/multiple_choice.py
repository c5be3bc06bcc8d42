"""Multiple choice and minimal pairs: which of some texts a model finds likeliest.

Scores are those of lm-evaluation-harness: `acc`, and `acc_norm`, where likelihood is divided by characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.training.scoring.likelihood import row_likelihoods, split_tokens

MARK = re.compile(r"\[.*?\]")
SHORTENED = "shortened"  # in a record: the beginning of what was asked was left out


@dataclass(frozen=True)
class Item:
    """One item of a task."""

    context: str
    choices: tuple[str, ...]  # none: an answer is generated
    answer: int  # the right choice's place
    text: str = ""  # the right answer, where one is generated
    match: str = ""  # how what is generated is compared with it

    def whole(self) -> str:
        """What is asked with the right answer after it."""
        return f"{self.context} {self.choices[self.answer] if self.choices else self.text}".strip()


def choice_item(record: dict[str, Any], engine: Engine) -> Item | None:
    """The item of a record with choices, or with a good and a bad sentence; None of another one.

    Raises UserError where it is not clear which is right, or it is longer than the model reads.
    """
    item = in_choices(record)
    if item:
        longest = max(len(split_tokens(engine, item.context, choice)[1]) for choice in item.choices)
        if longest > engine.context:
            raise UserError(f"a choice has {longest} tokens; the model reads {engine.context}", "shorten it")
    return item


def in_choices(record: dict[str, Any]) -> Item | None:
    """The same, however long it is."""
    good, bad = (record.get(key, record.get(f"sentence_{key}")) for key in ("good", "bad"))
    if isinstance(good, str) and isinstance(bad, str):
        return choice_of({"answer": 0}, [good, bad])
    if isinstance(record.get("ctx"), str) and isinstance(record.get("endings"), list):
        return choice_of(*of_hellaswag(record), "label")
    choices = record.get("choices")
    if isinstance(choices, dict) and all(isinstance(choices.get(name), list) for name in ("text", "label")):
        return choice_of(*of_arc(record, choices), "answerKey")
    return choice_of(record, choices) if isinstance(choices, list) else None


def of_hellaswag(record: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A record of HellaSwag's (Zellers et al. 2019) own layout as ours, and its choices: as the harness's task asks it,
    after its activity and without WikiHow's marks in brackets."""
    parts, label = [record.get(name) for name in ("activity_label", "ctx_a", "ctx_b")], record.get("label")
    activity, first, second = parts
    known = isinstance(activity, str) and isinstance(first, str) and isinstance(second, str)
    context = f"{activity}: {first} {str(second).capitalize()}" if known else record["ctx"]
    place = int(label) if isinstance(label, str) and label.isdecimal() else label
    choices = [unmarked(one) if isinstance(one, str) else one for one in record["endings"]]
    return {"context": unmarked(context), "answer": place}, choices


def unmarked(text: str) -> str:
    """A text of HellaSwag without marks as `[title]` and `[step]`."""
    return MARK.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def of_arc(record: dict[str, Any], choices: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A record of ARC's (Clark et al. 2018) own layout as ours, and its choices: as the harness's tasks ask it."""
    key, labels, question = record.get("answerKey"), choices["label"], record.get("question")
    context = f"Question: {question}\nAnswer:" if isinstance(question, str) else question
    return {"context": context, "answer": labels.index(key) if key in labels else key}, choices["text"]


def choice_of(record: dict[str, Any], choices: list[Any], named: str = "answer") -> Item:
    """A record with choices. Raises UserError where it is not clear which is right."""
    context, answer = record.get("context", record.get("question", "")), record.get("answer")
    if len(choices) < 2 or not all(isinstance(one, str) and one for one in choices) or not isinstance(context, str):
        raise UserError('"choices" are not two texts or more, or "context" is no text', "mend or remove it")
    place = choices.index(answer) if answer in choices else answer
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(choices):
        remedy = "give the place of the right choice, from 0, or its text"
        raise UserError(
            f'"{named}" is {json.dumps(answer)}', "give one of choices.label" if named == "answerKey" else remedy
        )
    if choices.count(choices[place]) > 1:
        raise UserError("the right choice and another one are the same text", "mend or remove it")
    return Item(context, tuple(choices), place)


def pairs_of(item: Item) -> list[tuple[str, str]]:
    """Each choice as (context, continuation): after a space, as the harness joins them, with no context, too."""
    return [(item.context, f" {choice}") for choice in item.choices]


def scored(engine: Engine, items: Sequence[Item]) -> list[dict[str, Any]]:
    """For each item its choices' `logprobs`, and whether the right one is above the others: `acc`, `acc_norm`. It is
    `shortened` where the beginning of its context was left out, as the model does not read as much."""
    rows = [[split_tokens(engine, *pair) for pair in pairs_of(item)] for item in items]
    found = iter(row_likelihoods(engine, [row for each in rows for row in each]))
    records = []
    for item, each in zip(items, rows, strict=True):
        logprobs = [next(found)[0] for _ in item.choices]
        cut = any(len(before) + len(after) > engine.context + 1 for before, after in each)
        by_length = [value / len(choice) for value, choice in zip(logprobs, item.choices, strict=True)]
        right = {
            "acc": logprobs.index(max(logprobs)) == item.answer,
            "acc_norm": by_length.index(max(by_length)) == item.answer,
        }
        records.append({"logprobs": logprobs, **right, **({SHORTENED: True} if cut else {})})
    return records
