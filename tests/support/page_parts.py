"""The chat page as tests see it, and assistants that take their time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gristmill.serving.assistant import Assistant

EXAMPLES = ("Who walks to the river?", "<b>Which</b> mill & whose?", "Where is the market?")
TURNS = "document.querySelectorAll('.turn').length"
ANSWER = "([...document.querySelectorAll('.turn.assistant .body')].at(-1)?.textContent ?? '')"
BUSY = "document.querySelector('#send').textContent == 'Stop'"
IDLE = "document.querySelector('#send').textContent == 'Send'"
MESSAGES = "import('/page/chat.js').then(page => page.chat.conversation.messages)"
SHOWN = """import('/page/chat.js').then(({chat, show}) => {
    chat.conversation.messages = [{role: 'assistant', content: TEXT}];
    show(); })"""
LISTED = "[...document.querySelectorAll('#list .open')].map(one => one.textContent)"


class Late:
    """A real decoder that takes its time for each step, as that of a large model does."""

    def __init__(self, decoder: Any, pause: float) -> None:
        self.decoder, self.pause = decoder, pause
        self.rows, self.exact = decoder.rows, decoder.exact
        self.new_page, self.copy_page = decoder.new_page, decoder.copy_page

    def step(self, *arguments: Any) -> Any:
        """The same step, later."""
        time.sleep(self.pause)
        return self.decoder.step(*arguments)


def slow(folder: Path, name: str, *about: Any, pause: float = 0.02) -> Assistant:
    """A real assistant that takes its time for each token."""
    made = Assistant.load(folder / "sft", folder / "tokenizer", name, *about)
    made.engine.scheduler.decoder = Late(made.engine.scheduler.decoder, pause)
    return made


def ask(browser: Any, text: str) -> None:
    """Ask in the field that has the focus, and wait for the end of the answer."""
    browser.run("document.querySelector('#text').focus()")
    browser.type(text)
    browser.press("Enter", 13)
    browser.until(f"{IDLE} && [...document.querySelectorAll('.turn.user .body')].at(-1)?.textContent == {text!r}")


def act(name: str, turn: int = -1) -> str:
    """The button of a turn that has such a name, as JavaScript."""
    buttons = f"[...document.querySelectorAll('.turn')].at({turn}).querySelectorAll('.actions button, .edit button')"
    return f"[...{buttons}].find(one => one.textContent == {name!r})"


def choose(browser: Any, place: int, option: str) -> None:
    """Choose something from the menu of a conversation in the list."""
    browser.click(f"#list li:nth-child({place}) button:last-child")
    browser.until("document.querySelector('#menu').matches(':popover-open')")
    browser.run(f"[...document.querySelectorAll('#menu button')].find(one => one.textContent == {option!r}).click()")


def saved(folder: Path, name: str) -> str:
    """A file that the browser was given, once it is whole."""
    for _ in range(1000):
        if (folder / name).exists() and (text := (folder / name).read_text(encoding="utf-8")):
            return text
        time.sleep(0.01)
    raise AssertionError(f"{name} is not among {list(folder.iterdir())}")


def is_readable(browser: Any, file: Path, width: int, height: int) -> None:
    """Check that a page of a report is whole in a window of that size, and loads nothing: no figure or line sticks out,
    and no letter is smaller than ten pixels."""
    browser.open(file.as_uri(), width, height)
    assert browser.errors == [] and browser.requests == [file.as_uri()]
    seen = "[...document.querySelectorAll('figure svg')].filter(f => f.checkVisibility())"
    sizes = browser.run(f"{seen}.map(f => f.getBoundingClientRect().height)")
    assert len(sizes) >= 4 and min(sizes) > 20
    assert len(sizes) == browser.run("document.querySelectorAll('figure').length")  # each in one of its widths
    assert browser.run(f"Math.max(...{seen}.map(f => f.getBoundingClientRect().right)) <= innerWidth")
    letters = "f => parseFloat(getComputedStyle(f.querySelector('text')).fontSize)"
    scale = "f => f.getBoundingClientRect().width / f.viewBox.baseVal.width"
    assert browser.run(f"Math.min(...{seen}.map(f => ({letters})(f) * ({scale})(f)))") > 10
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    for place in browser.run("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))"):
        assert browser.run(f"document.querySelector('{place} h2') !== null")
