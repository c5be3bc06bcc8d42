"""The chat page as a person has it, in a real browser: questions, answers, and what is sent for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from models import Listen
from page_parts import ANSWER, BUSY, EXAMPLES, IDLE, MESSAGES, SHOWN, TURNS, act, ask, slow

from gristmill.audit.trace import corpus_index
from gristmill.audit.trace.corpus_index import CorpusIndex
from gristmill.serving.assistant import Assistant
from gristmill.serving.memory.memory_store import MemoryStore
from gristmill.serving.tracing import Tracer
from gristmill.settings.apart import Index

HOSTILE = "<img src=x onerror=alert(1)><b>Who</b> & what?"


@pytest.fixture(scope="module")
def assistant(run_folder: Path) -> Assistant:
    """What the server has, without its delay."""
    return Assistant.load(run_folder / "sft", run_folder / "tokenizer", "tiny")


def test_a_question_is_answered_as_it_comes_and_is_shown_as_text(
    browser: Any, address: str, assistant: Assistant
) -> None:
    browser.open(address)
    browser.until("document.querySelector('#name').textContent == 'tiny'")
    browser.run(
        "window.seen = [], new MutationObserver(() => seen.push(document.querySelector('main').textContent.length))"
        ".observe(document.querySelector('main'), {childList: true, subtree: true, characterData: true})"
    )
    ask(browser, HOSTILE)
    expected = assistant.reply([{"role": "user", "content": HOSTILE}]).text()
    assert [one["content"] for one in browser.run(MESSAGES)] == [HOSTILE, expected]
    assert browser.run("new Set(seen).size") > 3  # it grew
    assert browser.run("document.querySelector('.turn.user .body').textContent") == HOSTILE
    assert browser.run("document.querySelectorAll('main img, main b').length") == 0
    assert browser.run("document.querySelector('#status').textContent") == expected  # told once, at the end
    assert browser.run("document.querySelectorAll('main[aria-live], main [aria-live]').length") == 0
    assert browser.errors == []
    assert all(url.startswith(address) for url in browser.requests), browser.requests


def test_the_page_works_below_a_path(browser: Any, listen: Listen, assistant: Assistant) -> None:
    with listen(assistant, below="/team") as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('#name').textContent == 'tiny'")
        browser.type("Who walks?")
        browser.click("#send")
        expected = assistant.reply([{"role": "user", "content": "Who walks?"}]).text()
        browser.until(f"document.querySelector('#status').textContent == {json.dumps(expected)}")
        assert browser.errors == []


def test_stop_keeps_what_there_is_and_a_new_conversation_begins_empty(browser: Any, endless: str) -> None:
    answering = f"{ANSWER}.length > 3 && {BUSY}"
    browser.open(endless)
    browser.type("Who walks to the river?")
    browser.click("#send")
    browser.until(answering)
    browser.click("#send")  # now it says Stop
    browser.until(IDLE)
    kept = browser.run(MESSAGES)[1]
    assert kept["content"] != "" and kept["finish"] == "stopped"
    browser.type("And who else?")
    browser.press("Enter", 13)
    browser.until(f"{TURNS} == 4 && {answering}")
    browser.press("Escape", 27)
    browser.until(IDLE)
    assert browser.run(MESSAGES)[1]["content"] == kept["content"]
    browser.type("And then?")
    browser.press("Enter", 13)
    browser.until(f"{TURNS} == 6 && {answering}")
    browser.click("#new")
    browser.until(f"{TURNS} == 0 && {IDLE} && document.querySelector('#hint').checkVisibility()")
    browser.type("Who paints?")  # of the conversation before, nothing is sent
    browser.press("Enter", 13)
    browser.until(answering)
    assert [len(json.loads(body)["messages"]) for body in browser.sent if body] == [1, 3, 5, 1]
    browser.click("#send")
    browser.until(IDLE)
    browser.until("document.querySelectorAll('#list li').length == 2")
    browser.click("#list li:nth-child(2) .open")  # what was under way is kept
    browser.until(f"{TURNS} == 6")
    assert browser.run(MESSAGES)[5]["finish"] == "stopped"
    assert browser.errors == []


def test_an_answer_that_fails_says_so(browser: Any, endless_folder: Path, listen: Listen) -> None:
    error = "(document.querySelector('.turn.error')?.textContent ?? '')"
    with listen(slow(endless_folder, "endless"), loopback=True) as address:
        browser.open(f"{address}/")
        browser.type("Who walks to the river?")
        browser.press("Enter", 13)
        browser.until(f"{ANSWER}.length > 3 && {BUSY}")
    # the server has ended while it answered
    browser.until(f"{IDLE} && {error}.includes('stopping')")
    assert len(browser.run(ANSWER)) > 3 and browser.run(MESSAGES)[1]["finish"] == "broken"
    browser.type("And who else?")
    browser.press("Enter", 13)
    browser.until(f"{IDLE} && {error}.includes('cannot be reached')")
    assert len(browser.run(MESSAGES)) == 2  # what brought nothing is as if it had not been asked, and typed still
    assert browser.run("document.querySelector('#text').value") == "And who else?"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("BEGUN", "Anna|the answer broke off"),
        ("BEGUNdata: [DONE]\n\n", "Anna|the answer broke off"),
        ("", "|the answer broke off"),
        ('BEGUNdata: {"error": {"message": "no memory"}}\n\n', "Anna|no memory"),
        ("BEGUNENDEDdata: [DONE]\n\n", "Anna"),
    ],
)
def test_a_stream_is_whole_or_said_not_to_be(browser: Any, address: str, stream: str, expected: str) -> None:
    begun = 'data: {"choices": [{"delta": {"content": "Anna"}, "finish_reason": null}]}\n\n'
    ended = 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    told = """(async () => {
        const { deltas } = await import("/page/api.js");
        let text = "";
        try { for await (const { content } of deltas(new Response(STREAM))) text += content; }
        catch (error) { return text + "|" + error.message; }
        return text;
    })()"""
    browser.open(address)
    whole = stream.replace("BEGUN", begun).replace("ENDED", ended)
    assert browser.run(told.replace("STREAM", json.dumps(whole))) == expected


def test_example_questions_are_asked_by_mouse_and_by_keyboard(browser: Any, address: str) -> None:
    focus, asked = "document.activeElement", "document.querySelector('.turn.user .body')?.textContent"
    offered = "(document.querySelector('#examples')?.checkVisibility() ?? false)"
    browser.open(address, 390, 844)
    browser.until("document.querySelectorAll('#examples button').length == 3")
    assert browser.run("[...document.querySelectorAll('#examples button')].map(b => b.textContent)") == list(EXAMPLES)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.click("#examples button:nth-child(2)")
    browser.until(f"{asked} == {EXAMPLES[1]!r} && {IDLE}")
    assert browser.run(f"{ANSWER}.length") > 0
    assert not browser.run(offered) and browser.run(f"{focus}.id") == "text"
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.click("#side-open")
    browser.until("document.querySelector('#side').getBoundingClientRect().left == 0")
    assert browser.run(f"{focus}.id") == "new"
    browser.press("Enter", 13)
    browser.until(f"{offered} && !document.body.classList.contains('listed')")
    browser.run("document.querySelector('#settings-open').focus()")
    for _ in range(2):
        browser.press("Tab", 9)
    assert browser.run(f"{focus}.textContent") == EXAMPLES[1]
    browser.press("Tab", 9)
    browser.press("Enter", 13)
    browser.until(f"{asked} == {EXAMPLES[2]!r} && {IDLE}")
    assert browser.run(TURNS) == 2
    assert browser.errors == []


def test_settings_are_sent_and_kept(browser: Any, address: str, assistant: Assistant) -> None:
    settings: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 20, "seed": 5}
    browser.open(address)
    browser.click("#settings-open")
    for name, value in {**settings, "system": "Be brief.", "look": "dark"}.items():
        field = f"document.getElementById({name!r})"
        browser.run(f"{field}.value = {json.dumps(value)}; {field}.dispatchEvent(new Event('change'))")
    browser.run("t = document.getElementById('temperature'); t.value = 9; t.dispatchEvent(new Event('change'))")
    browser.press("Escape", 27)
    browser.open(address, kept=True)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(25, 24, 22)"
    ask(browser, "Who paints?")
    sent = json.loads(browser.sent[-1])
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who paints?"}]
    assert sent == {**settings, "messages": messages, "stream": True}  # 9 is no temperature
    expected = assistant.reply(messages, **settings).text()
    assert browser.run(MESSAGES)[1]["content"] == expected
    browser.click("#settings-open")
    browser.click("#defaults")
    browser.click("#settings-close")
    ask(browser, "And who else?")
    sent = json.loads(browser.sent[-1])
    assert sent["temperature"] == 0 and sent["messages"][0]["role"] == "user" and sent["seed"] != 5
    assert browser.errors == []


def test_an_answer_is_made_again_and_a_question_asked_otherwise(browser: Any, address: str) -> None:
    browser.open(address)
    for question in ("Who paints?", "Who walks?", "Who sleeps?"):
        ask(browser, question)
    first = browser.run(MESSAGES)
    browser.run(f"{act('Regenerate')}.click()")
    browser.until(f"{IDLE} && {act('Copy')} && document.querySelector('#status').textContent.includes('temperature 0')")
    assert browser.run(MESSAGES)[5]["content"] == first[5]["content"]
    assert json.loads(browser.sent[-1])["seed"] != first[5]["params"]["seed"]
    browser.run("document.querySelector('#text').focus()")
    browser.press("ArrowUp", 38)  # the last question
    assert browser.run("document.activeElement.value") == "Who sleeps?"
    browser.press("Escape", 27)
    assert browser.run("document.querySelectorAll('.edit').length") == 0
    browser.run(f"{act('Edit', 2)}.click()")
    assert browser.run("document.querySelector('.edit .quiet').textContent") != ""
    browser.run("document.querySelector('.edit textarea').value = 'Who runs?'")
    browser.run(f"{act('Ask again', 2)}.click()")
    browser.until(f"{TURNS} == 4 && {IDLE}")
    kept = browser.run(MESSAGES)
    assert kept[:2] == first[:2] and kept[2]["content"] == "Who runs?" and len(kept) == 4
    assert [one["content"] for one in json.loads(browser.sent[-1])["messages"]] == [one["content"] for one in kept[:3]]
    assert browser.errors == []


def test_text_is_copied_as_it_was_written(browser: Any, address: str) -> None:
    browser.open(address)
    origin = address.rstrip("/")
    browser.call(
        "Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
    )
    ask(browser, "*Who* paints?")
    for turn in (0, 1):
        browser.run(f"{act('Copy', turn)}.click()")
        browser.until("document.querySelector('#status').textContent == 'Copied'")
        content = browser.run(MESSAGES)[turn]["content"]
        browser.until(f"navigator.clipboard.readText().then(text => text == {json.dumps(content)})")
    assert browser.errors == []


def test_the_alternatives_to_each_token(browser: Any, address: str, assistant: Assistant) -> None:
    browser.open(address, 390, 844)
    ask(browser, "Who paints?")
    browser.run(f"{act('Alternatives')}.click()")
    browser.until("document.querySelector('.token') != null")
    assert json.loads(browser.sent[-1])["top_logprobs"] == 5
    tokens = browser.run("[...document.querySelectorAll('.token')].map(one => one.textContent)")
    engine = assistant.engine
    drawn = engine.generate([assistant.prompt([{"role": "user", "content": "Who paints?"}])], max_tokens=512)[0].tokens
    for token, shown in zip(drawn, tokens, strict=True):
        text = engine.tokenizer.token_bytes(token).decode(errors="backslashreplace")
        assert shown == text.replace("\n", "↵\n")
    tip = "document.querySelector('#tip')"
    browser.run("document.querySelector('.token').focus()")
    browser.press("ArrowRight", 39)
    assert browser.run("[...document.querySelectorAll('.token')].indexOf(document.activeElement)") == 1
    rows = browser.run(f"[...{tip}.querySelectorAll('li span')].map(one => parseFloat(one.textContent))")
    assert browser.run(f"{tip}.checkVisibility()") and len(rows) == 5 and rows == sorted(rows, reverse=True)
    said = browser.run(f"{tip}.querySelector('.said code').textContent")
    assert said.replace("␣", " ").replace("↵", "↵\n") == tokens[1]
    place = browser.run(f"(r => [r.left, r.right, r.bottom])({tip}.getBoundingClientRect())")
    assert place[0] >= 0 and place[1] <= 390 and place[2] <= 844
    browser.run("document.querySelector('#text').focus()")
    assert not browser.run(f"{tip}.checkVisibility()")
    x, y = browser.run(
        "(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector('.token').getClientRects()[0])"
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.until(f"{tip}.checkVisibility()")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.until(f"!{tip}.checkVisibility()")
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    browser.until(f"{tip}.checkVisibility()")
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
    browser.run(f"{act('Alternatives')}.click()")
    browser.until("document.querySelector('.token') == null")
    # of an answer that the model would not give now, nothing is told
    browser.run("import('/page/chat.js').then(p => { p.chat.conversation.messages[1].content = 'Else.'; p.show(); })")
    browser.run(f"{act('Alternatives')}.click()")
    browser.until("document.querySelector('.view')?.textContent.includes('something else') ?? false")
    assert browser.run(ANSWER) == "Else."
    assert browser.errors == []


def test_where_an_answer_is_from(
    browser: Any,
    run_folder: Path,
    tokens_folder: Path,
    corpus: Path,
    tmp_path: Path,
    assistant: Assistant,
    listen: Listen,
) -> None:
    corpus_index.run({"tokens": tokens_folder}, Index(), tmp_path)
    words = assistant.engine.tokenizer
    tracer = Tracer(lambda: (CorpusIndex(tmp_path, tokens_folder), words, corpus))
    text = "🛶 <b>Old Anna walks to the river. She likes it? A grey cat looks at a small mill."
    with listen(assistant, tracer=tracer, loopback=True) as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('#name').textContent == 'tiny'")
        browser.run(SHOWN.replace("TEXT", json.dumps(text)))
        browser.run(f"{act('Where from?')}.click()")
        browser.until("document.querySelector('.traced') != null")
        marks = browser.run("[...document.querySelectorAll('.traced mark')].map(one => one.textContent)")
        assert marks == ["Old Anna walks to the river.", "A grey cat looks at a small mill."]
        assert browser.run("document.querySelector('.traced').textContent.replace(/\\d/g, '')") == text
        assert " % of it stands in" in browser.run("document.querySelector('.view').textContent")
        links = browser.run("[...document.querySelectorAll('.view a')].map(one => one.href)")
        assert links and all(link.startswith("http://tales.test/") for link in links)
        opened = "[...document.querySelectorAll('.view details')].map(one => one.open)"
        assert browser.run(opened) == [True, False]
        assert browser.run("document.documentElement.scrollHeight <= innerHeight")  # only the conversation scrolls
        browser.click(".traced .found1")
        assert browser.run(opened) == [True, True]
        browser.run(f"{act('Where from?')}.click()")
        assert browser.run("document.querySelectorAll('.traced, .view').length") == 0
        browser.run(SHOWN.replace("TEXT", json.dumps("A red submarine.")))
        browser.run(f"{act('Where from?')}.click()")
        browser.until("document.querySelector('.view')?.textContent.startsWith('No three words') ?? false")
        assert browser.errors == []
        assert all(url.startswith(address) for url in browser.requests), browser.requests


def test_a_key_can_be_given_after_all(browser: Any, assistant: Assistant, listen: Listen, tmp_path: Path) -> None:
    memory = MemoryStore(tmp_path / "memory.sqlite")
    with listen(assistant, api_keys=["secret"], memory=memory, loopback=True) as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('.turn.error')?.textContent.includes('API key')")  # none was given
        browser.typed = ["secret"]
        ask(browser, "Who paints?")
        assert browser.run("document.querySelector('#name').textContent") == "tiny"
        assert browser.run("document.querySelector('#where').textContent") == "kept on the server"
        browser.until(f"{IDLE} && {TURNS} == 2")


def test_the_key_is_asked_for_and_sent(browser: Any, assistant: Assistant, listen: Listen) -> None:
    with listen(assistant, api_keys=["sec\u0021ret"], loopback=True) as address:
        browser.typed = ["wrong", "sec!ret\u00e9"]  # of which no header could hold the last letter
        browser.open(f"{address}/")
        browser.until("document.querySelector('#name').textContent == 'tiny'")
        assert browser.typed == []
        ask(browser, "Who paints?")
        assert len(browser.run(MESSAGES)) == 2
        browser.open(f"{address}/", kept=True)  # asked for once in a window
        browser.until("document.querySelector('#name').textContent == 'tiny'")
        assert [text for text in browser.errors if "401" not in text] == []
