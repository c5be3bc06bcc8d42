"""From the bytes of a page to UTF-8, as browsers do it (WHATWG Encoding and HTML §13.2.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from gristmill.inputs.text_files import marked_charset, mostly_utf8

DECLARED = re.compile(rb"<(?:meta\b[^>]*?charset|\?xml\b[^>]*?encoding)\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE)
COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
PRESCAN = 4096  # bytes; the standard says 1024, and pages put it later
WIDER = {  # what the standard means by these names: Python's codecs of that name know fewer characters
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso-8859-11": "cp874",
}


def to_utf8(body: bytes, charset: str = "") -> bytes:
    """A page as valid UTF-8: by BOM, the HTTP header's charset, the page's own declaration, then detection.

    A declaration that the bytes contradict is passed over: wrong headers are common. Nothing is raised; what cannot be
    decoded becomes U+FFFD.
    """
    if marked := marked_charset(body):
        return as_utf8(body, marked)
    declared: list[str] = []
    for name in declarations(body, charset):
        declared.append(name)
        if name and (name == "utf-8" or not is_utf8(body) or body.isascii() or not unlikely(name)):
            try:
                return body if name == "utf-8" and is_utf8(body) else body.decode(name).encode("utf-8")
            except (UnicodeError, LookupError):
                continue
    if is_utf8(body):
        return body
    guess = codec_of(detect_encoding(body) or "")
    first = next((name for name in declared if name), guess)
    if first == "utf-8" and not mostly_utf8(body):
        first = guess if guess != "utf-8" else "cp1252"
    return as_utf8(body, first or "cp1252")


def declarations(body: bytes, charset: str) -> Iterator[str]:
    """The codecs that the HTTP header and the page itself name, in order of trust; empty where one names none."""
    yield codec_of(charset, wide=b"\0" in body[:PRESCAN])
    yield codec_of(declared_charset(body))


def declared_charset(body: bytes) -> str:
    """What the page says of itself, outside comments."""
    found = DECLARED.search(COMMENT.sub(b"", body[:PRESCAN]))
    return found.group(1).decode("ascii", "replace") if found else ""


def codec_of(label: str, *, wide: bool = False) -> str:
    """Python's codec for a label of the standard, or an empty string where there is none; of two bytes a character only
    where it may be `wide`.
    """
    name = map_encoding_to_html5(label.strip().lower(), fallback_utf8=False) if label else None
    if not name:
        return ""
    name = name.lower()
    # a page in UTF-16 cannot have been read as far as its declaration (§13.2.3.2)
    return "utf-8" if name.startswith("utf-16") and not wide else WIDER.get(name, name)


def unlikely(name: str) -> bool:
    """Whether a declaration of this codec is a server's default rather than a statement: valid UTF-8 contradicts it."""
    return name == "cp1252"


def is_utf8(body: bytes) -> bool:
    """Whether all of it is valid UTF-8."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(body: bytes, name: str) -> bytes:
    """Decode with replacement characters and encode again."""
    return body.decode(name, "replace").encode("utf-8", "replace")
