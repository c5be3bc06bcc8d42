"""What WARC files are packed in, mostly a record a part: members of gzip (RFC 1952), frames of Zstandard (RFC 8878).

A file of frames may begin with a dictionary for all of them (IIPC, "Zstandard Compression for WARC Files" 1.0). A
packing reads the parts of a file one after the other, and says where the next one is that begins with a record.
"""

from __future__ import annotations

import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from fastwarc.stream_io import ZstdReader
from isal import igzip_lib, isal_zlib

GZIP = 31  # zlib's window bits for gzip members
FIRST_PIECE = 1 << 12  # bytes that are unpacked at once, doubled each time
LOOKAHEAD = 1 << 20
PIECE = 1 << 16  # bytes of a frame that are unpacked at once
MOST_DICTIONARY = 1 << 26  # bytes
PADDING = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n\t \0]*")  # a byte order mark, too, as editors put before a file
LONGEST_BEGINNING = 64  # bytes that hold the beginning of a record
DICTIONARY = b"\x5d\x2a\x4d\x18"  # of the skippable frame that holds one
SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")


class Damage(Exception):
    """A part that cannot be read, or bytes that are none, by their offset."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(why)
        self.offset = offset


class Packing(ABC):
    """Reads the parts of a packed file."""

    magic: bytes  # of a part
    name: str

    @abstractmethod
    def part(self, file: BinaryIO, at: int, head: bytes) -> Iterator[bytes]:
        """What the part at an offset unpacks to, in pieces; of the file `head` has been read, and it is left where the
        part ends. Raises Damage."""

    def beginning(self, file: BinaryIO, at: int) -> bytes:
        """The first bytes of the part at an offset; none where it cannot be read."""
        file.seek(at)
        try:
            return next(self.part(file, at, file.read(FIRST_PIECE)), b"")
        except Damage:
            return b""

    def unpack(self, file: BinaryIO, at: int) -> Iterator[tuple[int, bytes]]:
        """Pieces of what the parts from an offset on hold, each with the offset of its part. Raises Damage."""
        while True:
            file.seek(at)
            head = file.read(FIRST_PIECE)
            if not head:
                return
            if padded := PADDING.match(head).end():  # type: ignore[union-attr]  # it matches anything
                at += padded
            elif self.magic != Gzip.magic and SKIPPABLE.match(head):
                at += 8 + int.from_bytes(head[4:8], "little")
            elif not head.startswith(self.magic):
                raise Damage(at, f"no {self.name} begins here")
            else:
                for piece in self.part(file, at, head):
                    yield at, piece
                at = file.tell()

    def next_record(self, file: BinaryIO, start: int) -> int:
        """Offset of the first part at `start` or after it that begins with a WARC record; the file's size where there
        is none.
        """
        while True:
            file.seek(start)
            block = file.read(LOOKAHEAD)
            at = block.find(self.magic)
            while at >= 0:
                if PADDING.sub(b"", self.beginning(file, start + at), count=1).startswith(b"WARC/"):
                    return start + at
                at = block.find(self.magic, at + 1)
            if len(block) < LOOKAHEAD:
                return start + len(block)
            start += len(block) - len(self.magic) + 1


class Gzip(Packing):
    """Members of gzip."""

    magic = b"\x1f\x8b\x08"  # RFC 1952, section 2.3.1
    name = "gzip member"

    def part(self, file: BinaryIO, at: int, head: bytes) -> Iterator[bytes]:
        """As the base class says."""
        member, piece, size = isal_zlib.decompressobj(GZIP), head, FIRST_PIECE
        while not member.eof:
            if not piece:
                raise Damage(at, "the file ends within a gzip member")
            try:
                made = member.decompress(piece, LOOKAHEAD)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub takes the class for an object
                raise Damage(at, f"damaged gzip member: {error}") from error
            if made:
                yield made
            size = min(2 * size, LOOKAHEAD)
            piece = member.unconsumed_tail or (b"" if member.eof else file.read(size))
        file.seek(file.tell() - len(member.unused_data))


class Zstandard(Packing):
    """Frames of Zstandard."""

    magic = b"\x28\xb5\x2f\xfd"  # RFC 8878, section 3.1.1
    name = "Zstandard frame"

    def __init__(self, dictionary: bytes | None) -> None:
        self.dictionary = dictionary

    def part(self, file: BinaryIO, at: int, head: bytes) -> Iterator[bytes]:
        """As the base class says."""
        end, made = frame_end(file, at), 0
        frame = self.opened(file, at, end)
        try:
            while piece := frame.read(PIECE):
                made += len(piece)
                yield piece
        except OSError as error:
            if error.errno is not None:
                raise
            yield from self.last_bytes(file, at, end, made)
            raise Damage(at, f"damaged Zstandard frame: {error}") from error
        file.seek(end)

    def last_bytes(self, file: BinaryIO, at: int, end: int, made: int) -> Iterator[bytes]:
        """What a frame that is damaged holds after its first `made` bytes: a reading that fails gives none of it."""
        frame, found = self.opened(file, at, end), bytearray()
        try:
            while made:
                made -= len(frame.read(min(PIECE, made)))
            while byte := frame.read(1):
                found += byte
        except OSError as error:
            if error.errno is not None:
                raise
        if found:
            yield bytes(found)

    def opened(self, file: BinaryIO, at: int, end: int) -> ZstdReader:
        """A reader of the frame between two offsets. Raises OSError without a number where the frame is damaged."""
        return ZstdReader(Between(file, at, end), dictionary=self.dictionary)


class Between:
    """The bytes of a file between two offsets, wherever others leave it."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self.file, self.start, self.end, self.at = file, start, end, start

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` where that is not below zero."""
        left = self.end - self.at
        self.file.seek(self.at)
        data = self.file.read(left if size < 0 else min(size, left))
        self.at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the first of them."""
        self.at = offset + (self.start, self.at, self.end)[whence]
        return self.tell()

    def tell(self) -> int:
        """How far reading has come."""
        return self.at - self.start

    def close(self) -> None:
        """Nothing: the file is another's."""


def frame_end(file: BinaryIO, at: int) -> int:
    """Offset of what comes after the Zstandard frame at an offset, from its header and those of its blocks (RFC 8878,
    sections 3.1.1.1 and 3.1.1.2); the file's size where the file ends before.
    """
    file.seek(at + 4)
    flags = (file.read(1) or b"\0")[0]
    alone = flags >> 5 & 1  # one segment: the size of its content takes the window's place
    at += 5 + (1 - alone) + (0, 1, 2, 4)[flags & 3] + (alone, 2, 4, 8)[flags >> 6]
    last = 0
    while not last:
        file.seek(at)
        head = file.read(3)
        if len(head) < 3:
            return file.seek(0, io.SEEK_END)
        block = int.from_bytes(head, "little")
        last, repeated, size = block & 1, block >> 1 & 3 == 1, block >> 3
        at += 3 + (1 if repeated else size)
    return at + 4 * (flags >> 2 & 1)  # a checksum


def packing_of(file: BinaryIO, name: str) -> Packing | None:
    """What a file is packed in by its first bytes, by its name where they say nothing; None where it is not packed.

    Raises Damage where it begins with a dictionary that cannot be read.
    """
    file.seek(0)
    head = PADDING.sub(b"", file.read(FIRST_PIECE), count=1)
    if head.startswith(Gzip.magic[:2]):
        return Gzip()
    if head.startswith(Zstandard.magic) or SKIPPABLE.match(head):
        return Zstandard(dictionary_of(file))
    if head[:5].upper() == b"WARC/" or not name.lower().endswith((".gz", ".zst")):
        return None
    return Gzip() if name.lower().endswith(".gz") else Zstandard(None)


def dictionary_of(file: BinaryIO) -> bytes | None:
    """The dictionary at a file's beginning, which may be packed itself; None where there is none. Raises Damage."""
    file.seek(0)
    head = file.read(8)
    if not head.startswith(DICTIONARY):
        return None
    size = int.from_bytes(head[4:], "little")
    data = file.read(min(size, MOST_DICTIONARY))
    if len(head) < 8 or len(data) < size:
        raise Damage(0, "its dictionary is cut off or too large")
    try:
        made = ZstdReader(io.BytesIO(data)).read(MOST_DICTIONARY) if data.startswith(Zstandard.magic) else data
        with quiet():
            ZstdReader(io.BytesIO(), dictionary=made)
    except BaseException as error:
        if (
            not isinstance(error, OSError) and type(error).__name__ != "PanicException"
        ):  # of Rust: it cannot be imported
            raise
        raise Damage(0, f"its dictionary is damaged: {error}") from error
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """Let nothing within the block write to the standard error: what libraries print there by themselves."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  pathlib has no name for it
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
