"""Books: EPUB (zipped XHTML, read in the order of its spine) and PDF (through PDFium, an extra)."""

from __future__ import annotations

import posixpath
import re
import statistics
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from gristmill.corpus.readers.licence import detect_licence
from gristmill.errors import MissingExtra
from gristmill.record import Record, unread

CONTAINER = "META-INF/container.xml"
CHAPTER_TYPES = ("application/xhtml+xml", "text/html")
MAX_PART = 64_000_000  # bytes of one unpacked part of an EPUB
MAX_INDEX = 4_000_000  # bytes of its list of parts
RUNNING_PAGES = 4  # pages from which lines that occur on most of them are headers and footers
EDGE_LINES = 2  # lines at the top and the bottom of a page that may be such
DAMAGE = (KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError)  # zipfile raises it
LEADERS = re.compile(r"(?:\. ?){6,}")  # of a table of contents
SENTENCE_END = re.compile(r"[.!?…:;。！？][\"'”’»)\]]*$")


def read_epub(path: Path, name: str) -> Iterator[Record]:
    """One record a part (mostly a chapter), in reading order; a book that cannot be opened is `damaged`.

    EPUB 3.3, §4.2.6.3 (container.xml) and §5.7 (spine). Parts are unpacked one at a time.
    """
    try:
        with path.open("rb") as raw, zipfile.ZipFile(raw) as book:
            title, licence, parts = list_parts(book)
            for number, part in enumerate(parts, 1):
                source = f"{name}:{part}"
                try:
                    body = read_part(book, part, MAX_PART)
                except DAMAGE:
                    yield unread(source, "damaged")
                    continue
                if body is None:
                    yield unread(source, "too_large")
                    continue
                about = f"{title} ({number})" if title else ""
                yield Record(body, CHAPTER_TYPES[0], f"{name}#{part}", source, "", about, None, licence, whole=True)
    except (*DAMAGE, ValueError, ElementTree.ParseError) as error:
        yield unread(name, "damaged", f"no EPUB: {error}")


def list_parts(book: zipfile.ZipFile) -> tuple[str, str, list[str]]:
    """Title, licence and the files of the spine. Raises KeyError, ValueError or ParseError where they are not said."""
    container = parse_index(book, CONTAINER)
    package_path = next((element.attrib["full-path"] for element in named(container, "rootfile")), "")
    package = parse_index(book, package_path)
    items = {item.attrib.get("id"): item.attrib for item in named(package, "item")}
    parts = []
    for reference in named(package, "itemref"):
        item = items.get(reference.attrib.get("idref"), {})
        properties = item.get("properties", "").split()
        if item.get("media-type") in CHAPTER_TYPES and item.get("href") and "nav" not in properties:
            href = unquote(item["href"].partition("#")[0])
            parts.append(posixpath.normpath(posixpath.join(posixpath.dirname(package_path), href)))
    title, rights = (
        next((" ".join("".join(found.itertext()).split()) for found in named(package, key)), "")
        for key in ("title", "rights")
    )
    return title, detect_licence([("dc.rights", rights)], ""), list(dict.fromkeys(parts))


def parse_index(book: zipfile.ZipFile, part: str) -> ElementTree.Element:
    """An XML part of a book. Raises ValueError where it is larger than any real one or has entities of its own."""
    data = read_part(book, part, MAX_INDEX)
    if data is None or b"<!ENTITY" in data:
        raise ValueError(part)
    return ElementTree.fromstring(data)


def read_part(book: zipfile.ZipFile, part: str, limit: int) -> bytes | None:
    """The bytes of one part, or None where they are more than `limit`, whatever the archive's index says."""
    with book.open(part) as file:
        data = file.read(limit + 1)
    return data if len(data) <= limit else None


def named(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """The elements of a name, in any namespace."""
    return (element for element in root.iter() if str(element.tag).rpartition("}")[2] == name)


def read_pdf(path: Path, name: str) -> Iterator[Record]:
    """One record: the text of all pages, without running headers and footers, its lines joined to paragraphs.

    Raises MissingExtra where that is not installed; a file that cannot be opened is `damaged`, one without text (a
    scan) `empty`.
    """
    if find_spec("pypdfium2") is None:
        raise MissingExtra(f"{path} is a PDF file", "pip install 'gristmill[pdf]', or leave PDF files out")
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path.read_bytes())
    except pypdfium2.PdfiumError as error:  # it says where a password is wanted
        yield unread(name, "damaged", str(error))
        return
    try:
        title = str(document.get_metadata_dict().get("Title", ""))
        pages = [page_lines(document, number) for number in range(len(document))]
    finally:
        document.close()
    text = "\n\n".join(paragraphs(without_running_lines(pages)))
    yield Record(text.encode("utf-8", "replace"), "text/plain", name, name, "utf-8", title)


def page_lines(document: object, number: int) -> list[str]:
    """The lines of one page; none where the page is damaged."""
    import pypdfium2

    try:
        page = document[number]  # type: ignore[index]
        text = page.get_textpage().get_text_range()
    except pypdfium2.PdfiumError:
        return []
    # U+FFFE stands where PDFium joins a word that was divided at the line's end
    return [" ".join(line.split()) for line in text.replace("\ufffe\r\n", "").replace("\ufffe", "").splitlines()]


def without_running_lines(pages: list[list[str]]) -> list[str]:
    """The lines of all pages, without tables of contents and without what is at the edges of most pages, the same
    but for its digits.
    """
    keys: Counter[str] = Counter()
    for lines in pages:
        edges = lines[:EDGE_LINES] + lines[EDGE_LINES:][-EDGE_LINES:]
        keys.update({re.sub(r"\d+", "0", line) for line in edges if line})
    running = {key for key, count in keys.items() if len(pages) >= RUNNING_PAGES and count > len(pages) / 2}
    kept = []
    for lines in pages:
        for place, line in enumerate(lines):
            at_edge = place < EDGE_LINES or place >= len(lines) - EDGE_LINES
            if not (at_edge and re.sub(r"\d+", "0", line) in running) and not LEADERS.search(line):
                kept.append(line)
    return kept


def paragraphs(lines: list[str]) -> Iterator[str]:
    """Lines joined to paragraphs: one ends at an empty line, and with a sentence in a line that is not full."""
    lengths = [len(line) for line in lines if line]
    full = 0.8 * statistics.quantiles(lengths, n=10)[-1] if len(lengths) > 1 else 0
    current = ""
    for line in lines:
        divided = current.endswith("-") and line[:1].islower()
        if line:
            current = current[:-1] + line if divided else f"{current} {line}".strip()
        if current and (not line or (len(line) < full and SENTENCE_END.search(line))):
            yield current
            current = ""
    if current:
        yield current
