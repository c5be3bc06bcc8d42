"""Bits per byte by source and language: the parts of the whole, with intervals that hold the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.document import Document, write_documents
from gristmill.evaluation import stage
from gristmill.evaluation.heldout_text import grouped, of_documents
from gristmill.generation.engine import Engine
from gristmill.inputs.text_files import read_jsonl
from gristmill.model.loss import bits_per_byte
from gristmill.recipe import Evaluate, Tokenize
from gristmill.tokenizer import tokenize
from gristmill.tokenizer.shards import open_split


def test_the_parts_are_those_of_the_whole(inputs: dict[str, Path], tmp_path: Path) -> None:
    made = stage.run(inputs, Evaluate(), tmp_path)
    found = json.loads((tmp_path / "heldout.json").read_text())
    split = open_split(inputs["tokens"], "heldout")
    model = Engine.load(inputs["model"], inputs["tokenizer"]).model
    assert made.metrics["heldout_bpb"] == found["all"]["bits_per_byte"]
    assert found["all"]["bits_per_byte"] == pytest.approx(bits_per_byte(model, split), abs=2e-5)
    assert (found["all"]["documents"], found["all"]["bytes"]) == (len(split), split.total_bytes)
    rows = list(read_jsonl(tmp_path / "heldout.jsonl"))
    assert [one["id"] for one in rows] == split.ids and [one["bytes"] for one in rows] == split.bytes.tolist()
    assert sum(one["bits"] for one in rows) / split.total_bytes == pytest.approx(made.metrics["heldout_bpb"], abs=2e-5)
    for kind in ("by_source", "by_language"):
        assert sum(one["documents"] for one in found[kind]) == len(split)
        bits = sum(one["bits_per_byte"] * one["bytes"] for one in found[kind])
        assert bits / split.total_bytes == pytest.approx(found["all"]["bits_per_byte"], abs=1e-4)


def test_of_no_text_no_figure_is_given(inputs: dict[str, Path], tmp_path: Path) -> None:
    """What is held out is one document, and empty."""
    held: set[str] = set()
    for name in ("first", "second", "out"):
        (tmp_path / name).mkdir()
    for name in ("first", "second"):
        documents = [Document(f"{n}", "" if f"{n}" in held else "the river", url=f"{n}") for n in range(9)]
        write_documents(tmp_path / "documents.parquet", documents)
        tokenize.run({**inputs, "corpus": tmp_path}, Tokenize(heldout=0.0), tmp_path / name)
        held |= {*open_split(tmp_path / name, "heldout").urls}
    made = stage.run({**inputs, "tokens": tmp_path / "second"}, Evaluate(), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "heldout.json").read_text())["all"]
    assert found == {"documents": 1, "bytes": 0} and "heldout_bpb" not in made.metrics


def test_the_largest_come_first_and_the_rest_is_one() -> None:
    sizes = np.repeat(np.arange(1, 31), 10)
    names = [f"host {size}" for size in sizes.tolist()]
    found = grouped(names, 2.0 * sizes, sizes)
    assert [one["name"] for one in found] == [*(f"host {size}" for size in range(30, 10, -1)), "10 others"]
    assert found[-1]["bytes"] == 10 * sum(range(1, 11)) and {one["bits_per_byte"] for one in found} == {2.0}
    assert grouped(["", None], np.ones(2), np.ones(2))[0] == {
        **{"name": "unknown", "documents": 2, "bytes": 2, "bits_per_byte": 1.0}  # of so few there is no interval
    }


def test_an_interval_draws_documents() -> None:
    """In 200 corpora of 60 documents, whose bits for each byte differ, 95 % of the intervals hold the mean."""
    draw, inside = np.random.default_rng(0), 0
    for _ in range(200):
        sizes = draw.integers(100, 1000, 60)
        one = of_documents(sizes * draw.normal(1.0, 0.3, 60), sizes)
        inside += one["low"] <= 1.0 <= one["high"]
    assert 178 <= inside <= 198


def test_an_index_without_languages_is_read(tokens_folder: Path, tmp_path: Path) -> None:
    split = open_split(tokens_folder, "heldout")
    assert len(split.names()["language"]) == len(split)
    table = pq.read_table(tokens_folder / "heldout-index.parquet").drop_columns(["language"])
    assert isinstance(table, pa.Table)
    pq.write_table(table, tmp_path / "heldout-index.parquet")
    older = type(split)(tmp_path, "heldout", split.tokens, split.starts, split.bytes, split.end_of_text)
    assert older.names() == {**split.names(), "language": [""] * len(split)}
