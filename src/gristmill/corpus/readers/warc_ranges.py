"""Cuts what a stage reads into shards: whole files, and byte ranges of large WARC files.

A range holds the records that begin within it. Where the first of them begins is found by looking for one; that a page
could hold bytes that look like one is why each range also tells where the next should begin, and the stage compares.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from gristmill.corpus.execution.executor import shard_bytes
from gristmill.corpus.readers.input_files import UNREAD, extensions, input_files, kind_of, read_whatever
from gristmill.crawl.warc import to_record
from gristmill.errors import FAULT, RUN_OUT, UserError, fault_notes
from gristmill.inputs.folders import FoundFile, labels
from gristmill.record import Record

MAGIC = b"\x1f\x8b\x08"  # of a gzip member (RFC 1952, section 2.3.1)
GZIP_RATIO = 4  # about how much a gzip file grows: shards are cut by what must be worked on
GZIP = 31  # zlib's window bits for gzip members
HEAD = 4_096  # bytes that hold a record's beginning
LOOKAHEAD = 1 << 20


@dataclass(frozen=True)
class InputRange:
    """A file, or a byte range of a WARC file."""

    path: Path
    name: str  # stands for the file in sources
    size: int  # about how many bytes it unpacks to
    start: int = 0
    stop: int = 0  # 0: the whole file
    fault: str = ""  # why it is not read
    why: str = ""


@dataclass
class Extent:
    """What was read of a range: offsets of its first record and of the first after it."""

    begin: int = 0
    end: int = 0


def whole_files(paths: Sequence[Path]) -> list[InputRange]:
    """The files of paths, in the order given and by name within folders; those that are not read have a fault.

    Where several paths are given, names begin with the end of the path that tells them apart. Raises UserError where a
    path is missing, a file is of no known kind, or a folder holds nothing readable.
    """
    files: list[InputRange] = []
    for path, label in zip(paths, labels([str(path) for path in paths]), strict=True):
        found = list(input_files(path))
        if all(each.fault for each in found):
            held = Counter(each.why if each.fault == UNREAD else each.fault for each in found)
            inside = ", ".join(f"{count} {kind or 'without ending'}" for kind, count in held.most_common(5))
            raise UserError(
                f"nothing readable in {path}" + (f": {inside}" if inside else ""),
                f"give files that end with {', '.join(extensions())}",
            )
        for each in found:
            below = each.path != path  # each is in a folder that was named
            name = each.name if len(paths) == 1 else f"{label}/{each.name}" if below else label
            files.append(InputRange(each.path, name, size_of(each), fault=each.fault, why=each.why))
    return files


def size_of(file: FoundFile) -> int:
    """About how many bytes of text a file holds; 0 where it is not read."""
    try:
        return 0 if file.fault else file.path.stat().st_size * (GZIP_RATIO if file.name.endswith(".gz") else 1)
    except OSError:
        return 0


def cut_inputs(paths: Sequence[Path]) -> list[list[InputRange]]:
    """The files of paths, cut and grouped into shards of like size. Raises UserError as `whole_files` does."""
    files = whole_files(paths)
    limit = shard_bytes(sum(file.size for file in files))
    shards: list[list[InputRange]] = []
    room = 0
    for file in files:
        for part in cut_file(file, limit):
            if not shards or part.size > room or part.start:
                shards.append([])
                room = limit
            shards[-1].append(part)
            room -= part.size
    return shards


def read_records(paths: Sequence[Path]) -> Iterator[Record]:
    """Every record of paths, one after the other. Raises UserError as `whole_files` does."""
    for file in whole_files(paths):
        yield from read_range(file, None, Extent())


def cut_file(file: InputRange, limit: int) -> list[InputRange]:
    """The ranges of a large WARC file of compressed records; else the file itself."""
    parts = -(-file.size // limit)
    if kind_of(file.path) != "warc" or not file.name.endswith(".gz") or parts < 2:
        return [file]
    size = file.path.stat().st_size
    borders = [size * part // parts for part in range(parts + 1)]
    return [InputRange(file.path, file.name, file.size // parts, start, stop) for start, stop in pairwise(borders)]


def read_range(part: InputRange, begin: int | None, extent: Extent) -> Iterator[Record]:
    """The records of a part, in order. Of a WARC file `extent` is filled; `begin` is where its first record is known
    to be. A damaged record, or one that the file's end cuts off, has a fault; reading goes on after it. What cannot be
    read at all is one record with a fault.
    """
    if part.fault:
        yield Record(b"", "", part.name, part.name, fault=part.fault, why=part.why)
    elif kind_of(part.path) != "warc":
        yield from read_whatever(part.path, part.name)
    else:
        try:
            yield from read_warc(part, begin, extent)
        except OSError as error:
            if error.errno in RUN_OUT:
                raise
            if not isinstance(part.path, Path):
                raise UserError(f"cannot read {part.path}: {error}", "check the network; run it again") from error
            yield Record(b"", "", part.name, part.name, fault="unreadable", why=str(error.strerror))


def read_warc(part: InputRange, begin: int | None, extent: Extent) -> Iterator[Record]:
    """The records of a range of a WARC file. Raises OSError where the file cannot be read."""
    size = part.path.stat().st_size
    stop = part.stop or size
    if not size:
        yield Record(b"", "", part.name, part.name, fault="empty")
    with part.path.open("rb") as file:
        at = begin if begin is not None else next_record(file, part.start) if part.start else 0
        extent.begin = at
        while at < stop:
            whole: Record | None = None  # the record before, which counts once the next has been reached
            begun = False
            try:
                file.seek(at)
                for found in ArchiveIterator(file, parse_http=False):
                    if whole:
                        yield whole
                    if found.stream_pos >= stop:
                        extent.end = found.stream_pos
                        return
                    at, begun, whole = found.stream_pos, True, None
                    if found.record_type in (WarcRecordType.response, WarcRecordType.conversion):
                        whole = readable(found, f"{part.name}:{at}")
                check_end(file, at, size)
                if whole:
                    yield whole
                at = size
            except (EOFError, ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                behind = member_end(file, at) if begun else None
                if behind is not None:  # then it is the next one that is damaged
                    at = behind
                    if whole:
                        yield whole
                yield Record(b"", "", "", f"{part.name}:{at}", fault="damaged")
                at = next_record(file, at + 1)
    extent.end = at


def readable(found: WarcRecord, source: str) -> Record | None:
    """As `to_record`; where that fails for another reason than the file's damage, a record with a fault."""
    try:
        if found.record_type == WarcRecordType.response:
            found.parse_http()
        return to_record(found, source)
    except (EOFError, ValueError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # one record stops no run
        url = found.headers.get("WARC-Target-URI") or ""
        return Record(b"", "", url.strip("<>"), source, fault=FAULT, why=fault_notes(error)["traceback"])


def next_record(file: BinaryIO, start: int) -> int:
    """Offset of the first compressed WARC record at `start` or after it; the file's size where there is none."""
    while True:
        file.seek(start)
        block = file.read(LOOKAHEAD)
        at = block.find(MAGIC)
        while at >= 0:
            file.seek(start + at)
            if begins_record(file.read(HEAD)):
                return start + at
            at = block.find(MAGIC, at + 1)
        if len(block) < LOOKAHEAD:
            return start + len(block)
        start += len(block) - len(MAGIC) + 1


def begins_record(head: bytes) -> bool:
    """Whether bytes unpack to the beginning of a WARC record."""
    try:
        return zlib.decompressobj(GZIP).decompress(head, 5) == b"WARC/"
    except zlib.error:
        return False


def check_end(file: BinaryIO, at: int, size: int) -> None:
    """Raise EOFError where the file ends within the compressed record at `at` or one after it: FastWARC passes over
    that in silence.
    """
    file.seek(at)
    while at < size and file.read(len(MAGIC)) == MAGIC:
        behind = member_end(file, at)
        if behind is None:
            raise EOFError
        at = behind
        file.seek(at)


def member_end(file: BinaryIO, start: int) -> int | None:
    """Offset after the gzip member at `start`; None where it is damaged or the file ends within it."""
    member = zlib.decompressobj(GZIP)
    file.seek(start)
    try:
        while not member.eof:
            block = file.read(LOOKAHEAD)
            if not block:
                return None
            member.decompress(block)
    except zlib.error:
        return None
    return file.tell() - len(member.unused_data)
