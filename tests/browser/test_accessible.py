"""The chat page for those who do not see it, see it badly, or have no mouse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from page_parts import LISTED, SHOWN, TURNS, act, ask

TALK = """[{role: 'user', content: 'Who?'}, {role: 'assistant', content: TEXT, finish: 'length', memory: {facts:
    [{text: 'My dog is Rex'}]}, passages: [{title: 'Mill', headings: [], text: 'Anna', marks: [[0, 4]], url: 'http://a.test/'}]}]"""
TEXT = "# Head\n[A link](https://e.test/) and `code`\n\n> quoted\n\n```c\nint x;\n```\n| a |\n|---|\n| b |"
NAMED = (
    "button",
    "link",
    "textbox",
    "searchbox",
    "spinbutton",
    "combobox",
    "checkbox",
    "dialog",
    "complementary",
    "main",
)
# WCAG 2.2, 1.4.3: (lighter + 0.05) / (darker + 0.05) of relative luminances is 4.5 at least
CONTRAST = """(() => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
    const parts = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data]; };
    const light = colour => parts(colour).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const under = one => parts(getComputedStyle(one).backgroundColor)[3] ? getComputedStyle(one).backgroundColor
        : under(one.parentElement);
    const told = [];
    for (const one of document.querySelectorAll('body *')) {
        const own = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || !one.checkVisibility({opacityProperty: true}) || one.closest('.unseen, option')) continue;
        const two = [light(getComputedStyle(one).color), light(under(one))].sort((a, b) => b - a);
        told.push([(two[0] + 0.05) / (two[1] + 0.05), one.outerHTML.slice(0, 80)]);
    }
    return told; })()"""


def full(browser: Any) -> None:
    """Show a conversation with all that one can have."""
    talk = TALK.replace("TEXT", json.dumps(TEXT))
    browser.run(SHOWN.replace("[{role: 'assistant', content: TEXT}]", talk))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser: Any, remembering: str, scheme: str) -> None:
    browser.open(remembering, scheme=scheme)
    browser.until("!document.querySelector('#memory-open').hidden")
    ask(browser, "Remember that my dog is Rex.")
    full(browser)
    browser.run("import('/page/chat.js').then(page => page.fail(new Error('something')))")
    browser.run("for (const id of ['settings', 'memory']) document.getElementById(id).show()")
    browser.until("document.querySelectorAll('#facts li').length >= 0")
    found = browser.run(CONTRAST)
    assert len(found) > 30 and not [one for one in found if one[0] < 4.5]


def test_everything_has_a_name_and_answers_are_told_once(browser: Any, remembering: str) -> None:
    browser.open(remembering)
    browser.until("!document.querySelector('#memory-open').hidden")
    browser.run(
        "window.told = [], new MutationObserver(() => told.push(document.querySelector('#status').textContent))"
        ".observe(document.querySelector('#status'), {childList: true})"
    )
    ask(browser, "Who walks to the river?")
    first, last = browser.run("told")
    assert first == "The answer is coming." and last == browser.run(
        "document.querySelector('.body + div') && told.at(-1)"
    )
    full(browser)
    browser.run("document.getElementById('memory').show(); document.getElementById('settings').show()")
    browser.call("Accessibility.enable")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    seen = [(one["role"]["value"], one["name"]["value"]) for one in nodes if not one["ignored"] and "name" in one]
    assert not [role for role, name in seen if role in NAMED and not name.strip()]
    roles = {role for role, _ in seen}
    assert {"main", "complementary", "dialog", "status", "button", "link", "textbox", "heading"} <= roles
    browser.call("Accessibility.disable")
    assert browser.run("document.documentElement.lang") == "en"


def test_a_conversation_is_renamed_and_deleted_by_keyboard(browser: Any, address: str) -> None:
    focus = "document.activeElement"
    browser.open(address)
    browser.until("document.querySelector('#where').textContent != ''")
    ask(browser, "Who paints?")
    browser.until(f"{LISTED}.length == 1")
    browser.run("document.querySelector('#list .open').focus()")
    browser.press("Tab", 9)
    assert browser.run(f"{focus}.ariaLabel") == "Options of Who paints?"
    browser.press("Enter", 13)
    assert browser.run(f"{focus}.textContent") == "Rename"
    browser.press("Escape", 27)
    assert browser.run(f"{focus}.ariaLabel") == "Options of Who paints?"  # it goes back to where it was
    browser.press("Enter", 13)
    browser.press("Enter", 13)
    browser.until(f"{focus}.localName == 'input'")
    browser.type("Paint")
    browser.press("Enter", 13)
    browser.until(f"{LISTED}[0] == 'Paint'")
    assert browser.run(f"{focus}.title") == "Paint"
    browser.press("Tab", 9)
    browser.press("Enter", 13)
    for _ in range(3):
        browser.press("Tab", 9)
    assert browser.run(f"{focus}.textContent") == "Delete"
    browser.press("Enter", 13)
    assert browser.run(f"{focus}.textContent") == "Delete for good"
    browser.press("Enter", 13)
    browser.until(f"{LISTED}.length == 0 && {TURNS} == 0")
    assert browser.run(f"{focus}.id") == "new" and browser.errors == []


def test_the_turn_under_the_keyboard_stays_there(browser: Any, address: str) -> None:
    browser.open(address)
    browser.until("document.querySelector('#where').textContent != ''")
    ask(browser, "Who paints?")
    browser.run(f"{act('Alternatives')}.focus()")
    browser.press("Enter", 13)
    browser.until("document.querySelector('.token') != null")
    assert browser.run("document.activeElement.textContent") == "Alternatives"
    assert browser.run("document.activeElement.ariaPressed") == "true"
