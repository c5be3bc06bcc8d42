"""Runs side by side: groups that differ by seed have a mean and an interval, and whose answers are better is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest
from command_line import Command

from gristmill.commands.compare import compare
from gristmill.errors import UserError
from gristmill.evaluation.intervals import of_difference, of_runs, of_share, student
from gristmill.evaluation.win_rate import by_truth, share
from gristmill.manifest import Manifest


def run(folder: Path, figure: float, outcomes: list[str], **recipe: Any) -> Path:
    """A finished run as far as it is compared."""
    (folder / "evaluate").mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"evaluate.heldout_bpb": figure, "run.seconds": figure}))
    (folder / "recipe.json").write_text(json.dumps({"name": folder.name, **recipe}))
    lines = [
        {"model": "rl", "split": "test", "question": f"Who {n}?", "answers": ["x"], "answerable": True, "stated": 60}
        for n in range(len(outcomes))
    ]
    records = [{**line, "answer": outcome, "outcome": outcome} for line, outcome in zip(lines, outcomes, strict=True)]
    jsonl.write(folder / "evaluate" / "answers.jsonl", records)
    return folder


def test_runs_that_differ_by_seed_are_a_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["right"] * 40
    runs = [
        run(tmp_path / f"{name}{seed}", figure, said, seed=seed, pretrain={"lr": lr, "seed": seed})
        for name, lr, figures in (("a", 1, (1.0, 1.2, 1.4)), ("b", 2, (2.0, 2.1, 2.2)))
        for seed, figure in enumerate(figures)
    ]
    compare(runs)
    told = " ".join(capsys.readouterr().out.split())
    low, high = of_runs([1.0, 1.2, 1.4]) or (0.0, 0.0)
    assert f"1.2 ({low:.4g} to {high:.4g})" in told and "difference" in told
    change = of_difference([1.0, 1.2, 1.4], [2.0, 2.1, 2.2])
    assert change and f"0.9 ({change[0]:.4g} to {change[1]:.4g})" in told
    compare(runs[:3])  # one recipe: the runs themselves
    told = capsys.readouterr().out
    assert "difference" not in told and "1.4" in told
    compare([run(tmp_path / "small", 0.25, said), run(tmp_path / "large", 5_030_927, said)])
    told = capsys.readouterr().out
    assert "5,030,927" in told and "0.25" in told and "e+06" not in told


def test_figures_that_compare_nothing_are_left_to_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(tmp_path / "a", 0.25, ["right"]), run(tmp_path / "b", 0.5, [])]
    for path, more in zip(runs, ({"filter.bytes_in": 1, "rl.kl": 2}, {"filter.bytes_in": 2}), strict=True):
        summary = json.loads((path / "summary.json").read_text())
        (path / "summary.json").write_text(json.dumps({**summary, **more}))
    compare(runs)
    told = capsys.readouterr().out
    assert "evaluate.heldout_bpb" in told and "filter.bytes_in" not in told and "rl.kl" not in told
    assert "2 more figures with --all" in told and "answered no test question in common" in told
    compare(runs, everything=True)
    told = capsys.readouterr().out
    assert "filter.bytes_in" in told and "rl.kl" in told and "--all" not in told


def test_what_was_set_otherwise_and_a_warning_of_one_run_alone_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        run(tmp_path / "a", 0.25, ["right"], seed=1, pretrain={"epochs": 3.0, "width": 8}),
        run(
            tmp_path / "b",
            0.5,
            ["right"],
            seed=2,
            pretrain={"epochs": 16.0, "width": 8},
            audit={str(n): n for n in range(20)},
        ),
    ]
    (runs[1] / "summary.json").write_text('{"evaluate.heldout_bpb": 0.5, "pretrain.heldout_rises_at_step": 1234}')
    compare(runs)
    told = capsys.readouterr().out
    assert "pretrain.epochs: 3.0 → 16.0\n" in told and "audit: not there → there\n" in told
    assert "width" not in told and "seed" not in told
    assert "pretrain.heldout_rises_at_step" in told and "1,234" in told


def test_held_out_text_that_both_read_is_compared_document_by_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run(tmp_path / name, figure, ["right"]) for name, figure in (("a", 2.0), ("b", 1.9))]
    draw = np.random.default_rng(0)
    sizes, hard = draw.integers(100, 900, 60), draw.normal(2.0, 0.5, 60)
    for path, change in zip(runs, (0.0, -0.1), strict=True):
        bits = sizes * (hard + change + draw.normal(0.0, 0.02, 60))
        rows = [
            {"id": f"{n}", "source": "x", "bytes": int(size), "bits": float(bits[n])} for n, size in enumerate(sizes)
        ]
        jsonl.write(path / "evaluate" / "heldout.jsonl", rows if change else [*rows, {**rows[0], "id": "other"}])
    compare(runs)
    told = capsys.readouterr().out
    assert "60 held-out documents that both read" in told and "may be chance" not in told.split("60 held-out")[1]
    low, high = map(float, re.search(r"bits per byte: -0\.\d+ \(95 % interval (\S+) to (\S+)\)", told).groups())  # type: ignore[union-attr]
    assert low < -0.1 < high < 0 and high - low < 0.05  # of each alone it is ten times as wide
    compare([runs[0], run(tmp_path / "c", 2.0, ["right"])])
    assert "held-out documents" not in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_told_with_what_would_be(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", 0.25, ["right"])
    (whole / "rl").mkdir()
    for folder, told, remedy in (
        (whole / "rl", "is a stage's folder, no run's", f"name the run, {whole}"),
        (tmp_path, "is no run: it has no summary.json", "gristmill evaluate"),
    ):
        with pytest.raises(UserError, match=told) as refused:
            compare([whole, folder])
        assert str(folder) in refused.value.problem and remedy in refused.value.remedy
    (whole / "summary.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        compare([whole, whole])


def test_intervals_over_runs_are_students() -> None:
    expected = {1: 12.7062, 2: 4.30265, 4: 2.77645, 5: 2.57058, 9: 2.26216, 30: 2.04227, 200: 1.97190}
    for freedom, value in expected.items():
        assert student(freedom) == pytest.approx(value, abs=2e-3)
    draw, inside, apart = np.random.default_rng(0), 0, 0
    for _ in range(2_000):
        first, second = draw.normal(1.0, 1.0, 4), draw.normal(3.0, 2.0, 6)
        low, high = of_runs(first.tolist()) or (0.0, 0.0)
        inside += low <= 1.0 <= high
        low, high = of_difference(first.tolist(), second.tolist()) or (0.0, 0.0)
        apart += low <= 2.0 <= high
    assert 1_870 <= inside <= 1_930 and 1_880 <= apart <= 1_945
    assert of_runs([1.0]) is None and of_difference([1.0], [2.0, 3.0]) is None


def test_questions_asked_twice_and_items_of_tasks_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run(tmp_path / name, 1.0, said) for name, said in (("a", ["wrong"] * 4), ("b", ["wrong"] * 3 + ["right"]))]
    for path, right in zip(runs, (4, 7), strict=True):
        answers = path / "evaluate" / "answers.jsonl"
        answers.write_text(answers.read_text().replace("Who 3?", "Who 2?"))
        choices = [
            {"task": "t", "context": "", "choices": [f"{n}", "x"], "answer": 0, "acc": n < right, "13_gram": True}
            for n in range(10)
        ]
        written = [{"task": "u", "question": "How many?", "said": "4", "exact_match": n < right} for n in range(8)]
        made = {"task": "v", "item": 1, "asked": [["The"]], "answer": "x", "acc": float(right > 5), "perplexity": -3.0}
        lines = [*choices, *written, made, {"task": f"only {path.name}", "question": "Why?", "exact_match": True}]
        jsonl.write(path / "evaluate" / "tasks.jsonl", lines)
    compare(runs)
    told = " ".join(capsys.readouterr().out.split())
    assert "4 test questions that both were asked" in told and "1 gained, 0 lost of 4" in told
    assert " right answers, all: +25.0% (95 % interval" in told and "all_answerable_accuracy" not in told
    assert "tasks.t.acc: +30.0% (95 % interval" in told and "3 gained, 0 lost of 10" in told
    assert "tasks.u.exact_match: +37.5%" in told and "tasks.v.acc: +100.0%" in told
    assert not any(name in told for name in ("13_gram", "tasks.v.perplexity:", "tasks.only"))


def test_folders_of_evaluate_alone_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(tmp_path / name, 1.0, said) for name, said in (("a", ["wrong"] * 4), ("b", ["right"] * 4))]
    folders = [path / "evaluate" for path in runs]
    for folder, figure in zip(folders, (0.25, 0.5), strict=True):
        metrics = {"heldout_bpb": figure, "tasks.t.acc": figure}
        Manifest(counts={"questions": 4}, metrics=metrics).write(folder)
    compare(folders)
    told = " ".join(capsys.readouterr().out.split())
    assert "evaluate.heldout_bpb" in told and "tasks.t.acc" in told and "0.25" in told
    assert "4 test questions that both were asked" in told and "4 gained, 0 lost of 4" in told


def test_the_better_answers_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ["wrong", "declined", "right", "right"] * 10
    second = ["declined", "right", "right", "wrong"] * 10
    assert by_truth(first, second).tolist() == [1.0, 1.0, 0.5, 0.0] * 10
    runs = [
        run(tmp_path / name, 1.0, said, pretrain={"lr": lr}) for name, said, lr in (("a", first, 1), ("b", second, 2))
    ]
    compare(runs, win_rate="truth")
    told = " ".join(capsys.readouterr().out.split())
    assert "by truth: 62.5%" in told and "20 won, 10 tied, 10 lost" in told
    found = share(by_truth(first, second), [""] * 40)
    assert found["low"] < 0.625 < found["high"] < found["low"] + 0.3
    with pytest.raises(UserError, match="is no reward model"):
        compare(runs, win_rate=str(tmp_path / "nothing"))


def test_what_was_measured_on_something_else_is_told_and_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run(tmp_path / name, figure, ["right"] * 4) for name, figure in (("a", 0.25), ("b", 0.5))]
    for path, number in zip(runs, (1, 2), strict=True):
        summary = {"evaluate.heldout_bpb": number / 4, "evaluate.wrong_answer_rate": number / 4, "tasks.t.acc": number}
        summary |= {"pretrain.parameters": number, "rl.unanswerable_declined_low": number, "filter.words": number}
        (path / "summary.json").write_text(json.dumps(summary))
        rows = [{"name": "a.test", "documents": 3, "bytes": 3}]
        (path / "evaluate" / "heldout.json").write_text(json.dumps({"by_source": rows}))
        item = {"task": "t", "context": "", "choices": ["a", "b"], "answer": 0, "acc": True}
        (path / "evaluate" / "tasks.jsonl").write_text(json.dumps(item) + "\n")
    compare(runs)
    same = capsys.readouterr().out
    assert all(name in same for name in summary) and "not compared" not in same
    (runs[1] / "evaluate" / "heldout.json").write_text(json.dumps({"by_source": [{**rows[0], "bytes": 4}]}))
    (runs[1] / "evaluate" / "tasks.jsonl").write_text(json.dumps({**item, "choices": ["a", "c"]}) + "\n")
    answers = runs[1] / "evaluate" / "answers.jsonl"
    answers.write_text(answers.read_text().replace("Who 3?", "Who else?"))
    compare(runs)
    told = " ".join(capsys.readouterr().out.split())
    assert "pretrain.parameters" in told and not any(name in told for name in summary if name != "pretrain.parameters")
    assert "2 on the text, which is not the same; 2 on questions, which are not the same; 1 of tasks.t, whose" in told
    assert "3 test questions that both were asked" in told  # and these tell what changed
    compare(runs, everything=True)
    assert all(name in capsys.readouterr().out for name in ("filter.words",))


def test_where_no_answer_changed_that_is_no_certainty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare([run(tmp_path / name, figure, ["right"] * 20) for name, figure in (("a", 0.25), ("b", 0.5))])
    _, high = of_share(0, 20)
    assert f"+0.0% (95 % interval {-high:+.1%} to {high:+.1%}), 0 gained, 0 lost of 20" in capsys.readouterr().out


def test_folders_of_tasks_alone_are_compared(
    model_folder: Path, tokenizer_folder: Path, tmp_path: Path, command: Command
) -> None:
    items = [{"good": f"The miller walks to {n} rivers.", "bad": f"To miller walks {n} the."} for n in range(4)]
    jsonl.write(tmp_path / "items.jsonl", items)
    for name, sides in (("one", ("good", "bad")), ("two", ("bad", "good"))):
        records = [{"good": item[sides[0]], "bad": item[sides[1]]} for item in items]
        jsonl.write(tmp_path / f"{name}.jsonl", records)
        asked = ("--set", f"tasks.pairs={tmp_path / name}.jsonl", "--set", f"tasks.same={tmp_path / 'items.jsonl'}")
        assert command("evaluate", model_folder, tokenizer_folder, *asked, "-o", tmp_path / name).code == 0
    told = command("compare", tmp_path / "one", tmp_path / "two").stdout
    assert "tasks.same.acc: +0.0%" in told and "0 gained, 0 lost of 4" in told
    assert "tasks.pairs.acc:" not in told and "test question" not in told


def test_where_nothing_differs_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare([run(tmp_path / name, 0.5, ["right"]) for name in ("a", "b")])
    assert "no figure differs of those that all have\n" in capsys.readouterr().out
