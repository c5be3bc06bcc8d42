"""Suffix arrays are those of the definition, searches find what a plain one finds, spans are as long as can be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gristmill.audit.trace import corpus_index
from gristmill.audit.trace.corpus_index import CorpusIndex
from gristmill.audit.trace.forms import Form
from gristmill.audit.trace.suffix_array import suffix_table
from gristmill.document import Document, document_id, write_documents
from gristmill.recipe import Tokenize
from gristmill.settings.apart import Index
from gristmill.tokenizer import tokenize
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split, open_split

few = st.integers(1, 4).flatmap(lambda most: arrays(np.uint32, st.integers(0, 200), elements=st.integers(0, most)))


@given(few)
def test_suffixes_are_in_order(numbers: np.ndarray) -> None:
    found = suffix_table(numbers)
    assert found.tolist() == sorted(range(len(numbers)), key=lambda at: numbers[at:].tolist())


@pytest.mark.parametrize("period", [1, 2, 3, 1000])
def test_repetition_is_sorted_in_time(period: int) -> None:
    """Where every suffix agrees with others for as long as it is, plain comparison would take hours."""
    numbers = np.resize(np.random.default_rng(0).permutation(period).astype(np.uint32), 300_000)
    found = suffix_table(numbers)
    assert np.array_equal(np.sort(found), np.arange(len(numbers)))
    ranks = np.empty(len(numbers) + 1, np.int64)
    ranks[found], ranks[-1] = np.arange(len(numbers)), -1
    after = numbers[found[1:]].astype(np.int64) - numbers[found[:-1]]  # each is above the one before it:
    assert ((after > 0) | ((after == 0) & (ranks[found[1:] + 1] > ranks[found[:-1] + 1]))).all()


@pytest.fixture(scope="module")
def split(tokens_folder: Path) -> Split:
    return open_split(tokens_folder, "train")


@pytest.fixture(scope="module", params=[2**25, 500])
def index(request: pytest.FixtureRequest, tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CorpusIndex:
    folder = tmp_path_factory.mktemp("index")
    corpus_index.run({"tokens": tokens_folder}, Index(table_tokens=request.param), folder)
    return CorpusIndex(folder, tokens_folder)


def occurrences(split: Split, tokens: list[int]) -> int:
    """Of a run of tokens, by looking everywhere."""
    documents = (split.document(number).tolist()[:-1] for number in range(len(split)))
    return sum(doc[at : at + len(tokens)] == tokens for doc in documents for at in range(len(doc) - len(tokens) + 1))


def text_of(split: Split, pieces: list[tuple[int, int, int]]) -> list[int]:
    """A text of pieces of documents: which, from where, how many tokens."""
    documents = [split.document(number % len(split)).tolist()[:-1] for number, *_ in pieces]
    return [
        token
        for document, (_, start, length) in zip(documents, pieces, strict=True)
        for token in document[start % len(document) :][:length]
    ]


pieces = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(1, 9)), min_size=1, max_size=4)


@settings(max_examples=30)
@given(pieces)
def test_counts_are_those_of_a_plain_search(
    index: CorpusIndex, split: Split, drawn: list[tuple[int, int, int]]
) -> None:
    tokens = text_of(split, drawn)
    for length in (1, 2, 3, 5, 9, len(tokens)):
        assert index.count(tokens[:length]) == occurrences(split, tokens[:length])
    assert index.count([7, 7, 7, 7, 7]) == occurrences(split, [7, 7, 7, 7, 7])


@settings(max_examples=30)
@given(pieces)
def test_the_longest_run_is_the_longest(index: CorpusIndex, split: Split, drawn: list[tuple[int, int, int]]) -> None:
    tokens = text_of(split, drawn)
    for start, length in enumerate(index.longest(tokens)):
        assert occurrences(split, tokens[start : start + length]) > 0
        assert start + length == len(tokens) or not occurrences(split, tokens[start : start + length + 1])


def test_places_lie_in_the_documents_that_hold_the_run(index: CorpusIndex, split: Split, tokenizer: Tokenizer) -> None:
    document = split.document(3).tolist()[:-1]
    for place in index.places(Form(tuple(document[4:20]), 0, 0), tokenizer, 100):
        before, run, after = index.around(place, 16, 1000)
        assert run == document[4:20]
        assert before + run + after == split.document(place.document).tolist()[:-1]


def test_infini_gram_opens_the_folder(index: CorpusIndex, split: Split) -> None:
    engine = pytest.importorskip("infini_gram.engine")
    theirs = engine.InfiniGramEngine(
        index_dir=str(index.folder), eos_token_id=split.end_of_text, vocab_size=400, token_dtype="u16"
    )
    for at in range(0, 900, 37):
        tokens = split.tokens[at : at + 4].tolist()
        if split.end_of_text not in tokens:
            assert theirs.count(input_ids=tokens)["count"] == index.count(tokens)


EDGES = [  # the same words with other tokens at their edges
    '"Good morning," said the smith.\n"Good morning", said Anna. (Good morning!)\n\nGood morning.\nIt is late.\n',
    "Tom said: it is late… —Good morning, it is late!\nWho's late? It is Tom's. It is late.",
    "我们昨天在图书馆看书。他们今天也在图书馆看书,明天不去。",
]


@pytest.fixture
def run(tokenizer_folder: Path, tmp_path: Path) -> Path:
    """A run folder with three pages, one of them much quoted."""
    texts = [
        "The miller walks to the river. Old Anna looks at the market and dreams of a red boat.",
        "A grey cat forgets an open door. “Old Anna looks at the market and dreams of a red boat”, said the smith.",
        "My neighbour paints the long bridge.",
        *(f"The baker {n} talks about a small mill." for n in range(60)),
        *EDGES,
    ]
    folder = tmp_path / "run"
    for name in ("extract", "tokenize"):
        (folder / name).mkdir(parents=True)
    documents = [
        Document(document_id(str(n), text), text, f"http://a.test/{n}", title=f"Page {n}", licence="CC0")
        for n, text in enumerate(texts)
    ]
    write_documents(folder / "extract" / "documents.parquet", documents)
    (folder / "extract" / "manifest.json").write_text("{}")
    (folder / "tokenizer").symlink_to(tokenizer_folder)
    tokenize.run(
        {"corpus": folder / "extract", "tokenizer": tokenizer_folder}, Tokenize(heldout=0.0), folder / "tokenize"
    )
    return folder


def test_an_answer_is_traced_to_the_pages_that_hold_it(run: Path, command: Command) -> None:
    said = "I know that Old Anna looks at the market and dreams of a red door. My neighbour paints the moon."
    done = command("trace", str(run), said, "--json")
    assert done.code == 0, done.stderr
    spans = json.loads(done.stdout)
    assert [span["text"] for span in spans] == [
        "Old Anna looks at the market and dreams of a red",
        "My neighbour paints the",
    ]
    assert spans[0]["count"] == 2 and said[spans[0]["start"] : spans[0]["end"]] == spans[0]["text"]
    sources = [(one["url"], one["facts"]["title"], one["facts"]["licence"]) for one in spans[0]["sources"]]
    assert sources == [("http://a.test/0", "Page 0", "CC0"), ("http://a.test/1", "Page 1", "CC0")]


def test_what_only_several_pages_hold_is_told_from_what_one_holds(run: Path, command: Command) -> None:
    parts = "My neighbour paints the long bridge.", "Old Anna looks at the market and dreams of a red boat"
    told = [" ".join(command("trace", str(run), text).stdout.split()) for text in (parts[1], " ".join(parts))]
    assert told[0].endswith("all of it stands in the training text")
    assert told[1].endswith("but no document joins the spans above as they are joined here")


def test_what_no_page_holds_is_said_to_be_held_by_none(run: Path, command: Command) -> None:
    done = command("trace", str(run), "Ten green elephants sing.")
    assert done.code == 0 and "no run of three words of it stands in the training text" in done.stdout


def test_a_run_that_cannot_be_written_is_looked_into(run: Path, command: Command) -> None:
    assert command("count", str(run), "the").code == 0  # which makes the index
    run.chmod(0o555)
    try:
        if os.access(run, os.W_OK):
            pytest.skip("nothing is read-only for root")
        assert command("count", str(run), "the").code == 0
    finally:
        run.chmod(0o755)


def plainly(texts: list[str], words: str) -> int:
    """How often words stand in texts, not within longer ones; Chinese has no spaces that would say so."""
    letter = r"[^\W_\u4e00-\u9fff]"
    before, after = (
        rf"(?<!{letter})" * bool(re.match(letter, words)),
        rf"(?!{letter})" * bool(re.search(f"{letter}$", words)),
    )
    return sum(len(re.findall(f"(?={before}{re.escape(words)}{after})", text)) for text in texts)


def test_words_are_counted_whatever_is_next_to_them(run: Path, command: Command) -> None:
    split, tokenizer = open_split(run / "tokenize", "train"), Tokenizer.load(run / "tokenizer")
    texts = [tokenizer.decode(split.document(number).tolist()[:-1]) for number in range(len(split))]
    for words in (
        "Good morning",
        "Good",
        "it is late",
        "late.",
        '"Good morning',
        "s late",
        "Tom",
        "图书馆",
        "在图书馆看书",
        ".",
    ):
        assert plainly(texts, words) > 0
        assert command("count", str(run), words).stdout.strip() == str(plainly(texts, words)), words


def test_spans_are_all_that_a_plain_search_finds(run: Path, command: Command) -> None:
    split, tokenizer = open_split(run / "tokenize", "train"), Tokenizer.load(run / "tokenizer")
    texts = [tokenizer.decode(split.document(number).tolist()[:-1]) for number in range(len(split))]
    said = 'He: Good morning, said the miller. It is late.\n"Good morning", said Anna. We say: it is late! '
    said += "他们昨天在图书馆看书。"
    spans = json.loads(command("trace", str(run), said, "--json").stdout)
    units = [unit.span() for unit in re.finditer(r"[^\W_\u4e00-\u9fff]+|\S", said)]
    held = {
        (low, high)
        for number, (low, _) in enumerate(units)
        for _, high in units[number:]
        if plainly(texts, said[low:high])
    }
    longest = {(low, high) for low, high in held if not any(a <= low and high <= b for a, b in held - {(low, high)})}
    enough = {one for one in longest if len(re.findall(r"[a-zA-Z]+|[\u4e00-\u9fff]{2}", said[slice(*one)])) >= 3}
    assert {(span["start"], span["end"]) for span in spans} == enough and len(enough) > 4
    for span in spans:
        assert span["count"] == plainly(texts, span["text"]) and span["text"] == said[span["start"] : span["end"]]
        assert all(source["text"] == span["text"] for source in span["sources"])
        assert all(
            any("".join(map(one.get, ("before", "text", "after"))) in text for text in texts) for one in span["sources"]
        )
    assert "smith.\n" not in (shown := command("trace", str(run), said).stdout) and "morning , " not in shown


def test_words_are_counted(run: Path, command: Command) -> None:
    split = open_split(run / "tokenize", "train")
    tokenizer = Tokenizer.load(run / "tokenizer")
    texts = [tokenizer.decode(split.document(number).tolist()[:-1]) for number in range(len(split))]
    for words in ("Old Anna looks", "talks about", "talks about a boat"):
        assert command("count", str(run), words).stdout.strip() == str(sum(text.count(words) for text in texts))
    assert command("count", str(run), "alks about").stdout.strip() == "0"  # words are whole
    assert command("count", str(run), " ").code == 2


def test_a_terminal_that_has_few_letters_is_told_all_the_same(run: Path) -> None:
    """And bytes that are no text are read past."""
    said = "\N{LEFT DOUBLE QUOTATION MARK}Old Anna looks at the market, 日本 and dreams of a café".encode() + b"\xff"
    command = [sys.executable, "-m", "gristmill", "trace", str(run), "-"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(command, input=said, capture_output=True, env=environment, timeout=300)
    assert rb"[1] \u201cOld Anna looks at the market\u201d stands" in shown.stdout, shown.stderr
    told = subprocess.run([*command, "--json"], input=said, capture_output=True, env=environment, timeout=300)
    assert json.loads(told.stdout)[0]["text"] == "Old Anna looks at the market", told.stderr
