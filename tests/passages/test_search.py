"""A question finds the passages that answer it, whatever words it uses."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from command_line import Command
from own_pages import document, passages_of

from gristmill.errors import UserError
from gristmill.passages.search import TOO_MUCH, Search
from gristmill.passages.stand_ins import slips


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


TONGUES = (
    document("暖房.md", "暖房", "地下室の暖房は毎年三月に点検してもらう。フィルターは一枚4800円。"),
    document("犬.md", "犬", "犬の散歩は朝7時。餌は一日に二回。"),
    document("暖气.md", "暖气", "地下室的暖气每年三月检修一次。滤网四十八元一个。"),
    document("图书馆.md", "图书馆", "图书馆星期一闭馆。一次最多借十本书。"),
    document("난방.md", "난방", "지하실 난방은 매년 3월에 점검을 받는다. 필터는 4만 8천 원이다."),
    document("도서관.md", "도서관", "도서관은 월요일에 쉰다. 책은 열 권까지 빌릴 수 있다."),
    document("отопление.md", "Отопление", "Отопление в подвале проверяют в марте. Ключи лежат на полке у двери."),
    document("велосипед.md", "Велосипед", "Шины велосипеда подкачивают раз в месяц. Страховка заканчивается в апреле."),
)


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("暖房の点検はいつですか？", "暖房.md"),  # particles are no part of what is asked
        ("フィルターはいくらですか？", "暖房.md"),
        ("犬の餌は何回？", "犬.md"),  # a word of one character, within a sentence
        ("暖气什么时候检修？", "暖气.md"),
        ("图书馆星期几闭馆？", "图书馆.md"),  # 馆星 is of two words
        ("난방 점검은 언제 하나요?", "난방.md"),
        ("책을 몇 권까지 빌릴 수 있어요?", "도서관.md"),
        ("У какой двери ключ?", "отопление.md"),  # another form of the word
        ("Когда заканчивается страховка велосипеда?", "велосипед.md"),
    ],
)
def test_questions_of_other_scripts_are_answered(tmp_path: Path, question: str, page: str) -> None:
    found = Search(passages_of(tmp_path, *TONGUES)).find(question)
    assert found[0].source == page and found[0].best >= 0.92


@pytest.mark.parametrize(
    "question",
    [
        *("暖房の保証は何年ですか？", "飛行機の切符はいくらですか？", "かぎはどこですか？"),
        *("暖气保修几年？", "房租什么时候交？"),
        *("난방 보증은 몇 년이에요?", "월세는 언제 내나요?"),
        *("Какого цвета велосипед?", "Когда платить за квартиру?"),
    ],
)
def test_what_no_page_of_other_scripts_says_is_declined(tmp_path: Path, question: str) -> None:
    found = Search(passages_of(tmp_path, *TONGUES)).find(question)
    assert not found or found[0].best < 0.92


@pytest.mark.parametrize(
    ("question", "words"),
    [("暖房の点検はいつですか？", {"暖房", "点検"}), ("난방 점검은 언제 하나요?", {"난방", "점검"})],
)
def test_marks_are_words_where_there_are_no_spaces(tmp_path: Path, question: str, words: set[str]) -> None:
    found = Search(passages_of(tmp_path, *TONGUES)).find(question)[0]
    assert {found.text[start:end] for start, end in found.marks} == words


def test_slips_are_looked_for_in_words_alone() -> None:
    """A line of letters without an end has more of them than any machine looks for."""
    assert len(list(islice(slips("x" * 200_000), 10))) == 1 and len(list(islice(slips("bakrey"), 10))) == 10


@pytest.mark.parametrize(
    "question",
    ["", "   ", "?!", '"', "NEAR(a b)", "a AND OR * ^ :", "xylophone", "\ud800 \0", "hi\0", "x-\ud800y", "だ\ud800"],
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
