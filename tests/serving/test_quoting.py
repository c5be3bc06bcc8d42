"""The assistant over pages, as clients, the terminal and the command line have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from command_line import Command
from models import Listen
from own_pages import DOCUMENTS, document, passages_of

from gristmill.passages.search import Found
from gristmill.serving.quoting import QuotingAssistant
from gristmill.serving.shown import passage_text

ASK: list[Any] = [{"role": "user", "content": "How do I delete an entire directory tree?"}]
OFF: list[Any] = [{"role": "user", "content": "Who won the football cup?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with passages, of files and of a site."""
    site = document("w", "Site", "The lighthouse is lit at dusk.", url="http://a.test/light", source="a.warc.gz:1")
    return passages_of(tmp_path_factory.mktemp("corpus"), *DOCUMENTS, site)


def test_openais_client_reads_the_sources(folder: Path, listen: Listen) -> None:
    with listen(QuotingAssistant(folder, "pages")) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        message = client.chat.completions.create(model="pages", messages=ASK).choices[0].message
        assert message.content and message.annotations
        cited = message.annotations[0].url_citation
        assert (cited.url, cited.title) == ("copying.md", "Copying files")
        assert "Delete an entire directory tree" in message.content[cited.start_index : cited.end_index]
        chunks = list(client.chat.completions.create(model="pages", messages=ASK, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == message.content
        last = chunks[-1].choices[0].delta.model_dump()
        assert last["annotations"] == [one.model_dump() for one in message.annotations]
        whole = client.responses.create(model="pages", input=ASK[-1]["content"])
        part: Any = whole.output[0].content[0]  # type: ignore[union-attr, index]
        assert part.text == message.content and [(one.url, one.start_index) for one in part.annotations] == [
            (one.url_citation.url, one.url_citation.start_index) for one in message.annotations
        ]
        events = client.responses.create(model="pages", input=ASK[-1]["content"], stream=True)
        told = [one.annotation for one in events if one.type == "response.output_text.annotation.added"]
        assert len(told) == len(message.annotations)
        declined = client.chat.completions.create(model="pages", messages=OFF).choices[0].message
        assert declined.content and not declined.annotations
        site = [{"role": "user", "content": "When is the lighthouse lit?"}]
        found = client.chat.completions.create(model="pages", messages=site).choices[0].message  # type: ignore[arg-type]
        assert found.annotations and found.annotations[0].url_citation.url == "http://a.test/light"


def test_the_last_question_counts_and_stop_strings_end_an_answer(folder: Path) -> None:
    assistant = QuotingAssistant(folder, "pages")
    turns = [*OFF, {"role": "assistant", "content": "no"}, *ASK]
    assert assistant.reply(turns).text() == assistant.reply(ASK).text()
    cut = assistant.reply(ASK, stop=["directory"])
    assert cut.text() and "directory" not in cut.text() and not cut.annotations


def test_a_follow_up_takes_up_the_question_before(folder: Path, listen: Listen) -> None:
    opens, owns, said = "When does the bakery open?", "And when is it shut?", {"role": "assistant", "content": "-"}
    asked: list[Any] = [{"role": "user", "content": opens}, said, {"role": "user", "content": owns}]
    thanks: list[Any] = [*asked, said, {"role": "user", "content": "Why is that?"}]
    with listen(QuotingAssistant(folder, "pages")) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)

        def first(messages: list[Any]) -> str | None:
            cited = client.chat.completions.create(model="pages", messages=messages).choices[0].message.annotations
            return cited[0].url_citation.url if cited else None

        assert [first(asked[:1]), first(asked), first(thanks)] == ["bakery.md"] * 3
        assert first(asked[-1:]) is None, "alone it does not say what it is about"
        assert first([*asked[:2], *OFF]) is None, "nothing is taken up by a question that says what it is about"
        questions: Any = {"question": [opens, owns], "limit": 1}
        (found,) = httpx.get(f"{address}/v1/passages", params=questions).json()
        words = {found["text"][start:end] for start, end in found["marks"]}
        assert found["source"] == "bakery.md" and {"bakery", "closes"} <= words


GARAGE = (
    document(
        "garage.md", "Garage", "Das Tor der Garage wird im März geölt. Das macht Herr Voss. Ein Liter Öl kostet 9 Euro."
    ),
    document("bad.md", "Bad", "Der Spiegel im Bad hängt schief. Ein neuer Spiegel kostet 80 Euro."),
    document("暖房.md", "暖房", "暖房は三月に点検する。フィルターは4800円。点検は山本設備がする。"),
    document("車.md", "車", "車は五月に点検する。タイヤは4本で6万円。"),
)


@pytest.fixture(scope="module")
def abroad(tmp_path_factory: pytest.TempPathFactory) -> QuotingAssistant:
    """Over notes in German and Japanese."""
    return QuotingAssistant(passages_of(tmp_path_factory.mktemp("abroad"), *GARAGE), "pages")


def asking(*questions: str) -> list[dict[str, str]]:
    """A conversation of questions; what was answered does not count."""
    turns = [({"role": "user", "content": one}, {"role": "assistant", "content": "-"}) for one in questions]
    return [message for turn in turns for message in turn][:-1]


@pytest.mark.parametrize(
    ("questions", "page"),
    [
        (["Wann wird das Tor der Garage geölt?", "Warum?"], "garage.md"),
        (["Wann wird das Tor der Garage geölt?", "Und was kostet das?"], "garage.md"),  # so does the mirror
        (["Wann wird das Tor der Garage geölt?", "Wo hängt der Spiegel?"], "bad.md"),
        (["Wie hängt der Spiegel?", "Und was kostet das?", "Und wie ist das?"], "bad.md"),
        (["暖房の点検はいつですか？", "それは誰がしますか？"], "暖房.md"),
        (["Hallo!", "Wie hängt der Spiegel?", "Danke!", "Und was kostet das?"], "bad.md"),
        (["Hi. Danke, wo hängt der Spiegel?"], "bad.md"),
        (["車の点検はいつですか？", "なぜ？"], "車.md"),
    ],
)
def test_a_follow_up_in_another_language_takes_up_the_question_before(
    abroad: QuotingAssistant, questions: list[str], page: str
) -> None:
    (first, *_) = abroad.reply(asking(*questions)).annotations
    assert first["url_citation"]["url"] == page


@pytest.mark.parametrize(
    "questions", [["Wie hängt der Spiegel?", "Und die Miete?"], ["Was kostet ein Liter Öl?", "Wer hat gewonnen?"]]
)
def test_what_pages_do_not_say_is_declined_after_what_they_do(abroad: QuotingAssistant, questions: list[str]) -> None:
    reply = abroad.reply(asking(*questions))
    assert not reply.annotations and reply.text().startswith("Das steht nicht in Ihren Seiten.")


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Who won the football cup?", "Your pages do not say."),
        ("Où est le chat ?", "Vos pages ne le disent pas."),
        ("家賃はいつ払いますか？", "お持ちのページには書かれていません。"),
        ("Сколько стоит билет?", "На ваших страницах этого нет."),
        ("What does 富士山 mean?", "Your pages do not say."),
        ("Скільки коштує квиток і де його купити?", "Das steht nicht in Ihren Seiten."),  # Ukrainian is not known
        ("Zugspitze", "Das steht nicht in Ihren Seiten."),  # most pages are German, and the question tells nothing
    ],
)
def test_it_declines_in_the_language_of_the_question(abroad: QuotingAssistant, question: str, text: str) -> None:
    assert abroad.reply(asking(question)).text().startswith(text)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Hello there!", "Hello! Ask me what your pages say."),
        ("Thanks a lot", "You are welcome."),
        ("Hallo", "Hallo! Fragen Sie mich, was in Ihren Seiten steht."),  # Dutch, too: the pages decide
        ("Vielen Dank!", "Gern geschehen."),
        ("Merci beaucoup !", "Je vous en prie."),
        ("ありがとうございます", "どういたしまして。"),
        ("你好！", "您好！请问我您的页面里写了什么。"),
    ],
)
def test_greetings_and_thanks_are_answered_as_such(abroad: QuotingAssistant, message: str, text: str) -> None:
    reply = abroad.reply(asking("Wie hängt der Spiegel?", message))
    assert (reply.text(), reply.annotations, reply.passages) == (text, [], ())
    assert not abroad.find([message], 3)


def test_passages_are_served_with_the_places_of_words(folder: Path, listen: Listen) -> None:
    with listen(QuotingAssistant(folder, "pages"), api_keys=["secret"]) as address:
        asked: dict[str, Any] = {"params": {"question": "lighthouse lit", "limit": 1}}
        assert httpx.get(f"{address}/v1/passages", **asked).status_code == 401
        (found,) = httpx.get(f"{address}/v1/passages", **asked, headers={"Authorization": "Bearer secret"}).json()
        words = [found["text"][start:end] for start, end in found["marks"]]
        assert (found["url"], words) == ("http://a.test/light", ["lighthouse", "lit"])


def test_the_terminal_shows_once_where_an_answer_is_from(folder: Path, command: Command) -> None:
    done = command("chat", folder, text="When does the bakery open?\n")
    assert done.stdout.count("opens at six") == 1 and "[1] The bakery › Questions\n    bakery.md\n" in done.stdout
    assert "passages: " in done.stderr
    refused = command("chat", folder, "--weights", "int8", text="When does the bakery open?\n")
    assert refused.code == 2 and "there is no model to have int8 weights" in refused.stderr
    near = command("chat", folder, text="Who won the bakery cup?\n").stdout
    assert near.startswith("Your pages do not say. Nearest: ") and "opens at six" not in near
    assert near.count("bakery.md") == 1


def test_what_has_no_title_is_called_by_its_place() -> None:
    found = Found("", "notes/untitled.txt", "", (), "A snowdrop grows here.", 0, 1.0, 1.0, 1)
    assert passage_text(1, found).plain.startswith("[1] notes/untitled.txt\n")


def test_a_run_folder_is_asked_through_its_passages(folder: Path, command: Command) -> None:
    (line,) = command("find", folder.parent, "lighthouse", "--json", "-n", "1").stdout.splitlines()
    assert json.loads(line)["url"] == "http://a.test/light"
