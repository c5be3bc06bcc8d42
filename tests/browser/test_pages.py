"""The chat page and the report as a person has them: in a real browser."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain, Report
from gristmill.report import stage
from gristmill.report.learning import inspect
from gristmill.serving.assistant import Assistant
from gristmill.training import pretrain

Listen = Callable[..., AbstractContextManager[str]]
SHAPE: dict[str, Any] = dict(layers=2, width=32, heads=4, kv_heads=2, head_dim=8, ffn_width=64, context=128)
EXAMPLES = ("Who walks to the river?", "<b>Which</b> mill & whose?", "Where is the market?")
HOSTILE = "<img src=x onerror=alert(1)><b>Who</b> & what?"


class Late:
    """A real decoder that takes its time for each step, as that of a large model does."""

    def __init__(self, decoder: Any) -> None:
        self.decoder, self.rows, self.new_page = decoder, decoder.rows, decoder.new_page

    def step(self, *arguments: Any) -> Any:
        """The same step, later."""
        time.sleep(0.05)
        return self.decoder.step(*arguments)


def slow(model: Path, tokenizer: Path, *about: Any) -> Assistant:
    """A real assistant that takes its time for each token."""
    made = Assistant.load(model, tokenizer, *about)
    made.engine.scheduler.decoder = Late(made.engine.scheduler.decoder)
    return made


@pytest.fixture(scope="module")
def run(
    model_folder: Path, tokenizer_folder: Path, tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run folder: a short pretraining, and a random model as the assistant."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shutil.copytree(model_folder, folder / "sft")
    for name, source in (("tokenizer", tokenizer_folder), ("tokenize", tokens_folder)):
        shutil.copytree(source, folder / name)
        Manifest(metrics={"bytes_per_token": 3.3}, stage=name).write(folder / name)
    (folder / "pretrain").mkdir()
    params = Pretrain(**SHAPE, batch=8, max_steps=30, evaluate_every=10, sample_prompts=["The"])
    made = pretrain.run({"tokenizer": tokenizer_folder, "tokens": tokens_folder}, params, folder / "pretrain")
    made.params = params.model_dump()
    made.write(folder / "pretrain")
    return folder


@pytest.fixture(scope="module")
def address(run: Path, listen: Listen) -> Iterator[str]:
    """A real server."""
    with listen(slow(run / "sft", run / "tokenizer", "tiny", EXAMPLES), loopback=True) as address:
        yield f"{address}/"


@pytest.fixture(scope="module")
def endless(endless_folder: Path, listen: Listen) -> Iterator[str]:
    """A real server whose answers last until they are stopped."""
    with listen(slow(endless_folder / "sft", endless_folder / "tokenizer", "endless"), loopback=True) as address:
        yield f"{address}/"


ANSWER = "document.querySelector('.turn.assistant:last-of-type')?.textContent ?? ''"
BUSY = "document.querySelector('#send').textContent == 'Stop'"
IDLE = "document.querySelector('#send').textContent == 'Send'"


def test_a_question_is_answered_as_it_comes_and_is_shown_as_text(browser: Any, address: str, run: Path) -> None:
    browser.open(address)
    browser.until("document.querySelector('#name').textContent == 'tiny'")
    browser.run(
        "window.seen = [], new MutationObserver(() => seen.push(document.querySelector('main').textContent.length))"
        ".observe(document.querySelector('main'), {childList: true, subtree: true, characterData: true})"
    )
    browser.type(HOSTILE)
    browser.press("Enter", 13)
    browser.until(f"({ANSWER}).length > 3 && {IDLE}")
    assistant = Assistant.load(run / "sft", run / "tokenizer", "tiny")
    expected = assistant.reply([{"role": "user", "content": HOSTILE}]).text()
    assert browser.run(ANSWER) == expected
    assert browser.run("new Set(seen).size") > 3  # it grew
    assert browser.run("document.querySelector('.turn.user').textContent") == HOSTILE
    assert browser.run("document.querySelectorAll('main img, main b').length") == 0
    assert browser.errors == []
    assert all(url.startswith(address) for url in browser.requests), browser.requests


def test_stop_keeps_what_there_is_and_a_new_conversation_begins_empty(browser: Any, endless: str) -> None:
    answering = f"({ANSWER}).length > 3 && {BUSY}"
    browser.open(endless)
    browser.type("Who walks to the river?")
    browser.click("#send")
    browser.until(answering)
    browser.click("#send")  # now it says Stop
    browser.until(IDLE)
    kept = browser.run(ANSWER)
    assert kept != "" and not browser.run("document.querySelector('#hint').checkVisibility()")
    browser.type("And who else?")
    browser.press("Enter", 13)
    browser.until(f"document.querySelectorAll('.turn').length == 4 && {answering}")
    assert browser.run("document.querySelector('.turn.assistant').textContent") == kept
    browser.click("#reset")
    browser.until(f"document.querySelectorAll('.turn').length == 0 && {IDLE}")
    assert browser.run("document.querySelector('#hint').checkVisibility()")
    browser.type("Who paints?")  # of the conversation before, nothing is sent
    browser.press("Enter", 13)
    browser.until(answering)
    assert browser.run("messages.length") == 1 and browser.run("document.querySelectorAll('.turn').length") == 2
    browser.click("#send")
    browser.until(IDLE)
    assert browser.errors == []


def test_an_answer_that_fails_says_so(browser: Any, endless_folder: Path, listen: Listen) -> None:
    error = "document.querySelector('.turn.error')?.textContent ?? ''"
    with listen(slow(endless_folder / "sft", endless_folder / "tokenizer", "endless"), loopback=True) as address:
        browser.open(f"{address}/")
        browser.type("Who walks to the river?")
        browser.press("Enter", 13)
        browser.until(f"({ANSWER}).length > 3 && {BUSY}")
    # the server has ended while it answered
    browser.until(f"{IDLE} && ({error}).includes('stopping')")
    assert browser.run("document.querySelector('.turn.assistant').textContent.length") > 3
    said = """(async () => {
        let text = "";
        try { for await (const delta of deltas(new Response(STREAM))) text += delta; }
        catch (error) { return text + "|" + error.message; }
        return text;
    })()"""
    begun = 'data: {"choices": [{"delta": {"content": "Anna"}, "finish_reason": null}]}\n\n'
    ended = 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    for stream, expected in (
        (begun, "Anna|the answer broke off"),
        (begun + "data: [DONE]\n\n", "Anna|the answer broke off"),
        ("", "|the answer broke off"),
        (begun + 'data: {"error": {"message": "no memory"}}\n\n', "Anna|no memory"),
        (begun + ended + "data: [DONE]\n\n", "Anna"),
    ):
        assert browser.run(said.replace("STREAM", json.dumps(stream))) == expected


def test_example_questions_are_asked_by_mouse_and_by_keyboard(browser: Any, address: str) -> None:
    focus, asked = "document.activeElement", "document.querySelector('.turn.user')?.textContent"
    offered = "document.querySelector('#examples').checkVisibility()"
    browser.open(address, 375, 667)
    browser.until("document.querySelectorAll('#examples button').length == 3")
    assert browser.run("[...document.querySelectorAll('#examples button')].map(b => b.textContent)") == list(EXAMPLES)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.click("#examples button:nth-child(2)")
    browser.until(f"{asked} == {EXAMPLES[1]!r} && {IDLE}")
    assert browser.run(f"({ANSWER}).length") > 0
    assert not browser.run(offered) and browser.run(f"{focus}.id") == "text"
    browser.click("#reset")
    browser.until(offered)
    browser.run("document.querySelector('#reset').focus()")
    for _ in range(2):
        browser.press("Tab", 9)
    assert browser.run(f"{focus}.textContent") == EXAMPLES[1]
    browser.press("Tab", 9)
    browser.press("Enter", 13)
    browser.until(f"{asked} == {EXAMPLES[2]!r} && {IDLE}")
    assert browser.run("document.querySelectorAll('.turn').length") == 2
    assert browser.errors == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
@pytest.mark.parametrize("kind", ["report", "inspect"])
def test_pages_are_whole_and_load_nothing(
    browser: Any, run: Path, tmp_path: Path, kind: str, width: int, height: int
) -> None:
    if kind == "report":
        folders = {name: run / name for name in ("tokenizer", "tokenize", "pretrain")}
        stage.run(folders, Report(), tmp_path)
    else:
        inspect(run, "Old Anna walks to", tmp_path / "index.html")
    page = (tmp_path / "index.html").as_uri()
    browser.open(page, width, height)
    assert browser.errors == [] and browser.requests == [page]
    seen = "[...document.querySelectorAll('figure svg')].filter(f => f.checkVisibility())"
    sizes = browser.run(f"{seen}.map(f => f.getBoundingClientRect().height)")
    assert len(sizes) >= 4 and min(sizes) > 20
    assert len(sizes) == browser.run("document.querySelectorAll('figure').length")  # each in one of its widths
    assert browser.run(f"Math.max(...{seen}.map(f => f.getBoundingClientRect().right)) <= innerWidth")
    letters = "f => parseFloat(getComputedStyle(f.querySelector('text')).fontSize)"
    scale = "f => f.getBoundingClientRect().width / f.viewBox.baseVal.width"
    assert browser.run(f"Math.min(...{seen}.map(f => ({letters})(f) * ({scale})(f)))") > 10  # pixels
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out
    for place in browser.run("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))"):
        assert browser.run(f"document.querySelector('{place} h2') !== null")
