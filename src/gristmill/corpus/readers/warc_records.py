"""The records of a WARC file (ISO 28500), whoever wrote it: each is read, or is counted under a name.

The standards ask for one gzip member or Zstandard frame a record, a right Content-Length and CRLF. Files as they are
were packed whole or in blocks, hold empty members, padding, bare line feeds, wrong lengths, and end anywhere. So the
members are read as one stream, in which a record's length is believed only if a record's end follows: a blank line,
another record, or the file's end. Where it is not so, reading goes on at the next bytes that look like a record's
beginning.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from gristmill.corpus.execution.documents import guarded
from gristmill.corpus.execution.judge import Dropped
from gristmill.corpus.readers.packed_records import LONGEST_BEGINNING, LOOKAHEAD, PADDING, Damage, Packing, packing_of
from gristmill.crawl.warc import to_record
from gristmill.errors import FAULT
from gristmill.record import Record, unread

MOST_HEAD = 1 << 20  # bytes of a record's header
MOST_DIGITS = 4_000  # of a length: Python refuses to read many more
MOST_BLOCK = 1 << 28  # bytes of a record that are held in memory
BLANK = re.compile(rb"\n\r?\n")
BEGINNING = re.compile(rb"WARC/(?:0\.\d+|1\.[01])[ \t]*\r?\n(?:WARC|Content)-", re.IGNORECASE)
FOLD = re.compile(rb"\r?\n[ \t]+")  # within a field


@dataclass
class Extent:
    """What was read of a range: offsets of its first record and of the first after it; records that hold no page."""

    begin: int = 0
    end: int = 0
    passed: Counter[str] = field(default_factory=Counter)  # why a record holds no page → how many


class Stream:
    """What a file unpacks to from an offset on; `data` begins where reading has come to."""

    def __init__(self, file: BinaryIO, start: int, packing: Packing | None) -> None:
        self.file, self.packing = file, packing
        self.data = bytearray()
        self.base = 0  # place of data[0] in the stream
        self.members: deque[tuple[int, int]] = deque()  # where parts of the file begin: in the stream, in the file
        self.damage: Damage | None = None  # that ends the stream
        self.believed = True  # whether a length is that is too long to be looked over
        self.pieces = self.unpacked(packing, start) if packing else self.plain(start)

    def plain(self, start: int) -> Iterator[bytes]:
        """The bytes of a file that is not compressed."""
        self.file.seek(start)
        self.members.append((0, start))
        while block := self.file.read(LOOKAHEAD):
            yield block

    def unpacked(self, packing: Packing, start: int) -> Iterator[bytes]:
        """What the members or frames from an offset on hold. Raises Damage."""
        for at, piece in packing.unpack(self.file, start):
            if not self.members or self.members[-1][1] != at:
                self.members.append((self.base + len(self.data), at))
            yield piece

    def fill(self) -> bool:
        """Have more bytes in `data`; whether there were any. Raises Damage, from then on always."""
        if self.damage:
            raise self.damage
        try:
            piece = next(self.pieces, b"")
        except Damage as damage:
            self.damage = damage
            raise
        self.data += piece
        return bool(piece)

    def has(self, count: int) -> bool:
        """Whether there are so many bytes. Raises Damage."""
        while len(self.data) < count:
            if not self.fill():
                return False
        return True

    def drop(self, count: int) -> None:
        """Go on by so many bytes, which `data` has."""
        del self.data[:count]
        self.base += count

    def skip(self, count: int) -> bool:
        """Go on by so many bytes; whether there were so many. Raises Damage."""
        while count > len(self.data):
            count -= len(self.data)
            self.drop(len(self.data))
            if not self.fill():
                return False
        self.drop(count)
        return True

    def padding(self, at: int) -> int:
        """Where padding ends that begins at data[at], if it is not longer than LOOKAHEAD. Raises Damage."""
        begin = at
        while True:
            at = PADDING.match(self.data, at).end()  # type: ignore[union-attr]  # it matches anything
            if at < len(self.data) or at - begin > LOOKAHEAD or not self.fill():
                return at

    def drop_padding(self) -> bool:
        """Go on to what is no padding; whether there is anything. Raises Damage."""
        while self.has(1):
            end = self.padding(0)
            self.drop(end)
            if self.data:
                return True
        return False

    def member_of(self, place: int) -> tuple[int, int]:
        """Where the member begins that holds a place of the stream: in the stream, in the file."""
        return next(member for member in reversed(self.members) if member[0] <= place)

    def place(self) -> tuple[int, int]:
        """Offset in the file of where reading has come to: of the member, and within what it unpacks to."""
        while len(self.members) > 1 and self.members[1][0] <= self.base:
            self.members.popleft()
        begin, offset = self.members[0]
        return (offset, self.base - begin) if self.packing else (offset + self.base, 0)

    def head(self) -> bytes | None:
        """A record's header with the blank line after it; None where there is none. Raises Damage."""
        if not self.has(5) or self.data[:5].upper() != b"WARC/":
            return None
        at = 0
        while True:
            if (end := BLANK.search(self.data, at)) and (size := end.end()):
                del end  # as long as it is there, `data` cannot change its size
                head = bytes(self.data[:size])
                self.drop(size)
                return head
            at = max(0, len(self.data) - 2)
            if at > MOST_HEAD or not self.fill():
                return None

    def ends_at(self, length: int) -> bool:
        """Whether a record may end after `length` bytes. Raises Damage where its own gzip member is damaged."""
        try:
            end = self.padding(length)
            blank = self.data.count(b"\n", length, end) > 1
            more = self.has(end + 1)
            return blank or not more or (self.has(end + 5) and self.data[end : end + 5].upper() == b"WARC/")
        except Damage as damage:
            if damage.offset <= self.member_of(self.base + max(0, length - 1))[1]:
                raise
            return True

    def record(self) -> tuple[dict[str, str], bytes | str | None]:
        """Fields of the record that begins here, and its block: None where it is too long to be held, and what is wrong
        where it has none. Raises Damage.
        """
        head = self.head()
        if head is None:
            self.skip(1)
            return {}, "no WARC record begins here"
        fields = fields_of(head)
        length = fields.get("content-length", "")
        if not (length.isascii() and length.isdigit()) or len(length) > MOST_DIGITS:
            return fields, "it has no Content-Length"
        size, place = int(length), self.place()
        if size <= MOST_BLOCK:
            if self.has(size) and self.ends_at(size):
                block = bytes(self.data[:size])
                self.drop(size)
                return fields, block
        elif self.believed:
            if self.skip(size) and self.ends_at(0):
                return fields, None
            self.__init__(self.file, place[0], self.packing)  # type: ignore[misc]  # it was skipped for nothing
            self.skip(place[1])
            self.believed = False  # once is enough: else time would grow with the file's square
        return fields, f"Content-Length is {length}, and no record ends there"

    def find(self) -> None:
        """Go on to the next bytes that look like a record's beginning, or to the end. Raises Damage."""
        while True:
            found = BEGINNING.search(self.data)
            at = found.start() if found else -1
            del found
            if at >= 0:
                return self.drop(at)
            self.drop(max(0, len(self.data) - LONGEST_BEGINNING))
            if not self.fill():
                return self.drop(len(self.data))


def fields_of(head: bytes) -> dict[str, str]:
    """The fields of a record's header by their names in lower case; the first of each counts."""
    found: dict[str, str] = {}
    if b"\n " in head or b"\n\t" in head:
        head = FOLD.sub(b" ", head)
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def read_stream(stream: Stream, name: str, stop: int, extent: Extent) -> Generator[Record, None, int | None]:
    """The pages of a stream up to the first member at `stop` or after it that begins with a record; a damaged record
    has a fault. Returns the offset of a member that cannot be read, where it came to one.

    Sets `extent.end` where it came to `stop`, and counts in `extent.passed`.
    """
    source, named = "", -1  # of the record that has begun; offset of the last member with a damaged record
    try:
        while True:
            source, begun = "", stream.base
            if not stream.drop_padding():
                return None
            offset, inside = stream.place()
            first = stream.packing and stream.base - inside >= begun  # only padding is before it in its member
            if first and offset >= stop:
                extent.end = offset
                return None
            source = f"{name}:{offset}" if first or not inside else f"{name}:{offset}+{inside}"
            fields, block = stream.record()
            url = fields.get("warc-target-uri", "").strip("<>")
            if not isinstance(block, str):
                read = readable(fields, block, url, source)
                if isinstance(read, Record):
                    yield read
                else:
                    extent.passed[read] += 1
                continue
            yield unread(source, "damaged", block, url=url)
            source, named = "", offset
            stream.find()
    except Damage as damage:
        if source or damage.offset != named:
            yield unread(source or f"{name}:{damage.offset}", "damaged", str(damage), url="")
        return damage.offset


def readable(fields: Mapping[str, str], block: bytes | None, url: str, source: str) -> Record | str:
    """As `to_record`; where the block is too long, or where that fails, a record with a fault."""
    if block is None:
        return unread(source, "too_large", url=url)
    made = guarded(to_record, fields, block, source)
    if isinstance(made, Dropped):  # one record stops no run
        return unread(source, FAULT, made.more["traceback"], url=url)
    return made


def read_warc(
    file: BinaryIO, size: int, name: str, bounds: tuple[int, int], begin: int | None, extent: Extent
) -> Iterator[Record]:
    """The pages of the records that begin within `bounds` of a file of `size` bytes; `begin` is where the first of them
    is known to be. Raises OSError where the file cannot be read.
    """
    start, stop = bounds
    try:
        packing = packing_of(file, name)
    except Damage as damage:
        extent.begin, extent.end = size if start else 0, size
        if not start:
            yield unread(name, "damaged", str(damage))
        return
    at = begin if begin is not None else packing.next_record(file, start) if packing and start else 0
    extent.begin = extent.end = at
    while at < stop:
        extent.end = size
        damaged = yield from read_stream(Stream(file, at, packing), name, stop, extent)
        if damaged is None or not packing:
            return
        at = extent.end = packing.next_record(file, damaged + 1)
