"""From the bytes of a page to UTF-8, as browsers do it (WHATWG Encoding and HTML §13.2.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gristmill.html.encodings import decode, encoding_of
from gristmill.inputs.text_files import detected, marked_charset, mostly_utf8

DEFAULT = "windows-1252"  # of servers and browsers: declared, it is no statement
PRESCAN = 1 << 14  # bytes; the standard says 1024, but a parser that meets one later begins again
# what the prescan meets: comments, <meta>, other tags, declarations and the like (HTML §13.2.3.2)
MARKUP = re.compile(
    rb"<(?:!--(?P<comment>)|(?P<meta>meta)(?=[\t\n\f\r /])|/?[a-z](?P<tag>)[^\t\n\f\r >]*|[!/?])", re.IGNORECASE
)
COMMENT_END = re.compile(rb"(?<=--)>|(?<=<!--)>|(?<=<!---)>")
ATTRIBUTE = re.compile(
    rb"[\t\n\f\r /]*(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*)[\t\n\f\r ]*"
    rb"(?:=[\t\n\f\r ]*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<plain>[^\"'\t\n\f\r >][^\t\n\f\r >]*)|(?=>)))?"
)
TAG_END = re.compile(rb"[\t\n\f\r /]*>")
IN_CONTENT = re.compile(
    rb"charset[\t\n\f\r ]*=[\t\n\f\r ]*(?:\"([^\"]*)\"|'([^']*)'|([^\"'\t\n\f\r ;][^\t\n\f\r ;]*))", re.IGNORECASE
)
XML = re.compile(rb"<\?xml\b[^>]*?\bencoding\s*=\s*(?:\"([^\">]*)\"|'([^'>]*)')")


def to_utf8(body: bytes, charset: str = "") -> bytes:
    """A page as valid UTF-8: by BOM, the HTTP header's charset, the page's own declaration, then detection.

    A declaration that the bytes contradict is passed over: wrong headers are common. Nothing is raised; what cannot be
    decoded becomes U+FFFD.
    """
    return decoded_page(body, charset)[0]


def decoded_page(body: bytes, charset: str = "") -> tuple[bytes, str]:
    """As `to_utf8`, and the encoding that it was in (encodings.py)."""
    if marked := marked_charset(body):
        return as_utf8(body, marked), marked
    declared: list[str] = []
    for name in declarations(body, charset):
        declared.append(name)
        likely = name != DEFAULT  # which valid UTF-8 contradicts
        if name and (name == "utf-8" or not is_utf8(body) or body.isascii() or likely):
            if name == "utf-8" and is_utf8(body):
                return body, name
            text = decode(body, name)
            if "\ufffd" not in text or name == "replacement":
                return text.encode(), name
    if is_utf8(body):
        return body, "utf-8"
    guess = encoding_of(detected(body).replace("cp949", "windows-949"))
    first = next((name for name in declared if name), guess)
    if first == "utf-8" and not mostly_utf8(body):
        first = guess if guess != "utf-8" else DEFAULT
    first = first or DEFAULT
    return as_utf8(body, first), first


def declarations(body: bytes, charset: str) -> Iterator[str]:
    """The encodings that the HTTP header and the page itself name, in order of trust; empty where one names none."""
    named = encoding_of(charset)
    # a page that is read as ASCII is not of two bytes a character, whatever a header says
    yield "utf-8" if named.startswith("utf-16") and b"\0" not in body[:PRESCAN] else named
    yield declared_encoding(body)


def declared_encoding(body: bytes) -> str:
    """The encoding that a page says of itself (HTML §13.2.3.2, the prescan), or an empty string."""
    head = body[:PRESCAN]
    if (found := XML.match(head)) and (name := encoding_of((found[1] or found[2] or b"").decode("latin-1"))):
        return in_ascii(name)
    at = 0
    while found := MARKUP.search(head, at):
        at = found.end()
        if found["comment"] is not None:
            end = COMMENT_END.search(head, found.start() + 4)
            at = end.end() if end else len(head)
        elif found["meta"] or found["tag"] is not None:
            given: dict[bytes, bytes] = {}
            while attribute := ATTRIBUTE.match(head, at):
                at = attribute.end()
                value = attribute["double"] or attribute["single"] or attribute["plain"] or b""
                given.setdefault(attribute["name"].lower(), value)
            if not TAG_END.match(head, at):
                return ""  # the page, or what is looked at, ends within a tag
            if found["meta"] and (name := meta_encoding(given)):
                return in_ascii(name)
        else:
            at = head.find(b">", at) + 1 or len(head)
    return ""


def meta_encoding(given: Mapping[bytes, bytes]) -> str:
    """The encoding that a <meta> with these attributes names, or an empty string."""
    if b"charset" in given:
        return encoding_of(given[b"charset"].decode("latin-1"))
    if given.get(b"http-equiv", b"").lower() == b"content-type" and (
        found := IN_CONTENT.search(given.get(b"content", b""))
    ):
        return encoding_of(next(filter(None, found.groups()), b"").decode("latin-1"))
    return ""


def in_ascii(name: str) -> str:
    """What a declaration means that was read as ASCII: a page in UTF-16 could not have been read as far as it."""
    return "utf-8" if name.startswith("utf-16") else "windows-1252" if name == "x-user-defined" else name


def is_utf8(body: bytes) -> bool:
    """Whether all of it is valid UTF-8."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(body: bytes, name: str) -> bytes:
    """Decode with replacement characters and encode again."""
    return decode(body, name).encode("utf-8", "replace")
