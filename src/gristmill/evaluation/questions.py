"""Question answering: ask, read the answer, and say whether it is right, wrong or declined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.evaluation.figures import FIGURES, OFTEN, OUTCOMES
from gristmill.generation.engine import Engine
from gristmill.inputs.text_files import read_jsonl
from gristmill.progress import Progress

BUCKETS = (
    (0, 0),
    (1, 3),
    (4, 9),
    (10, 19),
    (20, 49),
    (50, 99),
    (100, 10**9),
)  # times a fact was stated; 0: not counted


@dataclass(frozen=True)
class Question:
    """One question and what is known about it."""

    question: str
    answers: tuple[str, ...]  # strings of which a right answer holds one
    answerable: bool
    split: str
    stated: int  # how often the corpus states the fact; 0 where nobody counted
    subject: str = ""  # whom or what it asks about: questions on one subject are no independent trials

    def groups(self) -> tuple[str, ...]:
        """The groups that it is counted in."""
        if not self.answerable:
            return ("unanswerable",)
        return ("answerable", "often") if self.stated >= OFTEN else ("answerable",)


def read_questions(path: Path) -> list[Question]:
    """Read questions. Raises UserError naming the record that is wrong."""
    questions = []
    for number, record in enumerate(read_jsonl(path), 1):
        try:
            questions.append(
                Question(
                    str(record["question"]),
                    tuple(map(str, record["answers"])),
                    bool(record["answerable"]),
                    str(record.get("split", "test")),
                    int(record.get("stated", 0)),
                    str(record.get("subject", "")),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: record {number} is no question: {error}", 'it needs "question", "answers" and "answerable"'
            ) from error
    return questions


def ask(engine: Engine, questions: Sequence[str], max_tokens: int, batch: int = 64) -> list[str]:
    """Greedy answers to single-turn questions."""
    prompts = [
        render([{"role": "user", "content": text}], engine.tokenizer, generation_prompt=True)[0] for text in questions
    ]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    with Progress("evaluate", len(prompts), "questions") as bar:
        for at in range(0, len(order), batch):
            part = order[at : at + batch]
            found = engine.generate([prompts[index] for index in part], max_tokens=max_tokens)
            for index, completion in zip(part, found, strict=True):
                answers[index] = engine.tokenizer.decode(completion.tokens).strip()
            bar.advance(len(part))
    return answers


def outcome(question: Question, answer: str, declines: Iterable[str]) -> str:
    """ "declined", "right" or "wrong". A decline is never right or wrong, whatever else it says."""
    text = answer.lower()
    if any(phrase.lower() in text for phrase in declines):
        return "declined"
    holds = any(re.search(rf"(?<!\w){re.escape(expected.lower())}(?!\w)", text) for expected in question.answers)
    return "right" if question.answerable and holds else "wrong"


def score(questions: Sequence[Question], outcomes: Sequence[str], split: str) -> dict[str, Any]:
    """Figures of one model on one split, with a table by how often the fact was stated.

    `asked` says how many questions are in each group; a figure of a group that has none is left out.
    """
    pairs = [(q, o) for q, o in zip(questions, outcomes, strict=True) if q.split == split]
    groups = {group: [o for q, o in pairs if group in q.groups()] for group in ("often", "answerable", "unanswerable")}
    table = []
    for low, high in BUCKETS:
        bucket = [o for q, o in pairs if q.answerable and low <= q.stated <= high]
        if bucket:
            counts = {name: bucket.count(name) for name in OUTCOMES}
            table.append({"from": low, "to": high, "questions": len(bucket), **counts})
    figures = {
        name: groups[group].count(wanted) / len(groups[group])
        for name, (group, wanted, _) in FIGURES.items()
        if groups[group]
    }
    return {"asked": {group: len(found) for group, found in groups.items()}, **figures, "by_stated": table}
