"""The chat page shows the passages that an answer quotes, and text of pages stays text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from own_pages import DOCUMENTS, document, passages_of
from page_parts import ANSWER, act, ask

from gristmill.serving.quoting import QuotingAssistant

FORGET = "delete p.chat.conversation.messages[1].passages"
EVIL = "The 🛶 ferry <img src=x onerror=alert(1)> <script>alert(2)</script> leaves at nine. </details><b>Bold</b>"


def test_passages_with_marked_words_and_links(browser: Any, tmp_path: Path, listen: Callable[..., Any]) -> None:
    pages = [*DOCUMENTS, document("1", "<i>Ferry</i>", EVIL, url="https://a.test/ferry?a=1&b=2", source="a.warc.gz:9")]
    stars = "To clear the *.log and *.tmp files of the kiln, type rm *.log *.tmp there."
    pages.append(document("kiln.txt", "", stars))
    pages.append(document("2", "Script", "The ferry sleeps.", url="javascript:alert(3)", source="a.warc.gz:10"))
    folder = passages_of(tmp_path, *pages)
    server: AbstractContextManager[str] = listen(QuotingAssistant(folder, "pages"), loopback=True)
    with server as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('#name').textContent == 'pages'")
        browser.type("When does the ferry leave?")
        browser.press("Enter", 13)
        browser.until("document.querySelectorAll('.passage').length >= 2")
        first = "document.querySelector('.passage')"
        assert browser.run(f"{first}.querySelector('p').textContent") == EVIL
        assert browser.run(f"[...{first}.querySelectorAll('mark')].map(m => m.textContent)") == ["ferry", "leaves"]
        assert browser.run(f"{first}.querySelector('summary').textContent") == "[1] <i>Ferry</i>"
        links = "[...document.querySelectorAll('.passage a')].map(a => a.getAttribute('href'))"
        assert browser.run(links) == ["https://a.test/ferry?a=1&b=2"], "no link but to the web"
        assert browser.run("document.querySelectorAll('main img, main b, main i, main script').length") == 0
        assert browser.run("document.querySelector('.turn.assistant .body').textContent").startswith(f"{EVIL} [1]")
        opened = "[...document.querySelectorAll('.passage')].map(one => one.open)"
        assert not any(browser.run(opened))  # the answer quotes it
        assert browser.run("document.querySelector('.ranked').textContent") == "Passages, ranked by words"
        ask(browser, "Who won the football cup with the ferry?")
        browser.until("document.querySelectorAll('.turn')[3]?.querySelector('.passage') != null")
        assert "do not say" in browser.run(ANSWER)
        near = browser.run(opened.replace("'.passage'", "'.turn:last-child .passage'"))
        assert near[0] and not any(near[1:])  # the nearest is there to be read
        ask(browser, "How do I clear the *.log and *.tmp files of the kiln?")
        browser.until("document.querySelectorAll('.turn')[5]?.querySelector('.passage') != null")
        assert browser.run(ANSWER).startswith(stars), "its stars are no emphasis"
        assert browser.run("document.querySelector('.turn:last-child summary').textContent") == "[1] kiln"
        browser.run(f"import('/page/chat.js').then(p => {{ {FORGET}; p.show(); }})")  # as a server's memory does
        browser.run(f"{act('Passages', 1)}.click()")
        browser.until(f"{first}?.querySelector('p').textContent == {EVIL!r}")
        assert browser.errors == []
        assert all(url.startswith(address) for url in browser.requests), browser.requests
