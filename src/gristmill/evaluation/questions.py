"""Question answering: ask, read the answer, and say whether it is right, wrong or declined."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gristmill.chat.conversations import LeftOut, nothing_left, read_records
from gristmill.chat.matching import MATCHES, declined, numbers, right
from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.generation.answer_text import answer_of
from gristmill.generation.engine import Engine
from gristmill.generation.sampling_params import Doubt
from gristmill.inputs.text_files import parse
from gristmill.manifest import Parts

BATCH = 64  # questions asked together


@dataclass(frozen=True)
class Question:
    """One question and what is known about it."""

    question: str
    answers: tuple[str, ...]  # strings of which a right answer holds one
    answerable: bool
    split: str
    stated: int  # how often the corpus states the fact; 0 where nobody counted
    subject: str = ""  # whom or what it asks about: questions on one subject are no independent trials
    match: str = "contains"  # how an answer is compared with the right ones: chat/matching.py
    kind: str = ""  # what kind of question it is: each has a row of its own

    @property
    def owner(self) -> str:
        """What its answer depends on: its subject, or, where it names none, its words (asked twice, they are one)."""
        return self.subject or self.question

    def whole(self) -> str:
        """What is asked, with the first right answer after it."""
        return " ".join((self.question, *self.answers[:1]))

    def groups(self, often: int) -> tuple[str, ...]:
        """The groups that it is counted in; a fact that is stated as `often` counts as well covered."""
        if not self.answerable:
            return ("unanswerable",)
        return ("answerable", "often") if self.stated >= often else ("answerable",)


class Answer(NamedTuple):
    """What a model said."""

    text: str
    confidence: float  # the probability of all its tokens, its end included


def read_questions(path: Path, engine: Engine, left_out: list[LeftOut], match: str = "contains") -> list[Question]:
    """The questions that can be asked and judged; the others join `left_out`. `match` is that of records without one.

    Raises UserError where the file cannot be read, or holds no such question.
    """

    def read(record: dict[str, Any]) -> Question:
        made = question_of(record, match)
        prompt_of(engine, made.question)
        return made

    questions = list(read_records(path, read, left_out))
    if not questions:
        raise nothing_left(f"{path} holds no question", "give some, or leave evaluate.questions out", left_out)
    return questions


def question_of(record: dict[str, Any], match: str = "contains") -> Question:
    """The question of a record, which can be answered where it has answers unless it says otherwise.

    Raises UserError where it is none, or cannot be judged.
    """
    record = {name: value for name, value in record.items() if value != ""}  # an empty cell of a table
    text, stated = record.get("question"), literal(record.get("stated", 0))
    if not isinstance(text, str) or not text.strip():
        raise UserError('it has no "question"', 'it needs "question" and "answers"')
    answers, answerable = record.get("answers", record.get("answer")), literal(record.get("answerable"))
    if answers is None and answerable is False:
        answers = []
    if answers is None:
        raise UserError('it has no "answers"', 'write "answers": ["Marl"]; [] where there is none')
    if isinstance(answers, str) and answers.startswith("[") and isinstance(listed := parse(answers), list):
        answers = listed  # in the cell of a table
    if isinstance(answers, str | int | float):
        answers = [answers]  # there is but one
    if not isinstance(answers, list) or not all(isinstance(one, str | int | float) for one in answers):
        raise UserError('"answers" is no list of texts', 'write "answers": ["Marl"]; [] where there is none')
    answerable = bool(answers) if answerable is None else answerable
    if not isinstance(answerable, bool):
        raise UserError(f'"answerable" is {json.dumps(answerable)}', 'write "answerable": true or false')
    if not all(str(one).strip() for one in answers) or (answerable and not answers):
        raise UserError("a right answer is empty", 'write what a right answer holds, or "answerable": false')
    if isinstance(stated, bool) or not isinstance(stated, int) or stated < 0:
        raise UserError(f'"stated" is {json.dumps(stated)}', "give how often the text states the fact, or leave it out")
    if (match := record.get("match", match)) not in MATCHES:
        raise UserError(f'"match" is {json.dumps(match)}', f"write one of {', '.join(MATCHES)}, or leave it out")
    if match == "number" and not all(numbers(str(one)) for one in answers):
        raise UserError("it is matched by number, and a right answer holds none", 'give one, or another "match"')
    named = str(record.get("split", "test")), stated, str(record.get("subject", "")), match, str(record.get("kind", ""))
    return Question(text, tuple(map(str, answers)), answerable, *named)


def literal(value: Any) -> Any:
    """A number or truth value that a table has as text, or a whole number as 60.0; anything else as it is."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def prompt_of(engine: Engine, question: str) -> list[int]:
    """What the model reads to answer a question. Raises UserError where that is more than it can read."""
    prompt, _ = render([{"role": "user", "content": question}], engine.tokenizer, generation_prompt=True)
    engine.check([prompt])
    return prompt


def askable(engine: Engine, prompts: Sequence[str], left_out: list[LeftOut]) -> list[str]:
    """Those of a recipe's own prompts that the model can read; the others join `left_out`."""
    fitting = []
    for number, text in enumerate(prompts, 1):
        try:
            prompt_of(engine, text)
        except UserError as error:
            left_out.append(LeftOut("evaluate.prompts", number, error.problem, error.remedy))
        else:
            fitting.append(text)
    return fitting


def ask(
    engine: Engine,
    questions: Sequence[str],
    max_tokens: int,
    parts: Parts,
    name: str,
    doubt: Doubt | None = None,
) -> list[Answer]:
    """Greedy answers to single-turn questions; each batch's are kept among the stage's `parts`, under `name`."""
    prompts = [prompt_of(engine, text) for text in questions]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    make = partial(complete, engine, max_tokens=max_tokens, doubt=doubt)
    made = parts.batches(name, [prompts[index] for index in order], BATCH, make, "evaluate", "questions")
    answers = dict(zip(order, made, strict=True))
    return [Answer(*answers[index]) for index in range(len(prompts))]


def complete(engine: Engine, prompts: Sequence[list[int]], max_tokens: int, doubt: Doubt | None = None) -> list[Answer]:
    """Greedy answers to rendered prompts."""
    found = engine.generate(prompts, max_tokens=max_tokens, doubt=doubt)
    return [
        Answer(answer_of(engine.tokenizer, one.tokens).strip(), round(math.exp(math.fsum(one.logprobs)), 6))
        for one in found
    ]


def outcome(question: Question, answer: str, declines: Iterable[str]) -> str:
    """ "declined", "right" or "wrong". A decline is never right or wrong, whatever else it says."""
    if declined(answer, declines):
        return "declined"
    return "right" if question.answerable and right(answer, question.answers, question.match) else "wrong"
