"""Main text of an HTML page, through Resiliparse's parser and main-content rules."""

from __future__ import annotations

import re
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

# what Resiliparse's rules leave in although it is never main text
SKIP = [
    "nav",
    "header > nav",
    "footer",
    "aside",
    "dialog",
    "[role=navigation]",
    "[role=dialog]",
    "[aria-hidden=true]",
    "[class*=cookie]",
    "[id*=cookie]",
    "script",
    "style",
    "noscript",
    "template",
    "form",
]
SEPARATORS = re.compile(r"\s+[|–—·»]\s+")


@dataclass(frozen=True)
class Extracted:
    """Title and main text of a page."""

    title: str
    text: str


def decode(body: bytes, charset: str, *, html: bool) -> str:
    """Bytes to text: by byte-order mark, then the header's charset, then the page's own, then by detection.

    Raises UnicodeError where the bytes are no text at all.
    """
    for mark, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    if b"\0" in body[:1024]:
        raise UnicodeError("binary data")
    if charset:
        try:
            return body.decode(charset, "replace")
        except LookupError:
            pass  # a charset that does not exist: go by the page
    return bytes_to_str(body, detect_encoding(body, from_html_meta=html) or "utf-8")


def extract_html(html: str) -> Extracted:
    """Title and main text: paragraphs with a blank line between, lists with bullets."""
    tree = HTMLTree.parse(html)
    text = extract_plain_text(
        tree,
        preserve_formatting=True,
        main_content=True,
        list_bullets=True,
        links=False,
        alt_texts=False,
        comments=False,
        skip_elements=SKIP,
    )
    return Extracted(title_of(tree), tidy(text))


def title_of(tree: HTMLTree) -> str:
    """The page's heading where <title> holds it too, else <title> without the site's name."""
    title = " ".join((tree.title or "").split())
    heading = tree.document.query_selector("h1") if tree.document else None
    name = " ".join((heading.text or "").split()) if heading else ""
    if name and (name in title or not title):
        return name
    return SEPARATORS.split(title)[0]


def tidy(text: str) -> str:
    """One space between words, one blank line between paragraphs, nothing at the ends."""
    lines = [re.sub(r"[^\S\n]+", " ", line).strip() for line in text.replace("\r\n", "\n").splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
