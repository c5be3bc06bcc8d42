"""One document on which a stage fails is counted and named, and costs no other, in stages that work on batches too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.corpus.dedup import minhash, passages
from gristmill.corpus.dedup import stage as dedup
from gristmill.corpus.extract import stage as extract
from gristmill.corpus.redact import stage as redact
from gristmill.document import Document, read_documents, write_documents
from gristmill.manifest import Manifest
from gristmill.recipe import Dedup, Extract, Redact, Tokenize, TokenizerParams
from gristmill.run import check_balance
from gristmill.settings.stages import BY_NAME
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer

Stage = Callable[[Path, Path], Manifest]
SHARED = "This line stands on every page of the host."
BAD = 7  # which of the documents
COUNT = 30


def documents(shared: str = SHARED) -> list[Document]:
    numbers = "zero one two three four five six seven eight nine".split()
    said = [" ".join(numbers[int(digit)] for digit in f"{number:02}") for number in range(COUNT)]
    said[BAD] += " bad"
    texts = [f"Of number {words} there is this to say, and nothing else.\n{shared}" for words in said]
    return [
        Document(f"id{n}", text, f"http://site.test/{n}", "site.test", source=f"a:{n}") for n, text in enumerate(texts)
    ]


@pytest.fixture
def stages(tokenizer_folder: Path) -> dict[str, Stage]:
    def tokens(corpus: Path, out: Path) -> Manifest:
        return tokenize.run({"corpus": corpus, "tokenizer": tokenizer_folder}, Tokenize(heldout=0.2), out)

    thorough = Dedup(host_lines=3, passage_words=8, near=False)
    return {
        "redact": lambda corpus, out: redact.run({"corpus": corpus}, Redact(), out),
        "dedup": lambda corpus, out: dedup.run({"corpus": corpus}, thorough, out),
        "tokenizer": lambda corpus, out: train.run({"corpus": corpus}, TokenizerParams(vocab_size=300), out),
        "tokenize": tokens,
    }


def check(stages: dict[str, Stage], name: str, corpus: Path, out: Path) -> dict[str, Any]:
    """Run a stage of which one document must leave as `fault`; returns the line of the log."""
    out.mkdir()
    made = stages[name](corpus, out)
    check_balance(BY_NAME[name], made)
    assert made.dropped == {"fault": 1}, made
    (row,) = jsonl.read(out / "dropped.jsonl")
    assert row["rule"] == "fault" and "Traceback" in row["traceback"] and row["source"] == f"a:{BAD}"
    if name in ("redact", "dedup"):
        assert {document.id for document in read_documents(out)} == {f"id{n}" for n in range(COUNT) if n != BAD}
    if name == "tokenize":
        assert made.counts["documents_out"] == COUNT - 1
    return dict(row)


@pytest.mark.parametrize("stage", ["redact", "dedup", "tokenize"])
@pytest.mark.parametrize("column", ["id", "text", "url"])
def test_bytes_that_are_no_utf_8_cost_their_document(
    column: str, stage: str, stages: dict[str, Stage], tmp_path: Path
) -> None:
    """As programs write them that do not look: Parquet readers do not either."""
    write_documents(tmp_path / "whole.parquet", documents())
    table = pq.read_table(tmp_path / "whole.parquet")
    values = [value.encode() for value in table[column].to_pylist()]
    values[BAD] += b"\xff\xc3("
    kind = table.schema.field(column).type
    wide = pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
    table = table.set_column(table.schema.get_field_index(column), column, pa.array(values, wide).view(kind))
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "documents.parquet")
    if (stage, column) == ("tokenize", "text"):  # bytes are what it encodes
        (tmp_path / "out").mkdir()
        assert stages[stage](tmp_path / "in", tmp_path / "out").counts["documents_out"] == COUNT
        return
    row = check(stages, stage, tmp_path / "in", tmp_path / "out")
    assert row["id"].startswith(f"id{BAD}") and row["url"].startswith(f"http://site.test/{BAD}")


@pytest.mark.parametrize("column", ["text", "url", "fetched_at"])
def test_a_row_that_python_cannot_hold_costs_no_other(column: str, tmp_path: Path) -> None:
    texts = [document.text.encode() for document in documents()]
    columns = {"text": texts, "url": [b"http://site.test/%d" % n for n in range(COUNT)]}
    if column in columns:
        columns[column][BAD] += b"\xff"
    dates = [10**12 if column == "fetched_at" and n == BAD else n for n in range(COUNT)]
    table = {name: pa.array(values, pa.binary()).view(pa.string()) for name, values in columns.items()}
    pq.write_table(pa.table({**table, "fetched_at": pa.array(dates, pa.timestamp("s"))}), tmp_path / "a.parquet")
    (tmp_path / "out").mkdir()
    made = extract.run({}, Extract(paths=[str(tmp_path / "a.parquet")]), tmp_path / "out")
    assert made.counts["documents_out"] == COUNT - 1 and made.dropped == {"damaged": 1}
    (row,) = jsonl.read(tmp_path / "out" / "dropped.jsonl")
    assert row["source"] == f"a.parquet:{BAD + 1}" and "Error" in row["why"]


def holds(value: Any) -> bool:
    """Whether the bad document is among what a function was given."""
    if isinstance(value, pa.RecordBatch):
        return holds(value["id"])
    texts = value.to_pylist() if isinstance(value, pa.Array) else [value]
    return any(text == f"id{BAD}" or " bad there " in text for text in texts if isinstance(text, str))


@pytest.mark.parametrize(
    ("stage", "where", "name"),
    [
        ("dedup", minhash.MinHash, "__call__"),
        ("dedup", passages, "lines"),
        ("dedup", passages, "spans_of"),
        ("dedup", passages, "windows"),
        ("dedup", passages, "without"),
        ("tokenizer", train, "positions"),
        ("tokenize", tokenize, "positions"),
        ("tokenize", Tokenizer, "encode_documents"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_document_on_which_code_fails_costs_no_other(
    stage: str, where: Any, name: str, stages: dict[str, Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(where, name)

    def failing(*arguments: Any) -> Any:
        if any(map(holds, arguments)):
            raise ZeroDivisionError
        return real(*arguments)

    (tmp_path / "in").mkdir()
    write_documents(tmp_path / "in" / "documents.parquet", documents())
    monkeypatch.setattr(where, name, failing)
    row = check(stages, stage, tmp_path / "in", tmp_path / "out")
    assert (row["id"], row["url"]) == (f"id{BAD}", f"http://site.test/{BAD}") and "in failing" in row["traceback"]
