"""The tags by which a page, or a Link header, names other pages and says what may be done with it."""

from __future__ import annotations

import ctypes
import html.entities
import re
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from gristmill.html.charset import decoded_page
from gristmill.html.encodings import percent_encode
from gristmill.native import BYTES, POINTER, SIZE, U8, Function

# A tag: name, href (of frames: src; of <meta>: content), rel (of <meta>: name or property) and type (of <meta>:
# http-equiv); what is absent is empty.
Tag = tuple[str, str, str, str]
LINK_HEADER = re.compile(r"<([^<>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:\"[^\"]*\"|[^\s;,]+))*)")
# where a refresh leads (HTML §4.2.5.3)
REFRESH = re.compile(
    r"\s*(?:\d+[\d.]*|[\d.]+)(?:\s*[;,]\s*|\s+)(?:url\s*=\s*)?(?:\"([^\"]*)|'([^']*)|(\S.*))", re.IGNORECASE
)
PARAMETER = re.compile(r";\s*([\w*-]+)\s*=\s*(?:\"([^\"]*)\"|([^\s;,]+))")


class Entities(ctypes.Structure):
    """Named character references, sorted by name."""

    _fields_ = [
        *((name, POINTER) for name in ("names", "name_ends", "values", "value_ends")),
        ("count", ctypes.c_uint32),
    ]


LINKS = Function("gm_html_links", SIZE, BYTES, SIZE, ctypes.POINTER(Entities), ctypes.c_uint, U8)
GROWTH = 3  # bytes of rows for one of the page, at most


@cache
def entities() -> Entities:
    """The references that HTML names."""
    pairs = sorted((name.encode(), value.encode()) for name, value in html.entities.html5.items())
    arrays = [
        array
        for column in zip(*pairs, strict=True)
        for array in (
            np.frombuffer(b"".join(column), np.uint8),
            np.cumsum([len(item) for item in column], dtype=np.uint32),
        )
    ]
    made = Entities(*(array.ctypes.data for array in arrays), len(pairs))
    made.arrays = arrays  # keeps them alive
    return made


def page_tags(page: bytes, charset: str, *, xml: bool = False) -> list[Tag]:
    """The <a>, <area>, <base> and <link> with href, frames with src and <meta> with content of a page, in order, with
    character references decoded; `charset` is as the HTTP header names it, `xml` whether the page is XHTML. Any bytes
    are safe; memory and time grow with them.
    """
    # which charset it is matters only where more than ASCII is found, or where `<` may be part of another character
    rows = b"\xff" if b"\0" in page or b"\x1b" in page else scan(page, xml)
    if rows.isascii():
        return list(read_rows(rows))
    text, encoding = decoded_page(page, charset)
    tags = list(read_rows(scan(text, xml)))
    if encoding.startswith("utf") or encoding == "replacement":
        return tags
    return [
        tag if tag[1].isascii() or tag[0] == "meta" else (tag[0], in_encoding(tag[1], encoding), *tag[2:])
        for tag in tags
    ]


def in_encoding(href: str, encoding: str) -> str:
    """A URL whose query is encoded as that of its page (HTML §2.4.3, URL §4.4)."""
    url, mark, fragment = href.partition("#")
    path, question, query = url.partition("?")
    return path + question + percent_encode(query, encoding) + mark + fragment


def scan(page: bytes, xml: bool) -> bytes:
    """The rows of a page in a charset in which ASCII bytes are ASCII."""
    rows = np.empty(GROWTH * len(page), np.uint8)  # of which pages of memory that are not written take none
    return rows[: LINKS(page, len(page), entities(), xml, rows)].tobytes()


def read_rows(rows: bytes) -> Iterator[Tag]:
    """The tags that C wrote, as tokens.h says."""
    fields = iter(rows.decode("utf-8", "replace").split("\0"))
    return zip(fields, fields, fields, fields, strict=False)  # after the last zero byte there is an empty field


def header_tags(headers: Iterable[tuple[str, str]]) -> Iterator[Tag]:
    """The Link headers (RFC 8288) of a response as <link> tags."""
    for name, value in headers:
        if name.lower() == "link":
            for target, parameters in LINK_HEADER.findall(value):
                # of two parameters with one name the first counts
                found = {key.lower(): quoted or plain for key, quoted, plain in PARAMETER.findall(parameters)[::-1]}
                yield "link", target, found.get("rel", ""), found.get("type", "")


def refresh_target(tags: Iterable[Tag], headers: Iterable[tuple[str, str]]) -> str:
    """Where a page sends its readers, as written: the Refresh header, or the first <meta http-equiv=refresh>."""
    said = [value for name, value in headers if name.lower() == "refresh"]
    said += [value for name, value, _, kind in tags if name == "meta" and kind.strip().lower() == "refresh"]
    found = next(filter(None, map(REFRESH.match, said)), None)
    return next(filter(None, found.groups()), "").strip() if found else ""
