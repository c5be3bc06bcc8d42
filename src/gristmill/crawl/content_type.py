"""What a body is: its media type, by what the server says and by the bytes; and the charset that the server names."""

from __future__ import annotations

import codecs
import re
from email.message import Message

from gristmill.inputs.text_files import marked_charset

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
    return bool(marked_charset(head)) or not BINARY.search(head)
