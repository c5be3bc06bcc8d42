"""Word documents (`.docx`), through mammoth: headings, lists and tables as the styles name them, without pictures."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from gristmill.corpus.readers.books import read_part
from gristmill.record import Record, unread

MAX_UNPACKED = 256_000_000  # bytes of all parts: an archive may unpack to far more than any document holds
MAX_MARKUP = 64_000_000  # bytes of those that are XML, whose parser's time grows with the square of a text in them
PROPERTIES = "docProps/core.xml"
LONE_PARAGRAPH = re.compile(r"<td([^>]*)><p>((?:(?!</?p>|</td>).)*)</p></td>", re.DOTALL)  # of a cell: plain text then
FIRST_ROW = re.compile(r"<table><tr>.*?</tr>", re.DOTALL)  # Word rarely says that a row is a heading
TITLE = "{http://purl.org/dc/elements/1.1/}title"


def read_docx(path: Path, name: str) -> Iterator[Record]:
    """One record. Raises what zipfile, the XML parser and mammoth raise where the file is damaged."""
    import mammoth

    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            markup = sum(part.file_size for part in parts if part.filename.endswith((".xml", ".rels")))
            if sum(part.file_size for part in parts) > MAX_UNPACKED or markup > MAX_MARKUP:
                why = f"unpacks to over {MAX_UNPACKED:,} bytes, or {MAX_MARKUP:,} of XML: divide it"
                yield unread(name, "too_large", why)
                return
            title = title_of(archive)
        file.seek(0)
        body = mammoth.convert_to_html(file, convert_image=lambda _: []).value
    body = LONE_PARAGRAPH.sub(r"<td\1>\2</td>", body)
    body = FIRST_ROW.sub(lambda row: row[0].replace("<td", "<th").replace("</td", "</th"), body)
    page = f"<html><head><title>{escape(title)}</title></head><body>{body}</body></html>"
    yield Record(page.encode("utf-8", "replace"), "text/html", name, name, "utf-8", title, whole=True)


def title_of(archive: zipfile.ZipFile) -> str:
    """The title among the document's properties, or an empty string."""
    if PROPERTIES not in archive.namelist():
        return ""
    data = read_part(archive, PROPERTIES, 1 << 20) or b""
    if not data or b"<!ENTITY" in data:
        return ""
    return (ElementTree.fromstring(data).findtext(TITLE) or "").strip()
