"""Scoring: what counts as right, wrong and declined, and the tables made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest
from command_line import Command

from gristmill.errors import UserError
from gristmill.evaluation import figures, stage
from gristmill.evaluation.comparison import compare
from gristmill.evaluation.figures import FIGURES
from gristmill.evaluation.intervals import of_outcome, of_share
from gristmill.evaluation.questions import Answer, Question, outcome
from gristmill.evaluation.scores import score
from gristmill.manifest import Manifest
from gristmill.recipe import Evaluate
from gristmill.runs.stage_line import stage_line
from gristmill.serving.assistant import Assistant

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
    often = [Question(f"Often {n}?", ("x",), True, "test", 60) for n in range(4)]
    rare = [Question(f"Rare {n}?", ("x",), True, "test", 2) for n in range(2)]
    unknown = [Question(f"Unknown {n}?", (), False, "test", 0) for n in range(5)]
    other = [Question("?", ("x",), True, "dev", 60)]
    outcomes = ["right", "right", "right", "wrong", "declined", "right", *["declined"] * 4, "wrong", "wrong"]
    found = score([*often, *rare, *unknown, *other], outcomes, "test", [1, 4, 50, 100], 50)
    assert found["asked"] == {"often": 4, "answerable": 6, "unanswerable": 5}
    assert found["answerable_accuracy"] == 0.75 and found["all_answerable_accuracy"] == pytest.approx(4 / 6)
    assert found["unanswerable_declined"] == 0.8
    assert found["wrong_answer_rate"] == pytest.approx(0.2)
    by_stated = [{key: value for key, value in row.items() if key != "intervals"} for row in found["by_stated"]]
    assert by_stated == [
        {"from": 1, "to": 3, "questions": 2, "right": 1, "wrong": 0, "declined": 1},
        {"from": 50, "to": 99, "questions": 4, "right": 3, "wrong": 1, "declined": 0},
    ]
    low, high = (round(bound, 5) for bound in of_share(3, 4))
    assert found["by_stated"][1]["intervals"]["right"] == {"low": low, "high": high, "by": "question"}
    assert found["intervals"]["answerable_accuracy"] == found["by_stated"][1]["intervals"]["right"]
    assert set(found["intervals"]) == set(FIGURES)


def test_each_kind_of_question_has_a_row_of_its_own() -> None:
    kinds = ("", "crossed", "crossed", "unsaid", "crossed", "crossed")
    questions = [Question(f"{n}?", (), False, "test", 0, kind=kind) for n, kind in enumerate(kinds)]
    outcomes = ["wrong", "declined", "declined", "wrong", "wrong", "declined"]
    rows = score(questions, outcomes, "test", [1], 50)["by_kind"]
    told = [{key: value for key, value in row.items() if key != "intervals"} for row in rows]
    assert told == [
        {"kind": "crossed", "questions": 4, "right": 0, "wrong": 1, "declined": 3},
        {"kind": "unsaid", "questions": 1, "right": 0, "wrong": 1, "declined": 0},
    ]
    low, high = (round(bound, 5) for bound in of_share(3, 4))
    assert rows[0]["intervals"]["declined"] == {"low": low, "high": high, "by": "question"}


def test_rows_and_well_covered_facts_are_those_of_the_recipe() -> None:
    questions = [Question("?", ("x",), True, "test", stated) for stated in (0, 1, 2, 3, 7, 8, 10**6)]
    found = score(questions, ["right"] * 7, "test", [3, 8], 3)
    rows = [(row["from"], row["to"], row["questions"]) for row in found["by_stated"]]
    assert rows == [(0, 0, 1), (1, 2, 2), (3, 7, 2), (8, 10**9, 2)]
    assert (found["asked"]["often"], found["often"]) == (4, 3)
    assert figures.label("answerable_accuracy", 3) == "right answers, facts stated 3 times or more"


def test_questions_on_one_subject_are_no_trials_of_their_own() -> None:
    """In 200 worlds of 40 subjects of ten questions each, 95 % of the intervals hold the truth, and not a third."""
    draw, inside, apart = np.random.default_rng(3), 0, 0
    for _ in range(200):
        hits = np.repeat(draw.random(40) < 0.6, 10)
        hits ^= draw.random(400) < 0.02
        found = of_outcome(hits.tolist(), [f"subject {number // 10}" for number in range(400)])
        alone = of_outcome(hits.tolist(), [""] * 400)
        assert (found["by"], alone["by"]) == ("subject", "question")
        inside += found["low"] <= 0.6 * 0.98 + 0.4 * 0.02 <= found["high"]
        apart += alone["low"] <= 0.6 * 0.98 + 0.4 * 0.02 <= alone["high"]
    assert 180 <= inside <= 198 and apart < 130
    same = of_outcome([True] * 40, [f"subject {number // 10}" for number in range(40)])
    assert (same["low"], same["high"]) == tuple(round(bound, 5) for bound in of_share(4, 4))


def test_the_stage_scores_before_and_after_rl(model_folder: Path, inputs: dict[str, Path], tmp_path: Path) -> None:
    lines = [
        {"question": "Who walks?", "answers": ["Anna"], "answerable": True, "split": split, "stated": 70}
        for split in ("test", "dev", "sft", "talk")
    ]
    lines.append({"question": "Who flies?", "answers": [], "answerable": False, "kind": "nobody"})
    jsonl.write(tmp_path / "q.jsonl", lines)
    params = Evaluate(questions=str(tmp_path / "q.jsonl"), prompts=["Hello."], show=1, max_tokens=4)
    (tmp_path / "out").mkdir()
    made = stage.run({**inputs, "sft": model_folder.parent / model_folder.name}, params, tmp_path / "out")
    assert made.metrics["evaluate.declined.nobody"] == 0.0
    assert made.metrics["heldout_bpb"] > 0 and made.metrics["seen_accuracy"] == made.metrics["talk_accuracy"] == 0.0
    answers = jsonl.read(tmp_path / "out/answers.jsonl")
    assert len(answers) == 5 and {record["outcome"] for record in answers} <= {"right", "wrong", "declined"}
    shown = jsonl.read(tmp_path / "out/conversations.jsonl")
    assert [record["messages"][0]["content"] for record in shown] == ["Hello.", "Who walks?"]


def test_what_the_model_is_not_sure_of_is_declined_in_evaluation_and_by_who_serves_it(
    model_folder: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "Who flies?", "answers": []}\n')
    for sure, wanted in ((0.0, 0.0), (1.0, 1.0)):
        out = tmp_path / f"sure-{sure}"
        out.mkdir()
        params = Evaluate(questions=str(tmp_path / "q.jsonl"), show=1, sure=sure, declines=["No idea"])
        made = stage.run({"model": model_folder, "tokenizer": tokenizer_folder}, params, out)
        assert made.metrics["unanswerable_declined"] == wanted
        Manifest(params=params.model_dump(mode="json"), stage="evaluate").write(out)
        assert figures.sureness(out) == (sure, "No idea")
        assistant = Assistant.load(model_folder, tokenizer_folder, "", (), "float32", *figures.sureness(out))
        said = assistant.reply([{"role": "user", "content": "Who flies?"}], max_tokens=30).text()
        assert said.endswith("No idea.") == bool(sure)
    assert figures.sureness(None) == (0.0, "")


def test_examples_are_what_the_final_model_answers_rightly_and_one_that_it_declines(tmp_path: Path) -> None:
    assert figures.examples(tmp_path) == []  # nothing evaluated
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
    jsonl.write(path, lines)
    assert figures.examples(tmp_path) == ["rl test river?", "rl test pet?", "rl test nobody?"]
    path.write_text(json.dumps(lines[-5]) + "\n")
    assert figures.examples(tmp_path) == ["rl test river?"]
    path.write_text("")
    assert figures.examples(tmp_path) == []


def test_what_one_model_changed_on_the_same_questions(
    model_folder: Path, tokenizer_folder: Path, tokens_folder: Path, tmp_path: Path
) -> None:
    lines = [{"question": f"Who walks {n}?", "answers": ["Anna"], "answerable": True, "stated": 2} for n in range(3)]
    jsonl.write(tmp_path / "q.jsonl", lines)
    inputs = {"model": tmp_path / "rl", "sft": tmp_path / "sft", "tokenizer": tokenizer_folder, "tokens": tokens_folder}
    for name in ("sft", "rl"):
        shutil.copytree(model_folder, tmp_path / name)
    (tmp_path / "out").mkdir()
    params = Evaluate(questions=str(tmp_path / "q.jsonl"), show=0, max_tokens=4)
    made = stage.run(inputs, params, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (found["before"], found["after"]) == ("sft", "rl")
    assert set(found["figures"]) == {"all_answerable_accuracy"}
    assert found["figures"]["all_answerable_accuracy"]["questions"] == 3
    assert made.metrics["rl.all_answerable_accuracy_difference"] == 0.0
    assert "steps" not in found
    # nothing was asked on facts stated often, on entities of fine-tuning, or without an answer
    assert {name for name in made.metrics if "." not in name} == {"heldout_bpb", "all_answerable_accuracy"}


def test_each_step_between_is_told_by_its_name(
    model_folder: Path, tokenizer_folder: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "Who walks?", "answers": ["Anna"], "stated": 2}))
    folders = [Path(shutil.copytree(model_folder, tmp_path / name)) for name in ("sft", "dpo", "rl")]
    for folder in folders:
        Manifest(stage=folder.name).write(folder)
    settings = ("--set", f"questions={tmp_path / 'q.jsonl'}", "--set", "max_tokens=4")
    last = folders.pop()
    done = command("evaluate", last, tokenizer_folder, *folders, "-o", tmp_path / "out", *settings)
    assert done.code == 0, done.stderr
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (found["before"], found["after"]) == ("sft", "rl")
    assert [(one["before"], one["after"]) for one in found["steps"]] == [("sft", "dpo"), ("dpo", "rl")]
    answers = jsonl.read(tmp_path / "out" / "answers.jsonl")
    assert [one["model"] for one in answers] == ["sft", "dpo", "rl"]
    made = Manifest.read(tmp_path / "out")
    assert made and {"dpo.all_answerable_accuracy_difference", "rl.all_answerable_accuracy_low"} <= made.metrics.keys()


def test_an_interval_draws_subjects_and_not_questions() -> None:
    questions = [Question("?", ("x",), True, "test", 2, f"subject {n // 10}") for n in range(200)]
    before = ["right"] * 100 + ["wrong"] * 100
    after = ["wrong"] * 20 + ["right"] * 110 + ["wrong"] * 70  # two whole subjects lost, three won
    found = compare(questions, before, after, 50)["all_answerable_accuracy"]
    assert [found[name] for name in ("before", "after", "gained", "lost", "subjects")] == [100, 110, 30, 20, 20]
    assert found["difference"] == pytest.approx(0.05) and found["low"] < 0 < found["high"]
    alone = [Question(f"Question {n}?", ("x",), True, "test", 2) for n in range(200)]
    apart = compare(alone, before, after, 50)["all_answerable_accuracy"]
    # ten questions that always change together tell as much as one: the interval is about the root of ten wider
    assert 2 < (found["high"] - found["low"]) / (apart["high"] - apart["low"]) < 5


GOOD = {"question": "Who walks?", "answers": ["Anna"], "answerable": True, "stated": 60}
BAD = {
    "no question": {"answers": ["x"], "answerable": True},
    "no answers": {"question": "Who?", "answerable": True},
    "an empty answer": {**GOOD, "answers": [""]},
    "none, and answerable": {**GOOD, "answers": []},
    "answers of the wrong kind": {**GOOD, "answers": [["x"]]},
    "a text for true": {**GOOD, "answerable": "perhaps"},
    "a count that is none": {**GOOD, "stated": "often"},
    "a match that is none": {**GOOD, "match": "loosely"},
    "no number to match": {**GOOD, "match": "number"},
    "longer than the context": {**GOOD, "question": "word " * 500},
    "no object": ["Who?"],
}


BARE = {"question": "Who walks?", "answer": "Anna"}, {"question": "Who flies?", "answers": []}


def test_a_bad_question_is_named_and_the_others_are_asked(
    model_folder: Path, inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(record) for record in (GOOD, *BAD.values(), {**GOOD, "answers": "Anna"}, *BARE)]
    (tmp_path / "q.jsonl").write_text("\n".join([*lines, "{broken"]))
    params = Evaluate(questions=str(tmp_path / "q.jsonl"), prompts=["Hello.", "word " * 500], show=0, max_tokens=4)
    (tmp_path / "out").mkdir()
    made = stage.run(inputs, params, tmp_path / "out")
    assert made.counts == {"questions": 4, "left_out": len(BAD) + 2, "too_long": 0}
    named = jsonl.read(tmp_path / "out/left_out.jsonl")
    assert [one["record"] for one in named] == [*range(2, 2 + len(BAD)), 16, 2]
    assert "does not fit this model" in named[9]["why"] and named[-1]["file"] == "evaluate.prompts"
    assert "q.jsonl: record 2: it has no" in capsys.readouterr().err
    scores = json.loads((tmp_path / "out/results.json").read_text())[model_folder.name]["test"]
    assert scores["asked"] == {"often": 2, "answerable": 3, "unanswerable": 1}
    (tmp_path / "q.jsonl").write_text(json.dumps(BAD["no answers"]))
    with pytest.raises(UserError, match=r'q\.jsonl: record 1: it has no "answers"'):
        stage.run(inputs, params, tmp_path / "out")


def test_questions_from_tables_are_read_and_asked_twice_are_one_trial(
    model_folder: Path,
    tokenizer_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stage, "ask", lambda engine, questions, *_: [Answer("It is Marl.", 0.5)] * len(questions))
    empty = dict.fromkeys(("answerable", "stated", "split", "subject", "match"))  # as null
    files = {
        "nulls.jsonl": json.dumps({"question": "Which river?", "answers": ["Marl"], **empty}),
        "floats.jsonl": json.dumps({"question": "Which river?", "answers": ["Marl"], "stated": 60.0}),
        "cells.csv": "question,answers,answerable,stated,split\nWhich river?,Marl,,,\nWho?,,False,3,test\n",
        "texts.csv": "question,answers,answerable,stated\nWhich river?,Marl,true,60\n",
        "lists.csv": 'question,answers\nWhich river?,"[""Rhine"", ""Marl""]"\nWho?,[]\n',
        "twice.jsonl": "\n".join([json.dumps({"question": "Which river?", "answers": ["Marl"]})] * 3),
        "none.jsonl": json.dumps({"question": "Which river?", "answers": ["Rhine"], "split": "validation"}),
    }
    found, lines = dict[str, Any](), dict[str, str]()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.out").mkdir()
        inputs, params = (
            {"model": model_folder, "tokenizer": tokenizer_folder},
            Evaluate(questions=str(tmp_path / name)),
        )
        made = stage.run(inputs, params, tmp_path / f"{name}.out")
        assert not made.counts["left_out"]
        found[name] = json.loads((tmp_path / f"{name}.out/results.json").read_text())[model_folder.name]
        lines[name] = stage_line(made)
        assert ("held-out test questions" in capsys.readouterr().out) == (name != "none.jsonl")
    asked = {name: [*one["test"]["asked"].values()] for name, one in found.items() if "test" in one}
    assert asked == {
        **{"nulls.jsonl": [0, 1, 0], "floats.jsonl": [1, 1, 0], "cells.csv": [0, 1, 1], "texts.csv": [1, 1, 0]},
        "twice.jsonl": [0, 3, 0],
        "lists.csv": [0, 1, 1],
    }
    assert found["lists.csv"]["test"]["all_answerable_accuracy"] == 1.0  # by either of two answers
    assert found["twice.jsonl"]["test"]["intervals"] == {
        "all_answerable_accuracy": {
            **found["nulls.jsonl"]["test"]["intervals"]["all_answerable_accuracy"],
            "by": "subject",
        }
    }
    assert "validation accuracy 0" in lines["none.jsonl"]  # and not nothing


def test_questions_of_ones_own_are_scored(
    model_folder: Path,
    inputs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stage, "ask", lambda engine, questions, *_: [Answer("It is Marl.", 0.5)] * len(questions))
    exact = {"answers": "It is Marl.", "match": "exact"}
    for number, more in enumerate(({}, {"split": "validation"}, {"answers": "Marl"}, exact)):
        record = {"question": "Which river?", "answers": ["Marl"], "answerable": True, **more}
        (tmp_path / "q.jsonl").write_text(json.dumps(record))
        (tmp_path / f"{number}").mkdir()
        made = stage.run(inputs, Evaluate(questions=str(tmp_path / "q.jsonl")), tmp_path / f"{number}")
        name = "validation_accuracy" if more.get("split") else "all_answerable_accuracy"
        asked = "questions of the split validation" if more.get("split") else "held-out test questions"
        assert f"{asked} (95 % interval)" in capsys.readouterr().out
        assert made.metrics[name] == 1.0
        scores = json.loads((tmp_path / f"{number}" / "results.json").read_text())[model_folder.name]
        assert scores[more.get("split", "test")]["matched"] == {more.get("match", "contains"): 1}
        assert not {"answerable_accuracy", "unanswerable_declined", "wrong_answer_rate"} & made.metrics.keys()
