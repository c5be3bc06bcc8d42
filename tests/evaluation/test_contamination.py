"""Items of a task that stand in the training text are found, by either definition, and scores are told without them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonl
import pytest

from gristmill.document import Document, write_documents
from gristmill.evaluation import stage
from gristmill.evaluation.contamination import TrainedOn, contamination
from gristmill.evaluation.questions import Answer
from gristmill.manifest import WORK
from gristmill.recipe import Evaluate, Tokenize
from gristmill.settings.recipe_file import load_recipe
from gristmill.tokenizer import tokenize
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split, open_split

NONSENSE = "quartz violin umbrella zebra cobalt lantern pickle saddle tundra velvet walnut yonder zephyr anvil".split()


@pytest.fixture
def split(tokenizer_folder: Path, tokens_folder: Path) -> Split:
    return open_split(tokens_folder, "train", Tokenizer.load(tokenizer_folder).hash)


@pytest.fixture
def words(split: Split, tokenizer_folder: Path) -> list[str]:
    """Of the longest document that is trained on."""
    tokenizer = Tokenizer.load(tokenizer_folder)
    texts = (tokenizer.decode(split.document(number).tolist()) for number in range(len(split)))
    return max(texts, key=len).replace(tokenizer.decode([split.end_of_text]), "").split()


def other(count: int) -> list[str]:
    """Words that no document has."""
    return random.Random(count).choices(NONSENSE, k=count)


def test_both_definitions_find_what_they_say(split: Split, words: list[str], tokenizer_folder: Path) -> None:
    here = words[5:40]
    texts = {
        "13 words in a row, shouted": " ".join([*other(40), *here[:13], *other(40)]).upper(),
        "12 words in a row": " ".join([*other(40), *here[:12], *other(40)]),
        "two runs of 8, half of it": " ".join([*other(8), *here[:8], *other(8), *here[20:28]]),
        "one run of 8, a third of it": " ".join([*other(8), *here[:8], *other(8)]),
        "runs of 7, two thirds of it": " ".join([*here[:7], *other(3), *here[20:27], *other(3)]),
        "nothing": " ".join(other(30)),
        "seven words": " ".join(here[:7]),
        "no words": "",
    }
    found = contamination(list(texts.values()), TrainedOn(split, [], Tokenizer.load(tokenizer_folder)))
    by_run, by_half = found["13_gram"], found["8_gram_half"]
    assert dict(zip(texts, by_run["met"], strict=True)) == {name: name.startswith("13") for name in texts}
    assert dict(zip(texts, by_half["met"], strict=True)) == {name: name.startswith("two") for name in texts}
    assert (sum(by_run["short"]), sum(by_half["short"])) == (2, 2)


def test_scores_are_told_with_and_without(inputs: dict[str, Path], words: list[str], tmp_path: Path) -> None:
    leaked = [{"good": " ".join(words[at : at + 16]), "bad": " ".join(other(16))} for at in (0, 20)]
    clean = [{"good": " ".join(other(16 + number)), "bad": " ".join(words[:9])} for number in range(5)]
    path = jsonl.write(tmp_path / "pairs.jsonl", leaked + clean)
    (tmp_path / "out").mkdir()
    made = stage.run(inputs, Evaluate(tasks={"pairs": path}), tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "tasks.json").read_text())["pairs"]
    items = jsonl.read(tmp_path / "out" / "tasks.jsonl")
    assert [item["13_gram"] for item in items] == 2 * [True] + 5 * [False]
    assert figures["13_gram"]["contaminated"] == figures["8_gram_half"]["contaminated"] == 2
    right = sum(item["acc"] for item in items[2:])
    assert figures["13_gram"]["without"]["acc"]["value"] == pytest.approx(right / 5)
    assert made.metrics["tasks.pairs.acc"] == pytest.approx(sum(item["acc"] for item in items) / 7, abs=1e-5)

    (tmp_path / "alone").mkdir()  # without the tokens nothing is said of it
    del inputs["tokens"]
    stage.run(inputs, Evaluate(tasks={"pairs": path}), tmp_path / "alone")
    assert "13_gram" not in json.loads((tmp_path / "alone" / "tasks.json").read_text())["pairs"]


def test_scores_on_questions_are_told_with_and_without(
    model_folder: Path, inputs: dict[str, Path], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ["quartz" if number < 3 else "nothing of the kind" for number in range(4)]
    monkeypatch.setattr(stage, "ask", lambda engine, asked, *_: [Answer(one, 0.5) for one in said[: len(asked)]])
    leaked = [{"question": " ".join(words[at : at + 14]), "answers": "quartz", "answerable": True} for at in (0, 20)]
    clean = [
        {"question": " ".join(other(16 + number)), "answers": "quartz", "answerable": True, "stated": 60}
        for number in (0, 1)
    ]
    path = jsonl.write(tmp_path / "q.jsonl", leaked + clean)
    made = stage.run(inputs, Evaluate(questions=path, show=0), tmp_path)
    assert made.metrics["all_answerable_accuracy"] == 0.75
    found = json.loads((tmp_path / "contamination.json").read_text())["13_gram"]
    assert (found["questions"], found["contaminated"], found["too_short"]) == (4, 2, 0)
    without = found["without"][model_folder.name]["test"]
    assert without["all_answerable_accuracy"] == without["answerable_accuracy"] == 0.5
    assert without["asked"] == {"often": 2, "answerable": 2, "unanswerable": 0}
    assert without["intervals"]["all_answerable_accuracy"]["low"] < 0.5


def test_held_out_text_is_looked_for_and_told_with_and_without(
    model_folder: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """Documents that are held out, once among others and once with copies of some of them that are trained on."""
    texts = [
        " ".join(f"{word}{number}" for word in "anna bread cart door hill lamp mill".split()) for number in range(400)
    ]
    documents = [Document(f"{at}", " ".join(texts[at : at + 4]), url=f"{at}") for at in range(0, 400, 4)]
    for name in ("first", "second", "out"):
        (tmp_path / name).mkdir()
    inputs = {"model": model_folder, "tokenizer": tokenizer_folder, "tokens": tmp_path / "second"}
    write_documents(tmp_path / "documents.parquet", documents)
    tokenize.run({**inputs, "corpus": tmp_path}, Tokenize(heldout=0.2), tmp_path / "first")
    held = open_split(tmp_path / "first", "heldout").urls
    assert len(held) > 6
    copies = [replace(one, id=f"copy {one.id}", url="") for one in documents if one.url in held[:3]]
    write_documents(tmp_path / "documents.parquet", documents + copies)
    tokenize.run({**inputs, "corpus": tmp_path}, Tokenize(heldout=0.2), tmp_path / "second")
    trained, held = (open_split(tmp_path / "second", name).urls for name in ("train", "heldout"))
    planted = trained.count("")
    assert planted > 0
    made = stage.run(inputs, Evaluate(), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "heldout.json").read_text())
    assert made.metrics["heldout_bpb"] == found["all"]["bits_per_byte"]
    for rule in ("13_gram", "8_gram_half"):
        told = found["contamination"][rule]
        assert (told["documents"], told["contaminated"], told["too_short"]) == (len(held), planted, 0)
        assert told["without"]["documents"] == len(held) - planted


def test_items_are_looked_for_in_what_fine_tuning_reads(
    model_folder: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """In conversations, pairs and prompts, over turns; no tokens are needed for it. The recipe names the files."""
    asked = [" ".join(other(30 + number)[-10:]) for number in range(5)]
    questions = [
        {"question": text, "answers": "zebra zephyr zebra zephyr", "answerable": True, "split": split}
        for text, split in zip(asked, ("test", "test", "test", "test", "sft"), strict=True)
    ]
    answer = {"role": "assistant", "content": "zebra zephyr zebra zephyr"}
    records: dict[str, list[dict[str, Any]]] = {
        "talk.jsonl": [{"messages": [{"role": "user", "content": asked[at]}, answer]} for at in (0, 4)],
        "pairs.jsonl": [{"prompt": asked[1], "chosen": answer["content"], "rejected": "no"}],
        "prompts.jsonl": [{"prompt": asked[2], "truth": "zebra zephyr zebra zephyr"}],
        "q.jsonl": questions,
    }
    for name, lines in records.items():
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines) + "{damaged\n")
    (tmp_path / "recipe.toml").write_text(
        '[sft]\nconversations = "talk.jsonl"\n[dpo]\npreferences = "pairs.jsonl"\n[kto]\npreferences = "pairs.jsonl"\n'
        '[rl]\nprompts = "prompts.jsonl"\nreward = "own.py:judge"\n[evaluate]\nquestions = "q.jsonl"\n'
    )
    params = load_recipe(tmp_path / "recipe.toml").evaluate
    assert params and [Path(path).name for path in params.tuned_on] == ["talk.jsonl", "pairs.jsonl", "prompts.jsonl"]
    stage.run({"model": model_folder, "tokenizer": tokenizer_folder}, params, tmp_path)
    found = json.loads((tmp_path / "contamination.json").read_text())["13_gram"]
    assert {name: found[name] for name in ("questions", "contaminated", "too_short")} == {
        "questions": 5,
        "contaminated": 4,
        "too_short": 0,
    }
    assert {split: one["contaminated"] for split, one in found["by_split"].items()} == {"sft": 1, "test": 3}
    assert found["without"][model_folder.name]["test"]["asked"]["answerable"] == 1


def test_what_was_trained_on_is_read_once_for_all_tasks(
    model_folder: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """What one pass gives is kept until the stage ends, a file each."""
    asked = [" ".join(other(40 + number)[-10:]) for number in range(2)]
    answer = {"role": "assistant", "content": "zebra zephyr zebra zephyr"}
    jsonl.write(tmp_path / "talk.jsonl", [{"messages": [{"role": "user", "content": asked[0]}, answer]}])
    items = [[{"question": text, "answer": answer["content"]}] for text in asked]
    tasks = {name: str(jsonl.write(tmp_path / f"{name}.jsonl", own)) for name, own in zip("ab", items, strict=True)}
    params = Evaluate(tasks=tasks, tuned_on=[str(tmp_path / "talk.jsonl")], max_tokens=4)
    stage.run({"model": model_folder, "tokenizer": tokenizer_folder}, params, tmp_path)
    found = json.loads((tmp_path / "tasks.json").read_text())
    assert [found[name]["13_gram"]["contaminated"] for name in "ab"] == [1, 0]
    assert [path.name for path in (tmp_path / WORK).glob("*contamination*")] == ["contamination.json"]
