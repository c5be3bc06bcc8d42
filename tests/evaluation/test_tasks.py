"""Tasks are scored as lm-evaluation-harness scores them, bad items are named, intervals are those of the definition."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest
import torch
from command_line import Command

from gristmill.evaluation import stage, tasks
from gristmill.evaluation.intervals import of_share, of_weighted
from gristmill.evaluation.questions import Answer
from gristmill.export import stage as export
from gristmill.generation.engine import Engine
from gristmill.recipe import Evaluate, Export
from gristmill.training.scoring.likelihood import log_likelihoods, split_tokens

Inputs = dict[str, Path]


WORDS = "the miller walks to a river mill and looks at an open door while young Tom paints red boats".split()


def sentence(draw: random.Random) -> str:
    """Words in a row."""
    return " ".join(draw.choices(WORDS, k=draw.randint(3, 8)))


def items(count: int = 12) -> list[dict[str, Any]]:
    """Multiple choice between ways in which a sentence goes on."""
    draw = random.Random(0)
    found = []
    for number in range(count):
        choices = [sentence(draw) for _ in range(3)]
        found.append({"context": sentence(draw), "choices": choices, "answer": number % 3})
    return found


def test_a_likelihood_is_the_sum_over_the_tokens_of_the_continuation(inputs: Inputs) -> None:
    engine = Engine.load(inputs["model"], inputs["tokenizer"])
    context, continuation = "The miller walks to ", "the river."
    ((score, greedy),) = log_likelihoods(engine, [(context, continuation)])
    before = [engine.tokenizer.end_of_text, *engine.tokenizer.encode("The miller walks to")]
    after = engine.tokenizer.encode(" the river.")
    with torch.no_grad():
        logits = engine.model(torch.tensor([before + after])).double()[0].log_softmax(-1)
    places = range(len(before) - 1, len(before) + len(after) - 1)
    assert score == pytest.approx(
        sum(float(logits[at, token]) for at, token in zip(places, after, strict=True)), abs=1e-4
    )
    assert greedy == all(int(logits[at].argmax()) == token for at, token in zip(places, after, strict=True))


def test_what_is_read_once_for_several_scores_as_if_each_were_alone(inputs: Inputs) -> None:
    engine, draw = Engine.load(inputs["model"], inputs["tokenizer"]), random.Random(2)
    contexts = ["", sentence(draw), sentence(draw), "the miller walks to " * 40]  # the last is longer than is read
    pairs = [(context, f" {sentence(draw)}") for context in contexts for _ in range(40)]
    pairs += [*pairs[:3], (contexts[1], ""), ("", "the river looks at Tom " * 40)]
    draw.shuffle(pairs)
    together = log_likelihoods(engine, pairs)
    for (score, greedy), pair in zip(together, pairs, strict=True):
        ((alone, likeliest),) = log_likelihoods(engine, [pair])
        assert score == pytest.approx(alone, abs=1e-4) and greedy == likeliest
    assert len({together[at] for at, pair in enumerate(pairs) if pair == pairs[0]}) == 1  # equal ones tie exactly
    before, after = split_tokens(engine, *pairs[0])
    row = torch.tensor([(before + after)[-engine.context - 1 :]])
    with torch.no_grad():
        logprobs = engine.model(row[:, :-1]).double().log_softmax(-1)[0, -len(after) :]
    assert together[0][0] == pytest.approx(float(logprobs.gather(1, row[0, -len(after) :, None]).sum()), abs=1e-4)


def test_scores_are_those_of_the_harness(inputs: Inputs, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    choice = jsonl.write(tmp_path / "choice.jsonl", items())
    draw = random.Random(1)
    pairs = [{"good": sentence(draw), "bad": sentence(draw)} for _ in range(10)]
    pair = jsonl.write(tmp_path / "pairs.jsonl", pairs)
    (tmp_path / "ours").mkdir()
    made = stage.run(inputs, Evaluate(tasks={"choice": choice, "pairs": pair}), tmp_path / "ours")
    ours = jsonl.read(tmp_path / "ours" / "tasks.jsonl")
    (tmp_path / "export").mkdir()
    export.run({"model": inputs["model"], "tokenizer": inputs["tokenizer"]}, Export(), tmp_path / "export")

    def task(name: str, path: str, **more: Any) -> dict[str, Any]:
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": path}}, "test_split": "test"}
        metrics = [{"metric": metric} for metric in ("acc", "acc_norm")]
        return {"task": name, "output_type": "multiple_choice", **data, "metric_list": metrics, **more}

    tasks = [
        task("choice", choice, doc_to_text="{{context}}", doc_to_choice="choices", doc_to_target="answer"),
        task("pairs", pair, doc_to_text="", doc_to_choice="{{[good, bad]}}", doc_to_target=0),
    ]
    model = HFLM(pretrained=str(tmp_path / "export"), device="cpu", dtype="float32", add_bos_token=True, batch_size=4)
    theirs = simple_evaluate(model, tasks=tasks, log_samples=True, bootstrap_iters=0)
    for name in ("choice", "pairs"):
        samples = sorted(theirs["samples"][name], key=lambda sample: int(sample["doc_id"]))
        mine = [one for one in ours if one["task"] == name]
        for one, other in zip(mine, samples, strict=True):
            logprobs = [float(answer[0]) for (answer,) in other["resps"]]
            assert one["logprobs"] == pytest.approx(logprobs, abs=1e-3)
            assert (one["acc"], one["acc_norm"]) == (bool(other["acc"]), bool(other["acc_norm"]))
        assert made.metrics[f"tasks.{name}.acc"] == pytest.approx(theirs["results"][name]["acc,none"], abs=1e-4)


def test_bad_items_are_named_and_the_others_scored(inputs: Inputs, tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"context": "x", "choices": ["one"], "answer": 0},
        {"context": "x", "choices": ["one", "two"], "answer": 2},
        {"context": "x", "choices": ["one", ""], "answer": 0},
        {"something": "else"},
        {"good": "a " * 300, "bad": "b"},
        {"good": "", "bad": "b"},
        {"good": "b", "bad": "b"},
        {"context": "x", "choices": ["one", "two", "two"], "answer": 1},
    ]
    path = jsonl.write(
        tmp_path / "t.jsonl", [*bad, {"context": "A cat", "choices": ["sleeps", "sings"], "answer": "sings"}]
    )
    made = stage.run(inputs, Evaluate(tasks={"t": path}), tmp_path)
    assert made.counts["left_out"] == len(bad)
    named = [json.loads(line)["record"] for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    assert named == [1, 2, 3, 4, 5, 6, 7, 8]
    (record,) = jsonl.read(tmp_path / "tasks.jsonl")
    assert record["answer"] == 1
    found = json.loads((tmp_path / "tasks.json").read_text())["t"]
    assert found["items"] == 1 and found["acc"]["low"] < found["acc"]["high"]


def test_items_in_the_layouts_of_hellaswag_and_arc_are_asked_as_the_harness_does(
    inputs: Inputs, tmp_path: Path
) -> None:
    swag: dict[str, Any] = {"ctx": "A man sits. he", "ctx_a": "A man sits.", "ctx_b": "he", "activity_label": "Rest"}
    arc: dict[str, Any] = {"question": "What is wet?", "choices": {"text": ["sand", "rain"], "label": ["1", "2"]}}
    records = [
        {**swag, "endings": ["sleeps [title] well.", "[step] flies  away."], "label": "1"},
        {"ctx": "A dog", "endings": ["barks", "reads"], "label": 0},
        {**arc, "answerKey": "2"},
        {**swag, "endings": ["sleeps.", "flies."], "label": ""},
        {**arc, "answerKey": "C"},
    ]
    stage.run(inputs, Evaluate(tasks={"t": jsonl.write(tmp_path / "t.jsonl", records)}), tmp_path)
    found = jsonl.read(tmp_path / "tasks.jsonl")
    assert [(one["context"], one["choices"], one["answer"]) for one in found] == [
        ("Rest: A man sits. He", ["sleeps. well.", " flies away."], 1),
        ("A dog", ["barks", "reads"], 0),
        ("Question: What is wet?\nAnswer:", ["sand", "rain"], 1),
    ]
    named = [json.loads(line)["why"] for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    assert '"label" is ""' in named[0] and '"answerKey" is "C"' in named[1]


def test_figures_of_tasks_are_printed_and_what_is_cut_is_told(
    inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"context": "The miller walks to " * 100, "choices": ["the river", "a mill"], "answer": 0}
    path = jsonl.write(tmp_path / "t.jsonl", [*items(3), long])
    stage.run(inputs, Evaluate(tasks={"t": path}), tmp_path)
    found = json.loads((tmp_path / "tasks.json").read_text())["t"]
    said = capsys.readouterr()
    assert f"{found['acc']['value']:.1%}" in said.out and "acc_norm" in said.out
    assert found["shortened"] == 1 and "t: the beginning of 1 of 4 items was left out" in " ".join(said.err.split())
    assert "held-out test questions" not in said.out  # of which none was asked


def test_tasks_alone_end_with_their_figures(inputs: Inputs, tmp_path: Path, command: Command) -> None:
    given = jsonl.write(tmp_path / "items.jsonl", items())
    setting = f'tasks={{my_own = "{given}"}}'
    done = command("evaluate", inputs["model"], inputs["tokenizer"], "-o", tmp_path / "out", "--set", setting)
    last = done.stderr.strip().splitlines()[-1]
    assert done.code == 0 and "my_own acc 0." in last and "done" not in last


def test_what_is_generated_is_compared_as_the_record_says(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tasks, "complete", lambda engine, prompts, _: [Answer("So 3 + 4 = 1,234.50.", 1.0)] * len(prompts)
    )
    records: list[tuple[dict[str, Any], bool]] = [
        ({"answer": "because …\n#### 1234.5"}, True),
        ({"answer": 1234.5}, True),
        ({"answer": "#### 4"}, False),  # not the last one
        ({"answer": "So 3 + 4 = 1,234.50."}, True),
        ({"answer": "so 3 + 4 = 1,234.50."}, False),  # the harness does not fold case
        ({"answer": "about 4", "match": "number"}, False),
        ({"answer": "about 1234.5", "match": "number"}, True),
        ({"answer": "4", "match": "contains"}, True),
        ({"answer": "234", "match": "contains"}, False),
    ]
    path = jsonl.write(tmp_path / "t.jsonl", [{"question": "How many?", **record} for record, _ in records])
    made = stage.run(inputs, Evaluate(tasks={"t": path}), tmp_path)
    found = jsonl.read(tmp_path / "tasks.jsonl")
    for (record, right), one in zip(records, found, strict=True):
        assert one["contains" if record.get("match") == "contains" else "exact_match"] == right, record
    assert made.metrics["tasks.t.exact_match"] == pytest.approx(4 / 7, abs=1e-5)
    assert made.metrics["tasks.t.contains"] == 0.5


def test_intervals_are_their_definitions() -> None:
    """Wilson's bounds are the shares from which the observation is just as far as it may be."""
    for count, total in ((0, 10), (3, 10), (10, 10), (500, 1000)):
        low, high = of_share(count, total)
        for bound in (low, high):
            if 1e-9 < bound < 1 - 1e-9:
                spread = math.sqrt(bound * (1 - bound) / total)
                assert abs(count / total - bound) == pytest.approx(1.959964 * spread, rel=1e-6)
    assert of_weighted([(3, 10, 1.0)]) == pytest.approx(of_share(3, 10))
    draws = np.random.default_rng(0).binomial([40, 60], [0.2, 0.7], (4_000, 2))
    inside = 0
    for one, two in draws[:1_000]:
        low, high = of_weighted([(int(one), 40, 0.25), (int(two), 60, 0.75)])
        inside += low <= 0.25 * 0.2 + 0.75 * 0.7 <= high
    assert 930 <= inside <= 975
