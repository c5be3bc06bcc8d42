"""Time grows with the length of what others write and not with its square: each reader at two sizes."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from books import ITEM, docx, epub, epub_of, pdf

from gristmill.chat.transcripts import passages, transcript
from gristmill.corpus.extract.stage import extract_record
from gristmill.corpus.filter.candidate import Candidate
from gristmill.corpus.filter.line_rules import c4_line_ends, refinedweb_lines
from gristmill.corpus.readers.input_files import read_file
from gristmill.corpus.readers.wikitext import plain_text
from gristmill.corpus.redact.stage import redact
from gristmill.crawl.client import decode, parse_headers
from gristmill.crawl.content_type import content_type
from gristmill.crawl.outlinks import read_feed, read_page, read_sitemap, read_tdmrep
from gristmill.crawl.robots import parse_robots
from gristmill.document import Document
from gristmill.html.charset import to_utf8
from gristmill.html.links import page_tags
from gristmill.passages.cut import cut
from gristmill.record import Record

Reader = Callable[[bytes], object]
URL = "http://site.test/"


def file(name: str) -> Callable[[Path], Reader]:
    def reader(folder: Path) -> Reader:
        def read(data: bytes) -> object:
            (folder / name).write_bytes(data)
            return list(read_file(folder / name, name))

        return read

    return reader


def book(name: str, make: Callable[[bytes], bytes]) -> Callable[[Path], Reader]:
    def reader(folder: Path) -> Reader:
        def read(data: bytes) -> object:
            (folder / name).write_bytes(make(data))
            return [extract_record(record) for record in read_file(folder / name, name)]

        return read

    return reader


def header(name: str) -> Reader:
    return lambda data: read_page([], [(name, data.decode("latin-1"))], URL, "gristmill")


def lines(rule: Callable[[Candidate], object]) -> Reader:
    return lambda data: rule(Candidate(Document("x", data.decode(), URL)))


READERS: dict[str, Reader] = {
    "link header": header("Link"),
    "robots header": header("X-Robots-Tag"),
    "usage header": header("Content-Usage"),
    "content type": lambda data: content_type(data.decode("latin-1")),
    "folded headers": lambda data: parse_headers(data.splitlines(keepends=True)),
    "feed": lambda data: list(read_feed(data, URL)),
    "sitemap": lambda data: list(read_sitemap(data, URL)),
    "tdmrep": read_tdmrep,
    "robots.txt": lambda data: parse_robots(data.decode("latin-1"), "gristmill"),
    "tags": lambda data: page_tags(data, ""),
    "charset": to_utf8,
    "gzip": lambda data: decode(data, "gzip", 1 << 30),
    "page": lambda data: extract_record(Record(data, "text/html", URL, "x")),
    "markdown": lambda data: extract_record(Record(data, "text/markdown", URL, "x")),
    "wikitext": lambda data: plain_text(data.decode()),
    "web lines": lines(refinedweb_lines),
    "line ends": lines(c4_line_ends),
    "redact": lambda data: redact(data.decode()),
    "passages": lambda data: list(cut(data.decode())),
    "transcript": lambda data: transcript(data.decode()),
    "rows": lambda data: list(passages(data.decode().splitlines(keepends=True))),
}
BOOKS = {
    "epub": book("a.epub", epub),
    "list of parts": book("a.epub", epub_of),
    "word": book("a.docx", docx),
    "pdf": book("a.pdf", pdf),
}
ATTACKS: list[tuple[str, bytes, bytes, bytes]] = [  # reader; beginning, what is repeated, end
    ("link header", b"", b"<", b""),
    ("link header", b"", b'<x>;a="', b""),
    ("link header", b"<x>", b" ", b"x"),
    ("link header", b"<x>;", b"a", b" "),
    ("robots header", b"", b"a:", b""),
    ("usage header", b"", b"train-ai ", b"="),
    ("content type", b'text/html;a="', b";", b""),
    ("folded headers", b"A: b\n", b" c\n", b""),
    ("feed", b"<rss><item>", b"<link ", b""),
    ("feed", b"<rss>", b"<item>", b""),
    ("feed", b"<rss><item>", b"<link>", b""),
    ("feed", b"<item>", b"<link href='", b""),
    ("feed", b"<", b"a", b""),
    ("feed", b"<item><link>", b" ", b""),
    ("sitemap", b"", b"<loc>", b""),
    ("sitemap", b"<loc>", b" ", b""),
    ("sitemap", b"<loc><![CDATA[", b"]", b""),
    ("tdmrep", b"", b"[", b""),
    ("robots.txt", b"", b"user-agent: a\nallow: /\n", b""),
    ("robots.txt", b"user-agent: *\nallow: /", b"*a", b""),
    ("robots.txt", b"user-agent: *\nallow: /", b"%", b""),
    ("tags", b"", b"<a href=", b""),
    ("tags", b"", b"<!--", b""),
    ("tags", b"", b"<title>", b""),
    ("tags", b"<a href='", b"&#", b"'>"),
    ("charset", b"", b"<meta ", b""),
    ("charset", b"", b"<!--", b""),
    ("gzip", b"", gzip.compress(b"", mtime=0), b""),
    ("page", b"", b"<div>", b""),
    ("page", b"<p>", b" - ", b""),
    ("page", b"<title>", b" | ", b"</title>"),
    ("page", b"articleBody", b"<script application/ld+json>", b""),
    ("page", b"articleBody<script application/ld+json>", b"[", b"</script>"),
    ("markdown", b"# a", b" ", b"b"),
    ("markdown", b"# a", b"#", b"b"),
    ("web lines", b"1", b" ", b"b"),
    ("web lines", b"a", b" ", b"b c"),
    ("web lines", b"a b", b"|", b"b"),
    ("web lines", b"a b", b" 1", b" b"),
    ("line ends", b"a", b".", b"b"),
    ("line ends", b'a."', b" ", b"b"),
    ("redact", b"", b"-----BEGIN PRIVATE KEY-----", b""),
    ("redact", b"", b"-----BEGIN A PRIVATE KEY-----\nA", b"-----END B PRIVATE KEY-----"),
    ("redact", b"", b"a.", b"@"),
    ("redact", b"", b"1 ", b"@"),
    ("redact", b"", b"key=", b""),
    ("redact", b"", b"://a:", b"@"),
    ("redact", b"", b"eyJaaaaaaaa.", b""),
    ("passages", b"# a", b" ", b"b"),
    ("passages", b"# a", b"#", b"b"),
    ("passages", b"", b"# a\n\n", b""),
    ("passages", b"a. ", b" ", b"b"),
    ("passages", b"", b"a.) ", b""),
    ("passages", b"a", b" ", b"b"),
    ("passages", b"```\n", b"a\n", b""),
    ("passages", b"", b"- a\n", b""),
    ("transcript", b"Q:", b"\n", b""),
    ("transcript", b"Q:", b" ", b"\n"),
    ("transcript", b"\n\nHuman:", b"\n", b""),
    ("transcript", b"\n\nHuman:", b"\n ", b""),
    ("transcript", b"", b"Q: ", b""),
    ("rows", b"", b"Q:\n\n", b""),
    ("rows", b"Q:", b"\n ", b""),
    ("a.csv", b"a,b\n", b'"', b""),
    ("a.csv", b"", b",", b""),
    ("a.csv", b"text\n", b"a\n", b""),
    ("a.jsonl", b"", b"[", b""),
    ("a.jsonl", b'{"text": "', b"\\u0041", b'"}'),
    ("a.ipynb", b'{"nbformat": 4, "cells": [{"source": "', b"\\u0041", b'"}]}'),
    ("a.warc", b"", b"WARC/1.0\r\n", b""),
    ("a.warc", b"WARC/1.0\r\n", b"a: b\r\n", b""),
    ("a.warc", b"WARC/1.0\r\nContent-Length: 9\r\n", b"\r\n", b""),
    ("a.tex", b"\\title", b" ", b"x"),
    ("a.tex", b"", b"\\title[", b""),
    ("a.tex", b"a", b" ", b"b"),
    ("a.tex", b"", b"$", b"x"),
    ("a.tex", b"", b"\\begin{a}", b""),
    ("a.rst", b"a\n", b"=", b"b\n"),
    ("a.rst", b"`", b":a", b""),
    ("a.rst", b"", b"`a <", b""),
    ("a.rst", b"`", b" ", b"x"),
    ("a.rst", b"", b"*a ", b""),
    ("a.rst", b"a", b"\n", b"b"),
    ("a.rst", b".. note::\n", b"\n", b"   a"),
    ("a.rst", b".. note::\n", b"   :a: b\n", b""),
    ("a.html", b"", b"<", b""),
    ("wikitext", b"", b"<ref>", b""),
    ("wikitext", b"", b"<math>", b""),
    ("wikitext", b"", b"<pre>", b""),
    ("wikitext", b"", b"<nowiki>", b""),
    ("wikitext", b"", b"<!--", b""),
    ("wikitext", b"[", b"ftp:", b""),
    ("wikitext", b"= a", b" ", b"b"),
    ("wikitext", b"", b"{{", b""),
    ("wikitext", b"", b"[[", b""),
    ("wikitext", b"a", b"\n", b"b"),
    ("wikitext", b"(", b" ", b"b"),
    ("epub", b"", b"<p>One.</p>", b""),
    ("epub", b"", b"<div>", b""),
    ("list of parts", ITEM, b'<itemref idref="i"/>', b""),
    ("list of parts", ITEM, b"<item>", b"</item>"),
    ("list of parts", b'<itemref idref="i"/>', ITEM, b""),
    ("word", b"", b"<w:p><w:r><w:t>One.</w:t></w:r></w:p>", b""),
    ("word", b"<w:p>", b"<w:r><w:t>a</w:t></w:r>", b"</w:p>"),
    ("word", b"<w:tbl>", b"<w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc></w:tr>", b"</w:tbl>"),
    ("word", b"<w:tbl><w:tr>", b"<w:tc><w:tcPr><w:vMerge/></w:tcPr><w:p/></w:tc>", b"</w:tr></w:tbl>"),
    ("word", b"", b"<w:tbl><w:tr><w:tc><w:p/></w:tc></w:tr></w:tbl>", b""),
    ("word", b"<w:p>", b'<w:r><w:fldChar w:fldCharType="begin"/></w:r>', b"</w:p>"),
    ("word", b"<w:p>", b'<w:bookmarkStart w:name="a"/>', b"</w:p>"),
    ("word", b"", b"<w:p><w:pPr><w:numPr><w:ilvl w:val='1'/><w:numId w:val='1'/></w:numPr></w:pPr></w:p>", b""),
    ("pdf", b"BT /F 9 Tf ", b"9 0 Td (One two) Tj ", b"ET"),
    ("pdf", b"BT /F 9 Tf ", b"0 0 Td (a) Tj ", b"ET"),
    ("pdf", b"BT /F 9 Tf (", b"a", b") Tj ET"),
    ("pdf", b"BT /F 9 Tf (", b"- ", b") Tj ET"),
    ("pdf", b"", b"BT /F 9 Tf (One.) Tj ET\n", b""),
    ("pdf", b"", b"q ", b""),
    ("pdf", b"", b"[", b""),
    ("pdf", b"", b"<<", b""),
]
pytestmark = pytest.mark.slow
SIZE, TIMES = 60_000, 4


def seconds(read: Reader, attack: tuple[bytes, bytes, bytes], size: int) -> float:
    begin, unit, end = attack
    data = begin + unit * (size // len(unit)) + end
    took = []
    for _ in range(2):
        began = time.process_time()
        read(data)
        took.append(time.process_time() - began)
        if took[-1] > 1:
            break
    return min(took)


@pytest.mark.parametrize(("reader", "begin", "unit", "end"), ATTACKS, ids=lambda value: repr(value)[:24])
def test_time_grows_with_the_length(reader: str, begin: bytes, unit: bytes, end: bytes, tmp_path: Path) -> None:
    """Four times the length take four times as long: with the square it would be sixteen times."""
    read = READERS[reader] if reader in READERS else BOOKS.get(reader, file(reader))(tmp_path)
    attack = (begin, unit, end)
    small, large = seconds(read, attack, SIZE), seconds(read, attack, TIMES * SIZE)
    assert large < 10 * small + 0.6, f"{small:.3f} s, then {large:.3f} s"
