"""Decontamination: what holds a test item goes, whatever its form on the page; what only resembles one stays."""

from __future__ import annotations

import csv
import gzip
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import jsonl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.corpus.decontaminate import stage as decontaminate
from gristmill.corpus.decontaminate.evaluation_sets import read_items
from gristmill.document import Document, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.recipe import Decontaminate, Recipe
from gristmill.run import run_recipe
from gristmill.settings.recipe_file import load_recipe, validate

ROOT = Path(__file__).parents[2]
LONG = "A baker sells forty loaves on each of six days and gives away three a week; how many loaves leave the shop?"
SHORT = "Where does the river Marl begin?"
PROSE = "The mill stood still that day, and nobody spoke of it again until the snow had gone from the hills. " * 3


def go(tmp_path: Path, texts: list[str], *sets: Path, **settings: int) -> tuple[Manifest, list[str], dict[str, Any]]:
    """The manifest, the texts that stay, and the report."""
    write_documents(tmp_path / "d.parquet", [Document(str(number), text) for number, text in enumerate(texts)])
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    params = Decontaminate(sets=[str(path) for path in sets], **settings)
    made = decontaminate.run({"corpus": tmp_path / "d.parquet"}, params, out)
    report = json.loads((out / "contamination.json").read_text())
    return made, [found.text for found in read_documents(out)], report


def write_set(path: Path, *items: object) -> Path:
    jsonl.write(path, items)
    return path


def test_long_items_are_met_in_any_dress_and_short_ones_only_with_their_answer(tmp_path: Path) -> None:
    items = write_set(
        tmp_path / "q.jsonl",
        {"question": LONG, "answer": "237"},
        {"question": SHORT, "answers": ["in the northern hills", "hills"]},
        {"question": "Who keeps the ferry at Lorn?", "answers": [], "answerable": False},
        {"question": "Who?", "answer": "Ann"},
    )
    quoted = LONG.upper().replace("; ", ".\n\n").replace("-", " – ")
    gone = [
        f"{PROSE} {quoted} I wonder.",
        f"{PROSE} {SHORT} “In the northern hills,” she said.",
        " ".join(LONG.split()[4:18]) + PROSE,
    ]
    stay = [
        PROSE,
        f"{PROSE} {SHORT} Nobody knows.",
        f"{PROSE} Who keeps the ferry at Lorn?",
        f"{PROSE} Who? Ann.",
        " ".join(LONG.split()[:12]) + ". " + PROSE,
    ]
    made, kept, report = go(
        tmp_path, [text for pair in zip(gone, stay, strict=False) for text in pair] + stay[3:], items
    )
    assert sorted(kept) == sorted(stay)
    assert made.dropped == {"contaminated": 3}
    counts = made.counts
    assert (counts["items"], counts["items_too_short"], counts["items_met"]) == (4, 2, 2)
    (about,) = report["sets"]
    assert [(met["item"], met["documents"]) for met in about["items_met"]] == [(1, 2), (2, 1)]
    log = jsonl.read(tmp_path / "out" / "dropped.jsonl")
    assert log[0]["items"] == "1" and log[0]["words"] == "a baker sells forty loaves on each of six days and gives away"


def test_thirteen_words_are_more_characters_where_none_is_parted_by_spaces(tmp_path: Path) -> None:
    name = "中华人民共和国全国人民代表大会常务委员会"
    question, answer = f"{name}每届任期是几年？由谁选举产生？", "五年"
    items = write_set(
        tmp_path / "q.jsonl", {"question": question, "answer": answer}, {"question": "几年？", "answer": answer}
    )
    stay = [f"昨天上午，{name}在北京开会。", "任期是几年？五年。"]
    made, kept, _ = go(tmp_path, [*stay, f"问：{question}答：{answer}。"], items)
    assert kept == stay and made.dropped == {"contaminated": 1} and made.counts["items_too_short"] == 1


def test_every_format_and_shape(tmp_path: Path) -> None:
    text = "the quick brown fox jumps over the lazy dog while seven swans swim past the old mill"
    row = {"ctx": text, "endings": ["one", "two"], "label": 1}
    write_set(tmp_path / "a.jsonl", row)
    (tmp_path / "b.json").write_text(json.dumps([row, {"nested": {"choices": {"text": [text]}, "label": ["A"]}}]))
    with (tmp_path / "c.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["question", "answer"], ["What, then?", text + "\nnext line"]])
    (tmp_path / "d.csv").write_text(
        f"Question;Answer\nWhat?;{text}\n"
    )  # as spreadsheets write it where a comma is decimal
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "p.parquet")
    (tmp_path / "e.txt").write_text(text + "\n\n")
    with gzip.open(tmp_path / "f.jsonl.gz", "wt") as file:
        file.write(json.dumps(text))
    for name in ("a.jsonl", "b.json", "c.csv", "d.csv", "p.parquet", "e.txt", "f.jsonl.gz"):
        items = list(read_items(tmp_path / name))
        assert len(items) == (2 if name == "b.json" else 1), name
        assert all(text in " ".join((*item.asked, *item.answer)) for item in items), name
        made, kept, _ = go(tmp_path, [f"{PROSE} {text.title()}!", PROSE], tmp_path / name)
        assert kept == [PROSE] and made.counts["items_met"] == 1, name
    assert [item.answer for item in read_items(tmp_path / "d.csv")] == [(text,)]


def test_a_template_is_no_evidence(tmp_path: Path) -> None:
    ask = "Read the text below with care and then choose the one right answer out of the four that follow here. "
    draw = random.Random(0)
    own = [" ".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=20)) for _ in range(30)]
    items = write_set(tmp_path / "q.jsonl", *({"prompt": ask + text} for text in own))
    _, kept, _ = go(tmp_path, [ask + PROSE, own[7] + PROSE], items)
    assert kept == [ask + PROSE]


def test_a_line_that_cannot_be_read_is_counted_and_the_others_are_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = write_set(tmp_path / "q.jsonl", {"question": PROSE})
    items.write_text("{oops\n" + items.read_text() + "[1\n")
    made, kept, _ = go(tmp_path, [PROSE, PROSE[::-1]], items)
    assert kept == [PROSE[::-1]] and (made.counts["items"], made.counts["items_unreadable"]) == (3, 2)
    told = capsys.readouterr().err
    assert "q.jsonl: item 1:" in told and told.count("is not looked for") == 1


def test_a_document_that_cannot_be_read_is_no_item_that_was_met(tmp_path: Path) -> None:
    texts = pa.array([PROSE.encode(), b"\xff"], pa.large_binary())
    broken = pa.Array.from_buffers(pa.large_string(), 2, texts.buffers())
    pq.write_table(pa.table({"id": ["1", "2"], "text": broken}), tmp_path / "documents.parquet")
    (tmp_path / "out").mkdir()
    sets = [str(write_set(tmp_path / "q.jsonl", {"question": "An item of its own"}))]
    made = decontaminate.run({"corpus": tmp_path}, Decontaminate(sets=sets), tmp_path / "out")
    assert made.dropped == {"fault": 1}
    (about,) = json.loads((tmp_path / "out" / "contamination.json").read_text())["sets"]
    assert (about["items"], about["too_short"], about["unreadable"], about["met"]) == (1, 1, 0, 0)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{oops\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "x.parquet").write_bytes(b"no")
    for name, told in {
        "bad.jsonl": "bad.jsonl holds no item",
        "empty.txt": "no item",
        "x.parquet": "x.parquet",
        "no": "no",
    }.items():
        with pytest.raises(UserError, match=told):
            go(tmp_path, [PROSE], tmp_path / name)
    with pytest.raises(UserError, match="no evaluation set"):
        go(tmp_path, [PROSE])


@settings(max_examples=100)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40), st.lists(st.sampled_from("abcd"), max_size=60))
def test_an_index_finds_what_a_plain_search_finds(item: list[str], text: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "item.txt"
        path.write_text(" ".join(item) + "\n")
        index, _ = decontaminate.build_index(Decontaminate(sets=[str(path)], ngram=5, min_words=3))
    length = min(5, len(item))
    runs = {tuple(item[at : at + length]) for at in range(len(item) - length + 1)} if length >= 3 else set()
    places = [at for at in range(len(text) - length + 1) if tuple(text[at : at + length]) in runs]
    assert [place for _, place, _ in index.find(" ".join(text))] == places


def test_the_questions_of_the_recipe_are_the_default(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "recipes" / "miniweb.toml")
    assert recipe.decontaminate and recipe.evaluate
    assert recipe.decontaminate.sets == [recipe.evaluate.questions]


def test_a_run_says_why_other_questions_redo_so_much(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": PROSE}) + "\n")
    for name, asked in (("a", SHORT), ("b", LONG)):
        write_set(tmp_path / f"{name}.jsonl", {"question": asked, "answers": ["here"]})

    def told(name: str, ngram: int = 13) -> str:
        sets = {"sets": [str(tmp_path / f"{name}.jsonl")], "ngram": ngram}
        tables = {"extract": {"paths": [str(tmp_path / "in.jsonl")]}, "decontaminate": sets}
        run_recipe(validate(Recipe, tables, "test"), tmp_path / "run")
        return capsys.readouterr().err

    remedy = "gristmill evaluate MODEL TOKENIZER --set questions=FILE -o FOLDER"
    assert remedy not in told("a") and remedy not in told("a")
    assert remedy in told("b")
    assert remedy not in told("b", ngram=12)
