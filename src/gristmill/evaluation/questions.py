"""Question answering: ask, read the answer, and say whether it is right, wrong or declined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.files import read_jsonl
from gristmill.generation.engine import Engine
from gristmill.progress import Progress

OFTEN = 50  # statements from which a fact counts as well covered
BUCKETS = ((1, 3), (4, 9), (10, 19), (20, 49), (50, 99), (100, 10**9))  # times a fact was stated


@dataclass(frozen=True)
class Question:
    """One question and what is known about it."""

    question: str
    answers: tuple[str, ...]  # strings of which a right answer holds one
    answerable: bool
    split: str
    stated: int  # how often the corpus states the fact


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


def share(outcomes: Sequence[str], wanted: str) -> float:
    """Share of the outcomes that are `wanted`; 0 where there are none."""
    return outcomes.count(wanted) / len(outcomes) if outcomes else 0.0


def score(questions: Sequence[Question], outcomes: Sequence[str], split: str) -> dict[str, Any]:
    """Figures of one model on one split, with a table by how often the fact was stated."""
    pairs = [(q, o) for q, o in zip(questions, outcomes, strict=True) if q.split == split]
    often = [o for q, o in pairs if q.answerable and q.stated >= OFTEN]
    unanswerable = [o for q, o in pairs if not q.answerable]
    table = []
    for low, high in BUCKETS:
        bucket = [o for q, o in pairs if q.answerable and low <= q.stated <= high]
        if bucket:
            counts = {name: bucket.count(name) for name in ("right", "wrong", "declined")}
            table.append({"from": low, "to": high, "questions": len(bucket), **counts})
    return {
        "answerable": len(often),
        "answerable_accuracy": share(often, "right"),
        "unanswerable": len(unanswerable),
        "unanswerable_declined": share(unanswerable, "declined"),
        "wrong_answer_rate": share(unanswerable, "wrong"),
        "by_stated": table,
    }
