"""Wikipedia dumps (`*-pages-articles.xml.bz2`): one record an article, streamed.

The format is MediaWiki's export schema (https://www.mediawiki.org/xml/export-0.11.xsd).
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote
from xml.etree import ElementTree

from gristmill.corpus.execution.documents import guarded
from gristmill.corpus.execution.judge import Dropped
from gristmill.corpus.readers.wikitext import plain_text
from gristmill.errors import FAULT, UserError
from gristmill.record import Record, unread

REMEDY = "of .bz2 only *-pages-articles.xml.bz2 is read: unpack it"
ARTICLES = "0"  # the namespace of articles
LICENCES = {"wikipedia.org": "CC-BY-SA-4.0", "wiktionary.org": "CC-BY-SA-4.0", "wikivoyage.org": "CC-BY-SA-4.0"}
LICENCES |= {"wikibooks.org": "CC-BY-SA-4.0", "wikisource.org": "CC-BY-SA-4.0", "wikiquote.org": "CC-BY-SA-4.0"}


def read_dump(path: Path, name: str) -> Iterator[Record]:
    """One record an article; redirects leave under `redirect`. Memory is bounded by the longest page.

    Raises UserError where the file is no dump, cut off or damaged; the articles before have been yielded by then.
    """
    number, begun = 0, False
    base, licence, namespaces = "", "", frozenset[str]()
    try:
        with path.open("rb") as raw, bz2.open(raw) if path.name.endswith(".bz2") else raw as file:
            for element in elements(file):
                tag = local(element)
                if tag == "mediawiki" and not element.tag.startswith("{http://www.mediawiki.org/xml/export-"):
                    raise UserError(f"{path} is no MediaWiki dump", REMEDY)
                begun = True
                if tag == "siteinfo":
                    base = find(element, "base").rpartition("/")[0]
                    licence = next((known for host, known in LICENCES.items() if host in base), "")
                    namespaces = frozenset(
                        (item.text or "").lower() for item in element.iter() if local(item) == "namespace" and item.text
                    )
                elif tag == "page" and find(element, "ns") == ARTICLES:
                    number += 1
                    source = f"{name}:{number}"
                    made = guarded(article, element, source, base or name, licence, namespaces)
                    if isinstance(made, Dropped):  # one page costs no other
                        made = unread(source, FAULT, made.more["traceback"])
                    yield made
    except (EOFError, OSError, ElementTree.ParseError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        if not begun and isinstance(error, ElementTree.ParseError):
            raise UserError(f"{path} is no MediaWiki dump: {error}", REMEDY) from error
        raise UserError(f"{path} is truncated or damaged after article {number}: {error}", "fetch it again") from error


def elements(file: IO[bytes]) -> Iterator[ElementTree.Element]:
    """The root's start, then each of its children when it is complete; they are forgotten once used."""
    depth = 0
    root: ElementTree.Element | None = None
    for event, element in ElementTree.iterparse(file, events=("start", "end")):
        if event == "start":
            depth += 1
            if root is None:
                root = element
                if local(root) != "mediawiki":
                    raise ElementTree.ParseError("the root is not <mediawiki>")
                yield root
            continue
        depth -= 1
        if depth == 1 and root is not None:
            yield element
            root.clear()


def local(element: ElementTree.Element) -> str:
    """An element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def find(element: ElementTree.Element, name: str) -> str:
    """The text of the first descendant of that name, or an empty string."""
    return next((found.text or "" for found in element.iter() if local(found) == name), "")


def article(page: ElementTree.Element, source: str, base: str, licence: str, namespaces: frozenset[str]) -> Record:
    """The record of one page."""
    title = find(page, "title")
    url = f"{base}/{quote(title.replace(' ', '_'), safe='/:,()')}"
    if any(local(element) == "redirect" for element in page):
        return unread(source, "redirect", url=url)
    text = plain_text(find(page, "text"), namespaces)
    return Record(text.encode("utf-8", "replace"), "text/plain", url, source, "utf-8", title, None, licence)
