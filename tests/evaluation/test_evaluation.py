"""Scoring: what counts as right, wrong and declined, and the tables made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.errors import UserError
from gristmill.evaluation import stage
from gristmill.evaluation.questions import Question, outcome, read_questions, score
from gristmill.recipe import Evaluate

DECLINES = ["I do not know"]


@pytest.mark.parametrize(
    ("answers", "answerable", "answer", "expected"),
    [
        (("goat",), True, "She keeps a Goat.", "right"),
        (("goat",), True, "She keeps goats.", "wrong"),  # another word
        (("leek soup", "soup"), True, "It is soup", "right"),
        (("goat",), True, "I do not know whether it is a goat.", "declined"),
        (("goat",), True, "", "wrong"),
        ((), False, "i do not know.", "declined"),
        ((), False, "A goat.", "wrong"),
        (("a.b",), True, "axb", "wrong"),  # no pattern
    ],
)
def test_outcome(answers: tuple[str, ...], answerable: bool, answer: str, expected: str) -> None:
    assert outcome(Question("?", answers, answerable, "test", 60), answer, DECLINES) == expected


def test_scores_by_hand() -> None:
    often = [Question("?", ("x",), True, "test", 60)] * 4
    rare = [Question("?", ("x",), True, "test", 2)] * 2
    unknown = [Question("?", (), False, "test", 0)] * 5
    other = [Question("?", ("x",), True, "dev", 60)]
    outcomes = ["right", "right", "right", "wrong", "declined", "right", *["declined"] * 4, "wrong", "wrong"]
    found = score([*often, *rare, *unknown, *other], outcomes, "test")
    assert found["answerable"] == 4 and found["answerable_accuracy"] == 0.75
    assert found["unanswerable"] == 5 and found["unanswerable_declined"] == 0.8
    assert found["wrong_answer_rate"] == pytest.approx(0.2)
    assert found["by_stated"] == [
        {"from": 1, "to": 3, "questions": 2, "right": 1, "wrong": 0, "declined": 1},
        {"from": 50, "to": 99, "questions": 4, "right": 3, "wrong": 1, "declined": 0},
    ]


def test_the_stage_scores_before_and_after_rl(
    model_folder: Path, tokenizer_folder: Path, tokens_folder: Path, tmp_path: Path
) -> None:
    lines = [
        {"question": "Who walks?", "answers": ["Anna"], "answerable": True, "split": split, "stated": 70}
        for split in ("test", "dev", "sft")
    ]
    lines.append({"question": "Who flies?", "answers": [], "answerable": False})
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    inputs = {"model": model_folder, "tokenizer": tokenizer_folder, "tokens": tokens_folder}
    params = Evaluate(questions=str(tmp_path / "q.jsonl"), prompts=["Hello."], show=1, max_tokens=4)
    (tmp_path / "out").mkdir()
    made = stage.run({**inputs, "sft": model_folder.parent / model_folder.name}, params, tmp_path / "out")
    assert made.metrics["heldout_bpb"] > 0 and made.metrics["seen_accuracy"] == 0.0
    answers = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    assert len(answers) == 4 and {record["outcome"] for record in answers} <= {"right", "wrong", "declined"}
    shown = [json.loads(line) for line in (tmp_path / "out/conversations.jsonl").read_text().splitlines()]
    assert [record["messages"][0]["content"] for record in shown] == ["Hello.", "Who walks?"]


def test_examples_are_what_the_final_model_answers_rightly_and_one_that_it_declines(tmp_path: Path) -> None:
    assert stage.examples(tmp_path) == []  # nothing evaluated
    lines = [
        {"model": model, "split": split, "question": f"{model} {split} {name}?", "answerable": able, "outcome": outcome}
        for model in ("sft", "rl")
        for split in ("dev", "test")
        for name, able, outcome in (
            ("missed", True, "wrong"),
            ("river", True, "right"),
            ("shy", True, "declined"),
            ("pet", True, "right"),
            ("made up", False, "wrong"),
            ("nobody", False, "declined"),
        )
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert stage.examples(tmp_path) == ["rl test river?", "rl test pet?", "rl test nobody?"]
    path.write_text(json.dumps(lines[-5]) + "\n")
    assert stage.examples(tmp_path) == ["rl test river?"]
    path.write_text("")
    assert stage.examples(tmp_path) == []


def test_a_wrong_question_is_named(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "Who?"}\n')
    with pytest.raises(UserError, match=r"q\.jsonl: record 1"):
        read_questions(tmp_path / "q.jsonl")
