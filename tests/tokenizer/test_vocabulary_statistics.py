"""The report: figures that are counted by hand, the size it recommends, and the commands."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from typer.testing import CliRunner

from gristmill.cli import app, main
from gristmill.document import Document, read_columns, read_documents, write_documents
from gristmill.recipe import TokenizerParams
from gristmill.tokenizer import train, vocabulary_statistics
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.heldout import positions
from gristmill.tokenizer.pretokens import count_pretokens
from gristmill.tokenizer.vocabulary_statistics import (
    RARE,
    Sample,
    costs,
    describe,
    pieces_table,
    report,
    training_facts,
)


@pytest.fixture(scope="module")
def sources(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of two sources and languages."""
    folder = tmp_path_factory.mktemp("sources")
    documents = []
    for number, document in enumerate(read_documents(corpus)):
        other = number % 4 == 0
        text = document.text[::-1] if other else document.text
        host, language = ("b.test", "xx") if other else ("a.test", "en")
        documents.append(Document(document.id, text, host=host, language=language))
    write_documents(folder / "d.parquet", documents)
    return folder


def sample_of(folder: Path) -> Sample:
    """All documents."""
    sample = Sample()
    for batch in read_columns(folder, train.COLUMNS):
        sample.add(batch, positions(batch), 1.0)
    return sample


def test_bytes_per_token_by_size_language_and_source(tokenizer: Tokenizer, sources: Path) -> None:
    facts = describe(tokenizer, sample_of(sources))
    documents = list(read_documents(sources))
    assert [size["vocab_size"] for size in facts["sizes"]] == [tokenizer.vocab_size]
    for key, chosen in (
        ("bytes_per_token", documents),
        ("en", [d for d in documents if d.language == "en"]),
        ("b.test", [d for d in documents if d.host == "b.test"]),
    ):
        size = sum(len(d.text.encode()) for d in chosen)
        tokens = sum(len(tokenizer.encode(d.text)) for d in chosen)
        found = facts["sizes"][-1]
        found = found.get(key) or found["by_language"].get(key) or found["by_source"][key]
        assert found == pytest.approx(size / tokens, abs=1e-4)
    assert facts["measured_bytes"] == sum(len(d.text.encode()) for d in documents)


def test_smaller_sizes_are_measured_as_if_they_had_been_trained(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary_statistics, "SMALLEST", 300)
    for size in (300, 420):
        (tmp_path / str(size)).mkdir()
        train.run({"corpus": sources}, TokenizerParams(vocab_size=size), tmp_path / str(size))
    large, small = (json.loads((tmp_path / size / "facts.json").read_text()) for size in ("420", "300"))
    assert [size["vocab_size"] for size in large["sizes"]] == [300, 420]
    assert large["sizes"][0] == small["sizes"][0]


def test_unused_and_rare_tokens_are_counted_over_the_training_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = ["the river the river the hill", "a mill"]
    words = count_pretokens([pa.array(texts, pa.large_string())], "qwen2", tmp_path, 1).words
    facts = describe(tokenizer, Sample(), words)
    used = Counter(token for text in texts for token in tokenizer.encode(text))
    learned = range(256, len(tokenizer.pieces))
    assert facts["unused"] == sum(1 for token in learned if not used[token])
    assert facts["rare"] == sum(1 for token in learned if 0 < used[token] < RARE)
    assert len(facts["longest"][0]) == max(map(len, tokenizer.pieces))
    few = vocabulary_statistics.occurrences(tokenizer, words, at_once=2)
    assert few.tolist() == [used[token] for token in range(len(tokenizer.pieces))]


def test_the_sample_is_the_lowest_places_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_statistics, "SAMPLE_BYTES", 1000)
    sample, draw = Sample(), random.Random(0)
    places = [draw.random() for _ in range(500)]
    for at in range(0, 500, 20):
        texts = pa.array([f"{number:010d}" for number in range(at, at + 20)])
        sample.add(pa.record_batch({"text": texts}), np.array(places[at : at + 20]), 0.9)
        assert sample.size <= 2300
    sample.trim()
    assert [int(text.data) for text in sample.rows] == sorted(range(500), key=places.__getitem__)[:100]


def test_the_recommended_size_grows_with_the_model() -> None:
    curve = [{"vocab_size": 1 << power, "bytes_per_token": power**0.5} for power in range(9, 19)]
    best = [costs(curve, parameters).index(1.0) for parameters in (1e5, 1e7, 1e9, 1e11)]
    assert best == sorted(best) and len(set(best)) == 4


def test_the_commands(tokenizer_folder: Path, tokenizer: Tokenizer, sources: Path) -> None:
    run = CliRunner().invoke
    shown = run(app, ["tokenizer", "report", str(tokenizer_folder), str(sources), "--parameters", "2e6"])
    assert shown.exit_code == 0, shown.output
    assert run(app, ["tokenizer", "report", str(tokenizer_folder)]).exit_code == 0
    assert run(app, ["inspect", str(tokenizer_folder), "--tokens", "the river"]).exit_code == 0
    text = Console(file=io.StringIO(), width=200)
    text.print(report(training_facts(tokenizer_folder, sources), 2e6))
    text.print(pieces_table(tokenizer, "the [b]river\xe9"))
    printed = text.file.getvalue()  # type: ignore[attr-defined]
    assert "← recommended" in printed and "b.test" in printed and "never used" in printed
    for token in tokenizer.encode("the [b]river\xe9"):
        assert str(token) in printed
    assert "'['" in printed and "c3" in printed


def test_a_folder_without_a_tokenizer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["tokenizer", "report", str(tmp_path)], ["inspect", str(tmp_path), "--tokens", "x"]):
        monkeypatch.setattr("sys.argv", ["gristmill", *command])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
