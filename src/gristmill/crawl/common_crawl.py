"""Stage `common_crawl`: a Common Crawl snapshot → the WARC records wanted, copied byte for byte.

With `hosts` and `kind = "warc"`, the URL index says where the records are and each is read by its range; otherwise
whole WARC or WET files are read in the snapshot's (random) order. All through fsspec: HTTP, S3 or a folder.

Memory holds the records in flight, and in whole-file mode a piece of the file. Time grows with the records (index) or
the bytes (files) read.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from gristmill import __version__
from gristmill.crawl.cdx import Entry, search
from gristmill.crawl.content_type import content_type
from gristmill.crawl.urls import host_of, normalise
from gristmill.crawl.warc import open_at, sync, warc_name
from gristmill.errors import UserError
from gristmill.files import write_text
from gristmill.manifest import WORK, Manifest
from gristmill.processes import in_order
from gristmill.progress import Progress
from gristmill.recipe import CommonCrawl

THREADS = 8  # ranges in flight: what the host asks of its users is moderation
TRIES = 6
RETRY_SECONDS = 1.0  # doubled at every try
PIECE = 1 << 22  # bytes of a whole file read at once
FED = 1 << 16  # bytes of it unpacked at once
MAX_RECORD = 50_000_000  # bytes packed and unpacked
COMMIT_SECONDS = 2.0
WARC_BYTES = 1_000_000_000
T = TypeVar("T")


@dataclass
class Progressed:
    """How far the copy has come; what is behind `offset` and `log` in the files is cut off on resume."""

    records: int = 0  # looked at
    pages: int = 0  # kept
    file: int = 0  # of the output
    offset: int = 0
    log: int = 0  # length of records.jsonl
    source: int = 0  # whole files finished
    at: int = 0  # within the next
    dropped: Counter[str] = field(default_factory=Counter)


def run(inputs: Mapping[str, Path], params: CommonCrawl, out: Path) -> Manifest:
    """Write `pages-*.warc.gz` and `records.jsonl`: each page's URL, its place in the snapshot, and its place here.

    Raises UserError where the snapshot cannot be read or nothing in it is wanted.
    """
    store = Store(params.base)
    with Progress("common_crawl", params.max_pages, "pages") as bar:
        copy = Copy(params, out, bar)
        by_index = params.kind == "warc" and bool(params.hosts)
        (copy_indexed if by_index else copy_files)(store, copy)
    copy.commit()
    copy.file.close()
    copy.log.close()
    done = copy.done
    if not done.pages:
        copy.state.unlink()
        raise UserError(
            f"nothing wanted in {params.base} {params.snapshot}: {dict(done.dropped) or 'no records'}",
            "check snapshot, hosts, languages and mimes",
        )
    size = sum(path.stat().st_size for path in out.glob("*.warc.gz"))
    return Manifest(counts={"records": done.records, "pages": done.pages, "bytes": size}, dropped=dict(done.dropped))


class Store:
    """Reads files of a snapshot through fsspec, and again where that fails for the moment."""

    def __init__(self, base: str) -> None:
        from fsspec.core import url_to_fs

        try:
            named = {"client_kwargs": {"headers": {"User-Agent": f"gristmill/{__version__}"}}}
            self.files, self.root = url_to_fs(base, **(named if base.startswith("http") else {}))
        except (ImportError, ValueError) as error:
            raise UserError(f"common_crawl.base: {error}", "install what fsspec names, or use https://") from error
        self.root = self.root.rstrip("/")

    def read(self, path: str, start: int, end: int) -> bytes:
        """Those bytes of a file."""
        data: bytes = self.patiently(path, lambda full: self.files.cat_file(full, start, end))
        if len(data) > end - start:
            raise UserError(f"{self.root} does not serve ranges ({path})", "use a server that does, as nginx")
        return data

    def whole(self, path: str) -> bytes:
        """A small file."""
        data: bytes = self.patiently(path, self.files.cat_file)
        return data

    def size(self, path: str) -> int:
        """Length of a file in bytes."""
        size = self.patiently(path, self.files.size)
        if size is None:
            raise UserError(f"{self.root} does not say how long {path} is", "use a server that does, as nginx")
        return int(size)

    def patiently(self, path: str, work: Callable[[str], T]) -> T:
        """Do it, several times if need be. Raises UserError where it does not work out."""
        for number in range(TRIES):
            try:
                return work(f"{self.root}/{path}")
            except Exception as error:  # each of fsspec's back ends has errors of its own
                # over HTTP, fsspec says "not found" of what it could not reach, too
                answer = getattr(error.__cause__, "status", 404 if error.__cause__ is None else 0)
                if isinstance(error, FileNotFoundError) and answer == 404:
                    raise UserError(f"{self.root} has no {path}", "check base and snapshot") from error
                if number == TRIES - 1:
                    raise UserError(
                        f"cannot read {self.root}/{path}: {error or type(error).__name__}",
                        "check the connection; the same command goes on from here",
                    ) from error
            time.sleep(RETRY_SECONDS * 2**number)
        raise AssertionError("unreachable")


class Stored(NamedTuple):
    """A record of the snapshot."""

    url: str
    path: str  # of its file
    offset: int
    raw: bytes


class Copy:
    """The output: records appended, noted, and made durable together."""

    def __init__(self, params: CommonCrawl, out: Path, bar: Progress) -> None:
        self.params, self.out, self.bar = params, out, bar
        self.state = out / WORK / "progress.json"
        self.state.parent.mkdir(exist_ok=True)
        saved = json.loads(self.state.read_text()) if self.state.exists() else {}
        self.done = Progressed(**saved | {"dropped": Counter(saved.get("dropped"))})
        bar.resume(self.done.pages)
        self.log = open_at(out / "records.jsonl", self.done.log)
        self.file = open_at(out / warc_name(self.done.file), self.done.offset)
        self.committed = time.monotonic()

    def full(self) -> bool:
        """Whether enough pages are kept."""
        return self.done.pages >= self.params.max_pages

    def settle(self, found: Stored | None, rule: str) -> None:
        """Append a record and note where it came from, or count the rule that leaves it out."""
        if rule or not found:
            self.done.dropped[rule] += 1
            return
        if self.file.tell() > WARC_BYTES:
            sync(self.file)
            self.file.close()
            self.done.file += 1
            self.file = open_at(self.out / warc_name(self.done.file), 0)
        source = f"{warc_name(self.done.file)}:{self.file.tell()}"
        row = {"url": found.url, "file": found.path, "offset": found.offset, "length": len(found.raw), "source": source}
        self.log.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self.file.write(found.raw)
        self.done.pages += 1
        self.bar.advance(1, f"{self.done.records:,} records")

    def commit(self) -> None:
        """The files first, then the note of how long they are."""
        sync(self.file)
        sync(self.log)
        self.done.offset, self.done.log = self.file.tell(), self.log.tell()
        write_text(self.state, json.dumps(vars(self.done)))
        self.committed = time.monotonic()

    def commit_now_and_then(self) -> None:
        """Commit, if the last time is a while ago."""
        if time.monotonic() - self.committed > COMMIT_SECONDS:
            self.commit()


def copy_indexed(store: Store, copy: Copy) -> None:
    """Copy the records that the URL index names, in the index's order."""

    def read(entry: Entry | None) -> tuple[Stored | None, str]:
        rule = unwanted(entry, copy.params)
        if rule or not entry:
            return None, rule
        raw = store.read(entry.filename, entry.offset, entry.offset + entry.length)
        return Stored(entry.url, entry.filename, entry.offset, raw), "" if holds(raw, entry.url) else "damaged"

    # those settled before a kill are passed over: the index is read again, the records are not
    entries = islice(indexed(store, copy.params), copy.done.records, None)
    for found, rule in in_order(read, entries, THREADS):
        if copy.full():
            break
        copy.done.records += 1
        copy.settle(found, rule)
        copy.commit_now_and_then()


def indexed(store: Store, params: CommonCrawl) -> Iterator[Entry | None]:
    """The index's entries for all host patterns, each capture once."""
    folder = f"cc-index/collections/{params.snapshot}/indexes"
    index = f"{folder}/cluster.idx"
    size = store.size(index)
    for number, pattern in enumerate(params.hosts):
        for entry in search(store.read, size, index, folder, pattern):
            host = host_of(entry.url) if entry else ""
            if not any(fnmatch(host, earlier) for earlier in params.hosts[:number] if entry):
                yield entry


def unwanted(entry: Entry | None, params: CommonCrawl) -> str:
    """The rule that leaves an entry out, or nothing."""
    if entry is None:
        return "damaged"
    if entry.status != "200" or "/warc/" not in entry.filename:
        return "status"
    if params.mimes and entry.mime not in params.mimes:
        return "mime"
    if params.languages and entry.languages[0] not in params.languages:
        return "language"
    return "too_large" if entry.length > MAX_RECORD else ""


def holds(raw: bytes, url: str) -> bool:
    """Whether those bytes are one whole WARC record of that URL."""
    record = parse(raw)
    return record is not None and (record.headers.get("WARC-Target-URI") or "").strip("<>") == url


def parse(raw: bytes) -> WarcRecord | None:
    """The record in one gzip member, or None where that is damaged."""
    try:
        unpacked = zlib.decompressobj(wbits=31)
        data = unpacked.decompress(raw, MAX_RECORD)
        if not unpacked.eof:
            return None
        return next(iter(ArchiveIterator(BytesIO(data), parse_http=True)), None)
    except (zlib.error, ValueError, OSError):
        return None


def copy_files(store: Store, copy: Copy) -> None:
    """Copy what is wanted of the snapshot's WARC or WET files, one file after the other."""
    params = copy.params
    name = f"crawl-data/{params.snapshot}/{params.kind}.paths.gz"
    try:
        listing = gzip.decompress(store.whole(name)).decode().split()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{store.root}/{name} is no list of files: {error}", "check base and snapshot") from error
    for path in listing[copy.done.source :]:
        size = store.size(path)
        copy.bar.note = path.rpartition("/")[2]
        held: Stored | None = None  # a response that waits for the metadata that tells its language
        for offset, end, raw, fault in members(store, path, copy.done.at, size):
            if copy.full():
                return
            record = None if fault else parse(raw)
            kind = record.record_type if record else WarcRecordType.unknown
            if held and record and kind == WarcRecordType.metadata:
                copy.settle(held, "" if language_of(record) in params.languages else "language")
                held = None
            elif kind in (WarcRecordType.response, WarcRecordType.conversion) or not record:
                if held:
                    copy.settle(held, "language")
                held = consider(copy, path, offset, raw, record or fault or "damaged")
            if not held:
                copy.done.at = end
                copy.commit_now_and_then()
        if held:
            copy.settle(held, "language")
        copy.done.source, copy.done.at = copy.done.source + 1, 0
        copy.commit()


def consider(copy: Copy, path: str, offset: int, raw: bytes, record: WarcRecord | str) -> Stored | None:
    """Keep a record, or count why not; returned is one whose language only the metadata after it tells.

    `record` is the rule that drops it where it cannot be read.
    """
    copy.done.records += 1
    if isinstance(record, str):
        copy.settle(None, record)
        return None
    params, rule = copy.params, ""
    url = (record.headers.get("WARC-Target-URI") or "").strip("<>")
    found = Stored(url, path, offset, raw)
    if params.hosts and not any(fnmatch(host_of(normalise(url) or ""), pattern) for pattern in params.hosts):
        rule = "host"
    elif record.record_type == WarcRecordType.response:
        http = record.http_headers
        kind = record.headers.get("WARC-Identified-Payload-Type") or ""
        kind = kind or content_type((http.get("Content-Type") if http else "") or "")[0]
        if http is None or http.status_code != 200:
            rule = "status"
        elif params.mimes and kind not in params.mimes:
            rule = "mime"
        elif params.languages:
            return found
    elif params.languages:
        named = (record.headers.get("WARC-Identified-Content-Language") or "").split(",")
        rule = "" if named[0] in params.languages else "language"
    copy.settle(found, rule)
    return None


def language_of(metadata: WarcRecord) -> str:
    """The likeliest language of a page (ISO 639-3), from the line `languages-cld2: {…}` of its metadata."""
    for line in metadata.reader.read().decode("utf-8", "replace").splitlines():
        if line.startswith("languages-cld2:"):
            try:
                found: Any = json.loads(line.partition(":")[2])
                return str(found["languages"][0]["code-iso-639-3"])
            except (ValueError, KeyError, IndexError, TypeError):
                return ""
    return ""


def members(store: Store, path: str, start: int, size: int) -> Iterator[tuple[int, int, bytes, str]]:
    """The gzip members of a file from `start` on: start, end, bytes, and the rule that drops one that is unreadable.

    What follows damage cannot be told apart: the rest of the file is one damaged member.
    """
    at, buffer, used = start, b"", 0
    while at < size or used < len(buffer):
        begin = at - (len(buffer) - used)
        unpacker = zlib.decompressobj(wbits=31)
        raw, length = bytearray(), 0
        try:
            while not unpacker.eof:
                if used == len(buffer):
                    buffer, used = store.read(path, at, min(at + PIECE, size)) if at < size else b"", 0
                    at += len(buffer)
                fed = buffer[used : used + FED]
                length += unpacked_length(unpacker, fed)
                if not fed and not unpacker.eof:
                    raise zlib.error("the file ends within a record")
                taken = len(fed) - len(unpacker.unused_data)
                used += taken
                if len(raw) <= MAX_RECORD:
                    raw += fed[:taken]
        except zlib.error:
            yield begin, size, b"", "damaged"
            return
        large = max(len(raw), length) > MAX_RECORD
        yield begin, at - (len(buffer) - used), b"" if large else bytes(raw), "too_large" if large else ""


def unpacked_length(unpacker: Any, fed: bytes) -> int:
    """Bytes that a piece unpacks to, made in parts of bounded size."""
    length = len(unpacker.decompress(fed, PIECE))
    while unpacker.unconsumed_tail:
        length += len(unpacker.decompress(unpacker.unconsumed_tail, PIECE))
    return length
