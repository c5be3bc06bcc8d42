"""Conversations that the chat page keeps: they can be found, named, taken away and deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_parts import ANSWER, BUSY, IDLE, LISTED, MESSAGES, TURNS, ask, choose, saved, slow

from gristmill.serving.memory.memory_store import MemoryStore


def test_conversations_are_kept_found_named_and_deleted(browser: Any, address: str) -> None:
    browser.open(address)
    ask(browser, "Who <b>paints</b> the mill?")
    first = browser.run(MESSAGES)
    browser.click("#new")
    ask(browser, "Who walks to the river?")
    ask(browser, "And who forgets?")
    browser.open(address, kept=True)
    browser.until(f"{LISTED}.length == 2")
    assert browser.run(LISTED) == ["Who walks to the river?", "Who <b>paints</b> the mill?"]  # the newest first
    browser.click("#list li:nth-child(2) .open")
    browser.until(f"{TURNS} == 2")
    assert browser.run(MESSAGES) == first
    browser.until("document.querySelector('#list [aria-current]')?.textContent.startsWith('Who <b>')")  # drawn after
    ask(browser, "And who else?")  # it goes on, and is the newest now
    browser.until(f"{LISTED}[0].startsWith('Who <b>')")
    browser.click("#search")
    browser.type("FORGETS river")  # in any message, in any order
    browser.until(f"{LISTED}.length == 1")
    assert browser.run(LISTED) == ["Who walks to the river?"]
    browser.run("s = document.querySelector('#search'); s.value = 'nowhere'; s.dispatchEvent(new Event('input'))")
    browser.until("document.querySelector('#none').checkVisibility()")
    browser.run("s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))")
    browser.until(f"{LISTED}.length == 2")
    choose(browser, 2, "Rename")
    browser.until("document.querySelector('#list input') != null")
    browser.run("document.querySelector('#list input').value = '  River <i>walks</i> '")
    browser.press("Enter", 13)
    browser.until(f"{LISTED}[1] == 'River <i>walks</i>'")
    browser.open(address, kept=True)
    browser.until(f"{LISTED}[1] == 'River <i>walks</i>'")
    choose(browser, 1, "Delete")
    assert browser.run(f"{LISTED}.length") == 2  # asked first
    browser.run("document.querySelector('#menu button:last-child').click()")
    browser.until(f"{LISTED}.length == 1")
    browser.open(address, kept=True)
    browser.until(f"{LISTED}.length == 1")
    assert browser.run(LISTED) == ["River <i>walks</i>"] and browser.errors == []


def test_a_reload_in_the_midst_of_an_answer_keeps_the_question(browser: Any, endless: str) -> None:
    browser.open(endless)
    browser.type("Who walks to the river?")
    browser.press("Enter", 13)
    browser.until(f"{LISTED}.length == 1 && {TURNS} == 2")
    browser.open(endless, kept=True)
    browser.until(f"{LISTED}.length == 1 && {IDLE}")
    browser.click("#list .open")
    browser.until(f"{TURNS} >= 1")
    assert browser.run(MESSAGES)[0]["content"] == "Who walks to the river?"


OTHER_WINDOW = """import('/page/store.js').then(async ({BrowserStore}) => {
    const store = new BrowserStore(), [one] = await store.list();
    WORK; })"""


def test_what_another_window_did_to_a_conversation_is_not_undone(browser: Any, address: str) -> None:
    browser.open(address)
    ask(browser, "Who paints the mill?")
    browser.until(f"{LISTED}.length == 1")
    more = [{"role": "user", "content": "From there"}, {"role": "assistant", "content": "Yes."}]
    added = f"one.messages.push(...{json.dumps(more)}); one.title = 'Mills'; await store.write(one)"
    browser.run(OTHER_WINDOW.replace("WORK", added))
    browser.type("And who else?")
    browser.press("Enter", 13)
    browser.until(f"{IDLE} && document.querySelector('.turn.error')?.textContent.includes('went on elsewhere')")
    assert [one["content"] for one in browser.run(MESSAGES)][2:] == ["From there", "Yes."]  # which is shown now
    assert browser.run("document.querySelector('#text').value") == "And who else?"
    browser.press("Enter", 13)
    browser.until(f"{IDLE} && {TURNS} == 6")
    kept = "return one.messages.map(message => message.content)"
    shown = [one["content"] for one in browser.run(MESSAGES)]
    assert browser.run(OTHER_WINDOW.replace("WORK", kept)) == shown and "And who else?" in shown
    browser.run(OTHER_WINDOW.replace("WORK", "await store.remove(one.id)"))
    browser.type("And then?")
    browser.press("Enter", 13)
    browser.until(f"{IDLE} && document.querySelector('.turn.error')?.textContent.includes('deleted elsewhere')")
    browser.until(f"{LISTED}.length == 0")
    assert browser.run(OTHER_WINDOW.replace("WORK", "return one ?? null")) is None and browser.errors == []


def test_a_conversation_that_is_deleted_while_it_is_answered_stays_deleted(browser: Any, endless: str) -> None:
    browser.open(endless)
    browser.type("Who walks to the river?")
    browser.press("Enter", 13)
    browser.until(f"{LISTED}.length == 1 && {BUSY} && {ANSWER}.length > 3")
    choose(browser, 1, "Delete")
    browser.run("document.querySelector('#menu button:last-child').click()")
    browser.until(f"{LISTED}.length == 0 && {IDLE}")
    browser.open(endless, kept=True)
    browser.until("document.querySelector('#none').checkVisibility()")
    assert browser.run(OTHER_WINDOW.replace("WORK", "return one ?? null")) is None and browser.errors == []


def test_a_server_that_has_ended_is_told_and_hides_no_conversation(
    browser: Any, run_folder: Path, tmp_path: Path, listen: Any
) -> None:
    memory = MemoryStore(tmp_path / "memory.sqlite")
    with listen(slow(run_folder, "tiny", pause=0.004), memory=memory, loopback=True) as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('#where').textContent == 'kept on the server'")
        ask(browser, "Who paints?")
        browser.click("#new")
        browser.until(f"{LISTED}.length == 1 && {TURNS} == 0")
    browser.run("dispatchEvent(new Event('focus'))")
    browser.until("document.querySelector('.turn.error')?.textContent.includes('cannot be reached')")
    browser.click("#list .open")
    browser.type("Who else?")
    browser.press("Enter", 13)
    browser.until(f"{IDLE} && document.querySelector('#text').value == 'Who else?'")
    assert browser.run(f"{LISTED}.length") == 1


def test_conversations_are_exported(browser: Any, address: str, tmp_path: Path) -> None:
    browser.open(address)
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    ask(browser, "Who paints?")
    first = [{"role": one["role"], "content": one["content"]} for one in browser.run(MESSAGES)]
    browser.click("#new")
    browser.run("s = document.getElementById('system'); s.value = 'Be brief.'; s.dispatchEvent(new Event('change'))")
    ask(browser, "Who walks to the river?")
    second = [{"role": one["role"], "content": one["content"]} for one in browser.run(MESSAGES)]
    second.insert(0, {"role": "system", "content": "Be brief."})
    browser.until(f"{LISTED}.length == 2")
    choose(browser, 2, "Export as JSON lines")
    assert json.loads(saved(tmp_path, "Who-paints.jsonl")) == {"messages": first}
    choose(browser, 2, "Export as Markdown")
    text = saved(tmp_path, "Who-paints.md")
    assert text.startswith("# Who paints?\n\n**You:** Who paints?\n\n**Assistant:** ") and first[1]["content"] in text
    browser.click("#export-jsonl")
    found = [json.loads(line)["messages"] for line in saved(tmp_path, "conversations.jsonl").split("\n") if line]
    assert found == [second, first] and browser.errors == []
