"""WARC 1.1 files (ISO 28500:2017), one gzip member a record: written byte for byte the same from the same pages."""

from __future__ import annotations

import base64
import gzip
import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from gristmill import __version__
from gristmill.errors import UserError

Headers = Sequence[tuple[str, str]]
NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122 appendix C, for URLs


class WarcWriter:
    """Appends records to an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def record(self, kind: str, headers: Mapping[str, str], block: bytes, *, payload: bytes | None = None) -> str:
        """Write one record and return its id, which is made from what it says (same record, same id)."""
        digest = sha1(block)
        basis = "\0".join((kind, headers.get("WARC-Target-URI", ""), headers.get("WARC-Date", ""), digest))
        identity = f"<urn:uuid:{uuid.uuid5(NAMESPACE, basis)}>"
        lines = ["WARC/1.1", f"WARC-Type: {kind}", f"WARC-Record-ID: {identity}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append(f"WARC-Block-Digest: {digest}")
        if payload is not None:
            lines.append(f"WARC-Payload-Digest: {sha1(payload)}")
        lines.append(f"Content-Length: {len(block)}")
        data = "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + block + b"\r\n\r\n"
        self.file.write(gzip.compress(data, compresslevel=6, mtime=0))
        return identity

    def info(self, date: str, agent: str) -> None:
        """The first record: what wrote this file."""
        fields = (
            f"software: gristmill/{__version__}\r\nformat: WARC File Format 1.1\r\nhttp-header-user-agent: {agent}\r\n"
        )
        self.record("warcinfo", {"WARC-Date": date, "Content-Type": "application/warc-fields"}, fields.encode())

    def exchange(
        self, url: str, date: str, address: str, request: bytes, status: str, headers: Headers, body: bytes, note: str
    ) -> None:
        """One fetch: response, request and metadata records."""
        about = {"WARC-Date": date, "WARC-Target-URI": url}
        head = status + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
        kind = {"Content-Type": "application/http;msgtype=response", "WARC-IP-Address": address}
        block = head.encode("latin-1", "replace") + body
        identity = self.record("response", {**about, **{k: v for k, v in kind.items() if v}}, block, payload=body)
        link = {**about, "WARC-Concurrent-To": identity}
        self.record("request", {**link, "Content-Type": "application/http;msgtype=request"}, request)
        self.record("metadata", {**link, "Content-Type": "application/warc-fields"}, note.encode())


def sha1(data: bytes) -> str:
    """A labelled digest as WARC files carry it."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


@dataclass(frozen=True)
class Page:
    """One fetched page."""

    url: str
    body: bytes
    content_type: str  # without parameters, lower case
    charset: str  # as the header names it; may be empty
    fetched_at: datetime | None
    source: str  # `file:offset`


def read_pages(path: Path) -> Iterator[Page]:
    """Yield the responses with status 200 of a WARC file, whoever wrote it.

    Raises UserError naming file and offset where the file ends within a record or cannot be read; whole records
    before that point have been yielded by then.
    """
    offset = size = 0
    try:
        check_gzip_end(path)
        with path.open("rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
                offset, size = record.stream_pos, size + 1
                page = to_page(record, f"{path.name}:{offset}")
                if page:
                    yield page
    except (EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise UserError(
            f"{path} is truncated or damaged after offset {offset:,}: {error}",
            "fetch it again, or save the whole records with `warcio recompress`",
        ) from error
    if not size and not any(True for _ in ArchiveIterator(path.open("rb"), parse_http=False)):
        raise UserError(f"{path} holds no WARC record", "check that it is a WARC file")


def check_gzip_end(path: Path) -> None:
    """Raise EOFError where a gzip file ends within a member: FastWARC passes over that in silence."""
    with path.open("rb") as raw:
        if raw.read(2) != b"\x1f\x8b":
            return
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def to_page(record: WarcRecord, source: str) -> Page | None:
    """A page from a response record, or None where it is no successful HTTP response."""
    http = record.http_headers
    if http is None or http.status_code != 200:
        return None
    message = Message()
    message["Content-Type"] = http.get("Content-Type", "") or "application/octet-stream"
    date = record.record_date
    return Page(
        url=(record.headers.get("WARC-Target-URI") or "").strip("<>"),
        body=record.reader.read(),
        content_type=message.get_content_type(),
        charset=str(message.get_content_charset("")),
        fetched_at=date.astimezone(UTC) if date else None,
        source=source,
    )
