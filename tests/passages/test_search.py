"""A question finds the passages that answer it, whatever words it uses."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from command_line import Command
from own_pages import document, passages_of

from gristmill.errors import UserError
from gristmill.passages.search import TOO_MUCH, Search, slips


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("How do I copy a directory tree?", "Recursively copy"),
        ("erase a folder", "Delete an entire directory tree"),  # no word of it is on the page
        ("what does -O do", "-O | overwrite"),
        ("leave the times as they are", "--keep-times"),
        ("WHO MAY BRING DOGS", "Dogs must wait"),
        ("when does the bakrey open", "opens at six"),  # a slip
        ("is there water in the cafe", "café"),
        ("what is := for", "operator :="),
        ("the", "The"),  # nothing but a small word
    ],
)
def test_the_passage_is_found(search: Search, question: str, text: str) -> None:
    assert text in search.find(question)[0].text


@pytest.mark.parametrize(
    ("question", "page"), [("what happens at night", "might"), ("how do people live in Peru", "per")]
)
def test_another_word_is_no_slip(tmp_path: Path, question: str, page: str) -> None:
    """Neither is one with another first letter, nor a short one."""
    out = passages_of(tmp_path, document("a.md", "A", f"It costs {page} a day; {page}, {page}."))
    assert not Search(out).find(question)


def test_a_greeting_is_no_question(tmp_path: Path) -> None:
    """But small words are one where there are several: pages have such headings."""
    search = Search(passages_of(tmp_path, document("a.md", "A", "# Who we are\n\nHe and his wife are millers.")))
    assert search.find("hi")[0].best == 0 and search.find("Who are we?")[0].best > 0.5


NOTES = (
    document(
        "heizung.md", "Heizung", "Die Heizung im Keller wird jedes Jahr im März gewartet. Der Filter kostet 48 Euro."
    ),
    document("kuchen.md", "Kuchen", "Für den Teig braucht man Mehl und Butter. Er backt 45 Minuten im Ofen."),
    document("garten.md", "Garten", "Die Rosen stehen neben dem Tor. Der Rasen wird im Sommer gemäht."),
    document("marche.md", "Marché", "Le marché a lieu le mardi et le vendredi matin, sur la place de l'église."),
    document("ecole.md", "École", "La cantine coûte quatre euros par repas. Il faut apporter une gourde."),
    document("card.md", "Books", "The library card expires in October. The fine is twenty cents a day."),
)


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("Wann wird die Heizung gewartet?", "heizung.md"),
        ("Wo stehen die Rosen?", "garten.md"),
        ("Combien coûte la cantine ?", "ecole.md"),
        ("Que faut-il apporter ?", "ecole.md"),
        ("Quand a lieu le marché ?", "marche.md"),
        ("When does the library card expire?", "card.md"),
    ],
)
def test_short_notes_in_several_languages_answer(tmp_path: Path, question: str, page: str) -> None:
    """They say a thing once, and question words are no part of what is asked in any of them."""
    found = Search(passages_of(tmp_path, *NOTES)).find(question)
    assert found[0].source == page and found[0].score >= 0.92


@pytest.mark.parametrize(
    "question", ["Wann ist der Friseur?", "Wie hoch ist die Miete?", "Où est le passeport ?", "Who owns the boat?"]
)
def test_what_no_note_says_is_declined(tmp_path: Path, question: str) -> None:
    found = Search(passages_of(tmp_path, *NOTES)).find(question)
    assert not found or found[0].best < 0.92


def test_slips_are_looked_for_in_words_alone() -> None:
    """A line of letters without an end has more of them than any machine looks for."""
    assert len(list(islice(slips("x" * 200_000), 10))) == 1 and len(list(islice(slips("bakrey"), 10))) == 10


@pytest.mark.parametrize(
    "question", ["", "   ", "?!", '"', "NEAR(a b)", "a AND OR * ^ :", "xylophone", "\ud800 \0", "hi\0"]
)
def test_whatever_is_asked_finds_something_or_nothing(search: Search, question: str) -> None:
    assert len(search.find(question)) <= 5


def test_marks_are_the_words_of_the_question(search: Search) -> None:
    found = search.find("erase a directory tree")[0]
    assert [found.text[start:end] for start, end in found.marks][-4:] == ["Delete", "directory", "tree", "directory"]


def test_results_say_where_they_are_from(search: Search) -> None:
    found = search.find("copies of files and trees, at the bakery", limit=3)
    assert found[0].record() == {
        "source": "copying.md",
        "title": "Copying files",
        "text": found[0].text,
        "score": round(found[0].score, 4),
    }
    assert found[0].score > found[-1].score > 0
    assert {one.source for one in found} == {"copying.md", "bakery.md"}


def test_find_prints_passages(passages_folder: Path, command: Command) -> None:
    done = command("find", passages_folder, "when is the bakery open", "-n", "1")
    assert done.stdout.startswith("[1] The bakery › Questions\n    bakery.md\nThe bakery opens at six")
    done = command("find", passages_folder, "when is the bakery open", "--json", "-n", "2")
    assert all(line.startswith('{"source": "') for line in done.stdout.splitlines())


def test_a_folder_without_passages_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no passages in"):
        Search(tmp_path)


def test_a_short_passage_grows_into_its_neighbours(tmp_path: Path) -> None:
    """What is shown is a stretch of the page as it is, headings between included, of bounded length."""
    parts = [f"## Part {n}\n\n" + f"In part {n} the word{n} is explained at some length. " * 9 for n in range(12)]
    pages = {"long.md": "\n\n".join(parts).strip(), "other.md": "## Part\n\nAnother page."}
    out = passages_of(tmp_path, *(document(name, "T", text) for name, text in pages.items()))
    (found,) = Search(out).find("word6 and word7", limit=1)
    assert found.text in pages["long.md"] and "## Part 7" in found.text and "word6" in found.text
    assert pages["long.md"][found.start :].startswith(found.text) and 90 < len(found.text.split()) <= TOO_MUCH
    assert found.headings == ("Part 6",) and {found.text[a:b] for a, b in found.marks} == {"word6", "word7"}


def test_questions_to_begin_with_have_no_number_of_a_section(tmp_path: Path) -> None:
    asked = ["1. What is a mill?", "2.7.11. Who owns the ferry?", "3.2 Is the inn open?", "5 coins are how much?"]
    text = "\n\n".join(f"## {heading}\n\n" + f"An answer to it, number {n}. " * 40 for n, heading in enumerate(asked))
    out = passages_of(tmp_path, document("a.md", "T", text))
    found = Search(out).questions(4)
    assert sorted(found) == ["5 coins are how much?", "Is the inn open?", "What is a mill?", "Who owns the ferry?"]
