"""What a body is: its media type and charset, from the server's word and from the bytes."""

from __future__ import annotations

import codecs
import re
from email.message import Message

from resiliparse.parse.encoding import detect_encoding

from gristmill.crawl.links import known_charset

LONGEST_TYPE = 1_000  # characters of a Content-Type header that are read: the parser's time grows with their square
UNKNOWN = ("", "application/octet-stream", "application/unknown", "unknown/unknown", "*/*", "binary/octet-stream")
SNIFFED = 1445  # bytes that decide, https://mimesniff.spec.whatwg.org/#reading-the-resource-header
HTML = re.compile(
    rb"\s*(?:<!--|<(?:!doctype\s+html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)[\s>])", re.I
)
XML = re.compile(rb"\s*(?:<\?xml\b|<(?:rss|feed|urlset|sitemapindex|rdf:rdf)[\s>])", re.I)
SIGNATURES = (  # https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern and the sections after it
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"RIFF", "image/webp"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
)
BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
META_CHARSET = re.compile(rb"<meta[^>]{0,300}?\bcharset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
META_BYTES = 4096  # of the head in which a charset is looked for


def content_type(value: str) -> tuple[str, str]:
    """Media type and charset of a Content-Type header, both in lower case and possibly empty."""
    if ";" not in value and value.islower():
        return value.strip(), ""
    message = Message()
    message["Content-Type"] = value[:LONGEST_TYPE]
    kind = value.partition(";")[0].strip().lower()
    return kind, str(message.get_content_charset("") or "")


def payload_type(kind: str, body: bytes) -> str:
    """The media type: the server's, unless it says nothing, or says text of what is none."""
    head = body[:SNIFFED]
    if kind == "text/plain":
        return kind if is_text(head) else sniff(head)
    return sniff(head) if kind in UNKNOWN else kind


def sniff(head: bytes) -> str:
    """The media type that the first bytes show."""
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return kind
    if HTML.match(head.removeprefix(codecs.BOM_UTF8)):
        return "text/html"
    if XML.match(head.removeprefix(codecs.BOM_UTF8)):
        return "text/xml"
    return "text/plain" if is_text(head) else "application/octet-stream"


def is_text(head: bytes) -> bool:
    """Whether no byte is one that text never holds."""
    return head.startswith(tuple(mark for mark, _ in BOMS)) or not BINARY.search(head)


def charset_of(body: bytes, named: str) -> str:
    """The charset of an HTML page: byte order mark, header, markup, then what the bytes look like."""
    for mark, charset in BOMS:
        if body.startswith(mark):
            return charset
    if charset := known_charset(named):
        return charset
    found = META_CHARSET.search(body[:META_BYTES])
    if found and (charset := known_charset(found[1].decode("ascii", "replace"))):
        return "utf-8" if charset.startswith("utf-16") else charset  # it could not have been read otherwise
    if body.isascii():
        return "utf-8"
    return known_charset(detect_encoding(body) or "") or "utf-8"
