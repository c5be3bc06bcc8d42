"""The chat page of a server with a memory: conversations are there, facts are seen and changed, and it can be switched
off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from page_parts import ANSWER, BUSY, IDLE, LISTED, MESSAGES, TURNS, act, ask, choose, saved, slow

from gristmill.serving.guard import LOCAL
from gristmill.serving.memory.memory_store import MemoryStore

FACTS = "[...document.querySelectorAll('#facts .words')].map(one => one.firstChild.textContent)"


@pytest.fixture
def page(browser: Any, remembering: str, memory: MemoryStore) -> Any:
    """A browser that shows the page of a server that remembers nothing yet."""
    memory.forget(LOCAL, [one.id for one in memory.facts(LOCAL)])
    memory.end(LOCAL, [one.id for one in memory.conversations(LOCAL, 100)])
    browser.open(remembering)
    browser.until("document.querySelector('#where').textContent == 'kept on the server'")
    return browser


def kept(memory: MemoryStore) -> list[list[tuple[str, str]]]:
    """The conversations that the server has, the newest first."""
    found = memory.conversations(LOCAL, 100)
    return [[(one.role, one.text) for one in memory.items(LOCAL, talk.id)] for talk in found]


def shown(page: Any) -> list[tuple[str, str]]:
    """The messages that the page shows."""
    return [(one["role"], one["content"]) for one in page.run(MESSAGES)]


def test_conversations_are_those_of_the_server(page: Any, memory: MemoryStore, remembering: str) -> None:
    ask(page, "Who paints the mill?")
    ask(page, "Who walks?")
    assert kept(memory) == [shown(page)] and len(shown(page)) == 4
    assert [len(json.loads(body)["messages"]) for body in page.sent if '"stream"' in body] == [1, 1]  # only what is new
    first = shown(page)
    page.run(f"{act('Regenerate')}.click()")
    page.until(f"{IDLE} && {TURNS} == 4 && {act('Copy')} != null")
    assert kept(memory) == [shown(page)] == [first]
    page.run(f"{act('Edit', 2)}.click()")
    page.run("document.querySelector('.edit textarea').value = 'Who sleeps?'")
    page.run(f"{act('Ask again', 2)}.click()")
    page.until(f"{IDLE} && {TURNS} == 4 && document.querySelectorAll('.user .body')[1].textContent == 'Who sleeps?'")
    assert kept(memory) == [shown(page)] and shown(page)[:2] == first[:2]
    page.click("#new")
    ask(page, "Who forgets?")
    page.open(remembering)  # with all that the browser had stored gone
    page.until(f"{LISTED}.length == 2")
    page.click("#list li:nth-child(2) .open")
    page.until(f"{TURNS} == 4")
    assert shown(page) == kept(memory)[1]
    page.run(f"{act('Alternatives')}.click()")  # drawn at temperature 0, it can be made again
    page.until("document.querySelector('.token') != null")
    page.click("#search")
    page.type("painting")
    page.until(f"{LISTED}.length == 1")
    assert page.run("document.querySelector('#list .quiet').textContent") == "Who paints the mill?"
    page.run("s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))")
    page.until(f"{LISTED}.length == 2")
    choose(page, 2, "Rename")
    page.until("document.querySelector('#list input') != null")
    page.run("document.querySelector('#list input').value = 'Mills'")
    page.press("Enter", 13)
    page.until(f"{LISTED}.includes('Mills')")
    assert memory.conversations(LOCAL, 100)[1].metadata == {"title": "Mills"}
    choose(page, page.run(f"{LISTED}.indexOf('Mills') + 1"), "Delete")
    page.run("document.querySelector('#menu button:last-child').click()")
    page.until(f"{LISTED}.length == 1")
    assert len(kept(memory)) == 1 and page.errors == []


def test_conversations_of_the_server_are_exported(page: Any, memory: MemoryStore, tmp_path: Path) -> None:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    ask(page, "Who paints?")
    page.until(f"{LISTED}.length == 1")
    page.click("#export-jsonl")
    messages = json.loads(saved(tmp_path, "conversations.jsonl"))["messages"]
    assert [(one["role"], one["content"]) for one in messages] == kept(memory)[0]


def test_what_went_on_elsewhere_is_not_overwritten(page: Any, memory: MemoryStore) -> None:
    ask(page, "Who paints?")
    talk = memory.conversations(LOCAL, 1)[0]
    memory.add(LOCAL, talk.id, [("user", "From another window", "completed"), ("assistant", "Yes.", "completed")])
    page.type("And who else?")
    page.press("Enter", 13)
    page.until(f"{IDLE} && document.querySelector('.turn.error')?.textContent.includes('elsewhere')")
    assert [text for _, text in shown(page)][2:] == ["From another window", "Yes."]  # which is shown now
    assert page.run("document.querySelector('#text').value") == "And who else?"
    page.press("Enter", 13)
    page.until(f"{IDLE} && {TURNS} == 6")
    assert kept(memory) == [shown(page)]


def test_what_was_deleted_elsewhere_is_told(page: Any, memory: MemoryStore) -> None:
    ask(page, "Who paints?")
    page.click("#new")
    page.until(f"{LISTED}.length == 1 && {TURNS} == 0 && document.querySelector('#list [aria-current]') == null")
    page.run("held = document.querySelector('#list .open')")  # the list may be drawn anew, without it, at any time
    memory.end(LOCAL, [memory.conversations(LOCAL, 1)[0].id])
    page.run("held.click()")
    page.until("document.querySelector('.turn.error')?.textContent.includes('deleted elsewhere')")
    page.until(f"{LISTED}.length == 0")
    assert not [error for error in page.errors if "404" not in error]  # no exception


def test_an_answer_that_is_stopped_is_kept_and_gone_on_from(
    browser: Any, endless_folder: Path, tmp_path: Path, listen: Any
) -> None:
    memory = MemoryStore(tmp_path / "memory.sqlite")
    with listen(slow(endless_folder, "endless"), memory=memory, loopback=True) as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('#where').textContent == 'kept on the server'")
        browser.type("Who paints?")
        browser.press("Enter", 13)
        browser.until(f"{ANSWER}.length > 3 && {BUSY}")
        browser.press("Escape", 27)
        browser.until(IDLE)
        browser.run(f"{act('Regenerate')}.click()")  # at once
        browser.until(f"{ANSWER}.length > 3 && {BUSY}")
        browser.press("Escape", 27)
        browser.until(f"{IDLE} && document.querySelectorAll('.turn').length == 2")
        browser.run("document.querySelector('#text').focus()")
        browser.type("And who else?")
        browser.press("Enter", 13)
        browser.until(f"document.querySelectorAll('.turn').length == 4 && {ANSWER}.length > 3 && {BUSY}")
        browser.press("Escape", 27)
        browser.until(IDLE)
        talk = memory.conversations(LOCAL, 2)
        assert len(talk) == 1
        said = [one.text for one in memory.items(LOCAL, talk[0].id) if one.role == "user"]
        assert said[:1] == ["Who paints?"] and browser.errors == []


def test_facts_are_seen_added_changed_and_deleted(page: Any, memory: MemoryStore) -> None:
    ask(page, "Remember that my dog is <b>Rex</b>.")
    assert page.run(ANSWER).startswith("I will remember: My dog is <b>Rex</b>")
    assert not page.run(f"{act('Alternatives')} != null")  # no model said it
    page.click("#memory-open")
    page.until(f"{FACTS}.length == 1")
    assert page.run(FACTS) == ["My dog is <b>Rex</b>"]
    page.run("document.querySelector('#fact').focus()")
    page.type("my dog is Max")
    page.press("Enter", 13)
    page.until(f"{FACTS}.length == 2")
    replaced = "document.querySelector('#facts .superseded .words').firstChild.textContent"
    assert page.run(replaced) == "My dog is <b>Rex</b>"
    page.run("document.querySelector('#facts li:not(.superseded) button').click()")
    page.run("document.querySelector('#facts input').value = 'my dog is Bella'")
    page.press("Enter", 13)
    page.until(f"{FACTS}.includes('my dog is Bella')")
    page.run("document.querySelector('#facts .superseded button:last-child').click()")
    page.until(f"{FACTS}.length == 1")
    assert [one.text for one in memory.facts(LOCAL)] == ["my dog is Bella"]
    page.press("Escape", 27)
    page.run("document.querySelector('#facts').replaceChildren()")  # so that one that is there has been drawn anew
    page.click("#memory-open")
    page.until(f"{FACTS}.length == 1")
    page.click("#forget-all")
    assert page.run("document.querySelector('#forget-all').textContent") == "Really?" and memory.facts(LOCAL)
    page.click("#forget-all")
    page.until("document.querySelector('#no-facts').checkVisibility()")
    assert memory.facts(LOCAL) == [] and page.errors == []


def test_what_was_remembered_is_shown_with_an_answer(
    browser: Any, endless_folder: Path, tmp_path: Path, listen: Any
) -> None:
    memory = MemoryStore(tmp_path / "memory.sqlite")
    memory.remember(LOCAL, "My boat is <i>red</i>")
    with listen(slow(endless_folder, "endless"), memory=memory, loopback=True) as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('#where').textContent == 'kept on the server'")
        browser.run("m = document.querySelector('#max_tokens'); m.value = 5; m.dispatchEvent(new Event('change'))")
        ask(browser, "Which colour has the boat?")
        about = "[...document.querySelectorAll('.turn:last-child details li')].map(one => one.textContent)"
        assert browser.run(about) == ["My boat is <i>red</i>"]
        browser.run(f"{act('Alternatives')}.click()")  # with the fact, as it was made
        browser.until("document.querySelectorAll('.token').length == 5")
        assert json.loads(browser.sent[-1])["memory"] is True and browser.errors == []


def test_without_memory_nothing_is_kept_on_the_server(page: Any, memory: MemoryStore, remembering: str) -> None:
    page.click("#memory-open")
    page.until("document.querySelector('#memory').open")
    page.click("#use-memory")
    page.press("Escape", 27)
    assert page.run("document.querySelector('#where').textContent") == "kept in this browser"
    ask(page, "Remember that my dog is Rex.")
    assert memory.facts(LOCAL) == [] and kept(memory) == []
    assert "memory" not in json.loads(page.sent[-1])
    page.open(remembering, kept=True)
    page.until(f"{LISTED}.length == 1 && document.querySelector('#where').textContent == 'kept in this browser'")
    page.click("#memory-open")
    page.click("#use-memory")
    page.until(f"{LISTED}.length == 0")
    assert page.run("document.querySelector('#where').textContent") == "kept on the server"


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_the_panel_fits(page: Any, memory: MemoryStore, remembering: str, width: int, height: int) -> None:
    for number in range(40):
        memory.remember(LOCAL, f"Number {number} is {'long' * 30}")
    page.open(remembering, width, height)
    page.until("!document.querySelector('#memory-open').hidden")
    page.click("#memory-open")
    page.until(f"{FACTS}.length == 40")
    panel = "document.querySelector('#memory')"
    box = page.run(f"(r => [r.left, r.top, r.right, r.bottom])({panel}.getBoundingClientRect())")
    assert box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
    assert page.run(f"{panel}.scrollWidth <= {panel}.clientWidth")
