"""What texts are found by."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gristmill.passages.small_words import small_words
from gristmill.passages.stemmer import stem
from gristmill.passages.terms import terms

ROOT = Path(__file__).parents[2]


def test_stems_are_those_of_sqlite() -> None:
    """FTS5 has an implementation of the same algorithm."""
    words = {word for path in ROOT.glob("docs/**/*.md") for word in path.read_text().lower().split() if word.isalpha()}
    words |= set(
        "caresses ponies ties cats feed agreed plastered motoring conflated hopping falling hissing fizzed".split()
    )
    words |= set("happy sky relational conditional radically differently vietnamization predication operator".split())
    words |= set("feudalism decisiveness hopefulness triplicate formative electrical goodness revival adoption".split())
    words |= set("replacement adjustment dependent communism effective bowdlerize probate rate cease controll".split())
    listed = sorted(word for word in words if word.isascii() and 2 < len(word) < 20)
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize='porter ascii')")
    base.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance')")
    base.executemany("INSERT INTO t(rowid, x) VALUES (?, ?)", enumerate(listed))
    theirs = dict(base.execute("SELECT doc, term FROM v"))
    assert len(listed) > 1500
    assert {word: stem(word) for word in listed} == {word: theirs[place] for place, word in enumerate(listed)}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("What is := for?", {"what", "is", ":=", "for"}),
        ("shutil.rmtree(path, ignore_errors=False)", {"shutil", "rmtree", "shutil.rmtree", "ignore_errors", "path"}),
        ("git commit [-a | --amend], -O.", {"git", "commit", "-a", "--amend", "amend", "-o"}),
        ("readLine CamelCase", {"read", "line", "readlin", "camel", "case"}),
        ("Café Überblick", {"cafe", "uberblick"}),
        ("日本語の test", {"日本", "本語", "語の", "test"}),
        ("Cafe\u0301 U\u0308berblick", {"cafe", "uberblick"}),  # accents by themselves, as in names of files
        ("犬小屋", {"犬小", "小屋", "犬"}),
        ("किताब की दुकान", {"किताब", "की", "दुकान"}),
        ("ที่จอดรถ", {"ที", "จอ", "รถ"}),
        ("x // y ** z == 3", {"//", "**", "=="}),
    ],
)
def test_words_names_and_symbols(text: str, wanted: set[str]) -> None:
    assert wanted <= set(terms(text))


@pytest.mark.parametrize(
    ("british", "american"),
    [
        ("synchronise", "synchronize"),
        ("optimised", "optimization"),
        ("unauthorised", "unauthorized"),
        ("analysing", "analyze"),
        ("behaviours", "behavior"),
        ("coloured", "colors"),
        ("catalogue", "catalogs"),
    ],
)
def test_british_and_american_spelling_are_one_term(british: str, american: str) -> None:
    assert terms(british) == terms(american)


@pytest.mark.parametrize("words", ["precise precisely", "four fours", "exercise exercises", "advise advisers", "your"])
def test_what_only_looks_british_keeps_its_stem(words: str) -> None:
    assert {term for word in words.split() for term in terms(word)} == {stem(words.split()[0])}


@pytest.mark.parametrize("text", ["- item", "| a | b |", "## Heading", "Really?! … “yes”", "| --- | --- |"])
def test_marks_of_markdown_and_sentences_are_no_terms(text: str) -> None:
    assert all(any(map(str.isalnum, term)) for term in terms(text))


@pytest.mark.parametrize(
    ("question", "own"),
    [
        ("Wie lange backt der Kuchen?", {"backt", "kuchen"}),
        ("Où se trouve la clé, et que faut-il faire ?", {"trouv", "cle"}),
        ("¿Dónde está la llave del coche?", {"llave", "coch"}),
        ("Wo stehen die Rosen?", {"stehen", "rosen"}),
        ("Waar is de sleutel van het huis?", {"sleutel", "hui"}),
        ("die", {"die"}),  # a word of its own: what a process does
        ("How do I let a process die and print to man or con?", {"process", "die", "print", "man", "con"}),
        ("How-to for a to-do list", {"how-to", "to-do", "list"}),
    ],
)
def test_small_words_are_those_of_the_language_of_a_question(question: str, own: set[str]) -> None:
    asked = terms(question)
    assert set(asked) - small_words(asked) == own
