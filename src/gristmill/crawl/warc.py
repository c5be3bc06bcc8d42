"""WARC 1.1 files (ISO 28500:2017), one gzip member a record: written byte for byte the same from the same pages."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecordType
from isal import igzip_lib

from gristmill import __version__
from gristmill.crawl.client import CutShort, Response, decode, parse_headers
from gristmill.crawl.content_type import content_type, payload_type
from gristmill.errors import Damaged
from gristmill.inputs.text_files import parse
from gristmill.record import Record

NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122 appendix C, for URLs
LEVEL = 2  # of ISA-L: 9 times as fast as zlib's 6, files 17 % larger (docs/notebook/crawl.md)
CHANGED = {"content-encoding", "transfer-encoding", "content-length"}  # the body is stored decoded
FIELDS = {"Content-Type": "application/warc-fields"}
DECISIONS = "WARC-JSON-Metadata"  # field with what was decided of a page: robots, signals, licence
MAX_BODY = 100_000_000  # bytes of a stored body, unpacked
CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]{0,100}\r\n")
PAGES = ("response", "resource", "conversion")  # types of records that may hold a page
OTHERS = ("warcinfo", "request", "metadata", "revisit", "continuation")
SUCCESS = (200, 203)  # 203: changed on the way (RFC 9110 §15.3.4)
STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?!\d)", re.IGNORECASE)
BLANK = re.compile(rb"\r?\n\r?\n")
REVISIT = "http://netpreserve.org/warc/1.1/revisit/"  # WARC 1.1 §6.7.2 and §6.7.3
SAME_PAYLOAD, NOT_MODIFIED = REVISIT + "identical-payload-digest", REVISIT + "server-not-modified"


def record(kind: str, headers: Mapping[str, str], block: bytes, *, payload: str = "") -> tuple[str, bytes]:
    """Id and compressed bytes of one record. The id is made from what it says: same record, same id.

    `payload` is the payload's digest where there is one.
    """
    digest = sha1(block)
    basis = "\0".join((kind, headers.get("WARC-Target-URI", ""), headers.get("WARC-Date", ""), digest))
    identity = f"<urn:uuid:{uuid.uuid5(NAMESPACE, basis)}>"
    lines = ["WARC/1.1", f"WARC-Type: {kind}", f"WARC-Record-ID: {identity}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    lines.append(f"WARC-Block-Digest: {digest}")
    if payload:
        lines.append(f"WARC-Payload-Digest: {payload}")
    lines.append(f"Content-Length: {len(block)}")
    data = b"".join(("\r\n".join(lines).encode("utf-8"), b"\r\n\r\n", block, b"\r\n\r\n"))
    return identity, igzip_lib.compress(data, LEVEL, igzip_lib.COMP_GZIP)


def info(date: str, agent: str, name: str) -> bytes:
    """The first record of a file: what wrote it."""
    fields = (
        f"software: gristmill/{__version__}\r\nformat: WARC File Format 1.1\r\n"
        f"conformsTo: https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/\r\n"
        f"robots: obey (RFC 9309)\r\nhttp-header-user-agent: {agent}\r\n"
    )
    return record("warcinfo", {"WARC-Date": date, "WARC-Filename": name, **FIELDS}, fields.encode())[1]


@dataclass(frozen=True)
class Original:
    """An earlier record with the same payload, for a revisit."""

    url: str
    date: str


def exchange(
    response: Response,
    date: str,
    request: bytes,
    notes: list[tuple[str, str]],
    decisions: Mapping[str, Any],
    digest: str,
    original: Original | None = None,
) -> bytes:
    """One fetch as response (or, where the payload is that of `original`, revisit), request and metadata records."""
    about = {"WARC-Date": date, "WARC-Target-URI": response.url}
    kept = [(k if k.lower() not in CHANGED else f"X-Crawler-{k}", v) for k, v in response.headers]
    kept += [] if original else [("Content-Length", str(len(response.body)))]
    head = f"HTTP/1.1 {response.status} {response.reason}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in kept)
    fields = {**about, "Content-Type": "application/http;msgtype=response", "WARC-IP-Address": response.address}
    fields["WARC-Protocol"] = response.protocol
    if original:
        fields["WARC-Profile"] = NOT_MODIFIED if response.status == 304 else SAME_PAYLOAD
        fields |= {"WARC-Refers-To-Target-URI": original.url, "WARC-Refers-To-Date": original.date}
    else:
        declared = content_type(response.header("content-type"))[0]
        found = payload_type(declared, response.body) if response.body else declared
        fields["WARC-Identified-Payload-Type"] = found if found != declared else ""
    if decisions:
        fields[DECISIONS] = json.dumps(decisions, ensure_ascii=True, sort_keys=True)
    block = f"{head}\r\n".encode("latin-1", "replace") + (b"" if original else response.body)
    identity, data = record("revisit" if original else "response", fields, block, payload=digest)
    link = {**about, "WARC-Concurrent-To": identity}
    said = "".join(f"{name}: {value}\r\n" for name, value in notes).encode()
    _, second = record("request", {**link, "Content-Type": "application/http;msgtype=request"}, request)
    return data + second + record("metadata", {**link, **FIELDS}, said)[1]


def sha1(data: bytes) -> str:
    """A labelled digest as WARC files carry it."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def to_record(fields: Mapping[str, str], block: bytes, source: str) -> Record | str:
    """The page in a record, from its fields (names in lower case) and its block; or why it holds none: its type, or
    what the server said.

    Pages are in responses of success, in resources, and in conversions: the text that a WET file has of a page.
    """
    kind = fields.get("warc-type", "").lower()
    if kind not in PAGES:
        return kind if kind in OTHERS else "other_type"
    headers: list[tuple[str, str]] = []
    given = {"content-type": fields.get("content-type", "")}
    if kind == "response":
        head, block = [*BLANK.split(block, 1), b""][:2]
        status = STATUS.match(head)
        if not status:
            return "no_http"
        if int(status[1]) not in SUCCESS:
            return f"status_{status[1].decode()}"
        headers = parse_headers(head.split(b"\n")[1:])
        given = {name.lower(): value for name, value in reversed(headers)}  # the first of each name counts
        block = decoded(block, given.get("transfer-encoding", ""), given.get("content-encoding", ""))
    media, charset = content_type(given.get("content-type", ""))
    identified = fields.get("warc-identified-payload-type", "")
    if identified and media in ("", "application/octet-stream", "text/plain"):
        media = identified.lower()
    conversion = kind == "conversion"
    return Record(
        block,
        "text/plain" if conversion else payload_type(media, block),
        fields.get("warc-target-uri", "").strip("<>"),
        source,
        "utf-8" if conversion else charset,
        fetched_at=moment(fields.get("warc-date", "")),
        headers=None if conversion else tuple(headers),
        decisions=decisions_of(fields.get(DECISIONS.lower(), "")),
    )


def moment(date: str) -> datetime | None:
    """A WARC-Date, or None where it is none."""
    try:
        found = datetime.fromisoformat(date)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # in UTC, of a year that is none
        return None


def decoded(body: bytes, transfer: str, coding: str) -> bytes:
    """A stored body without its encodings. Many files name one that was undone before they were written."""
    if "chunked" in transfer.lower():
        body = without_chunks(body)
    try:
        return decode(body, coding.lower(), MAX_BODY)[:MAX_BODY] if coding else body
    except CutShort as error:
        return error.begin[:MAX_BODY]  # archives cut long bodies, and say so
    except OSError:
        return body


def without_chunks(body: bytes) -> bytes:
    """The content of a chunked body (RFC 9112 §7.1), or the body itself where it is not chunked."""
    parts: list[bytes] = []
    at = 0
    while head := CHUNK.match(body, at):
        size = int(head[1], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[head.end() : head.end() + size])
        at = head.end() + size + 2
    return b"".join(parts) if parts and at >= len(body) else body


def decisions_of(text: str) -> dict[str, Any]:
    """What the crawl noted of a page, or nothing."""
    found = parse(text) if text else {}
    return found if isinstance(found, dict) else {}


def read_outlinks(path: Path, offset: int) -> list[str]:
    """The links that a page named, from the metadata record that belongs to the record at `offset`."""
    kinds = WarcRecordType.response | WarcRecordType.revisit | WarcRecordType.request | WarcRecordType.metadata
    with path.open("rb") as file:
        file.seek(offset)
        for number, item in enumerate(ArchiveIterator(file, record_types=kinds, parse_http=False)):
            if item.record_type == WarcRecordType.metadata:
                lines = item.reader.read().decode("utf-8", "replace").splitlines()
                return [line.split(" ")[1] for line in lines if line.startswith("outlink: ")]
            if number > 2:
                break
    return []


def warc_name(number: int) -> str:
    """The name of a stage's WARC files, in order."""
    return f"pages-{number:05d}.warc.gz"


def open_at(path: Path, length: int) -> BinaryIO:
    """Open a file to append to, cut back to a length that is known to be good. Raises Damaged where it is shorter."""
    file = path.open("ab")
    if file.tell() < length:
        raise Damaged(f"{path} is damaged", f"remove {path.parent}, and give the command again: it begins anew")
    file.truncate(length)
    file.seek(0, os.SEEK_END)
    return file


def sync(file: BinaryIO) -> None:
    """Bring what was written to the disk."""
    file.flush()
    os.fsync(file.fileno())


def date_now() -> str:
    """The time for WARC-Date (RFC 3339), or the one in SOURCE_DATE_EPOCH where a build must be reproducible."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
