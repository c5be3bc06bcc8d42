"""Common Crawl's URL index: ZipNum CDX, searched by ranges (https://commoncrawl.org/cdxj-index).

`cluster.idx` is a sorted text file, one line for every block of 3,000 entries; the blocks are gzip members of the
`cdx-*.gz` files. Finding a host takes some twenty small ranges out of files of gigabytes.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from gristmill.crawl.urls import host_of

Read = Callable[[str, int, int], bytes]  # path, start, end → those bytes
STEP = 1 << 16  # bytes of cluster.idx in one range
MAX_BLOCK = 64_000_000  # bytes of an unpacked block
WWW = re.compile(r"www\d*\.")


@dataclass(frozen=True)
class Entry:
    """One capture."""

    url: str
    status: str
    mime: str
    languages: tuple[str, ...]  # ISO 639-3, the likeliest first
    filename: str
    offset: int
    length: int


def host_keys(pattern: str) -> list[tuple[str, str]]:
    """Key ranges [first, end) that hold the captures of hosts that match a pattern, as `*.example.org`.

    Keys turn the host around (`org,example,blog)/path`) and leave `www.` out.
    """
    literal = re.split(r"[*?\[]", pattern)[-1]
    whole = literal == pattern
    parts = [part for part in WWW.sub("", literal, count=1).split(".") if part] if whole else literal.split(".")[1:]
    if not parts:
        return [("", "\uffff")]
    key = ",".join(reversed(parts))
    exact = (f"{key})", f"{key}*")  # `)` and then `*` follow each other in ASCII
    return [exact] if whole else [exact, (f"{key},", f"{key}-")]


def search(read: Read, size: int, index: str, folder: str, pattern: str) -> Iterator[Entry | None]:
    """Entries whose host matches a pattern, in the order of keys; None for a line or block that cannot be read.

    `read` reads a range of a file, `size` is the length of `index` (the cluster.idx), `folder` holds the blocks.
    """
    for first, end in host_keys(pattern):
        for line in block_lines(read, size, index, first, end):
            try:
                _, name, start, length = line.split("\t")[:4]
                packed = read(f"{folder}/{name}", int(start), int(start) + int(length))
                block = zlib.decompressobj(wbits=31).decompress(packed, MAX_BLOCK)  # a gzip member
            except (ValueError, zlib.error):
                yield None
                continue
            for entry in block.decode("utf-8", "replace").splitlines():
                if first <= entry < end:
                    found = read_entry(entry)
                    if found is None or fnmatch(host_of(found.url), pattern):
                        yield found


def block_lines(read: Read, size: int, index: str, first: str, end: str) -> Iterator[str]:
    """Lines of cluster.idx whose blocks may hold keys in [first, end)."""
    low, high = 0, size  # a line that starts at or before `low` is not behind `first`
    while high - low > STEP:
        middle = (low + high) // 2
        line = next(lines_from(read, size, index, middle), "")  # the first that starts after it
        if line and line < first:
            low = middle
        else:
            high = middle
    held = ""
    for line in lines_from(read, size, index, low):
        if line >= end:
            break
        if line >= first:
            if held:
                yield held  # the block before may end with keys of ours
            held = ""
            yield line
        else:
            held = line
    if held:
        yield held


def lines_from(read: Read, size: int, index: str, at: int) -> Iterator[str]:
    """Whole lines that start after a position (at it, where it is 0)."""
    rest, skip = b"", at > 0
    while at < size:
        rest += read(index, at, min(at + STEP, size))
        at += STEP
        *lines, rest = rest.split(b"\n")
        if skip and lines:
            del lines[0]
            skip = False
        yield from (line.decode("utf-8", "replace") for line in lines)
    if rest and not skip:
        yield rest.decode("utf-8", "replace")


def read_entry(line: str) -> Entry | None:
    """The entry of a line `key timestamp {…}`, or None where it is none."""
    try:
        row: dict[str, Any] = json.loads(line.split(" ", 2)[2])
        if ".." in row["filename"]:
            return None
        return Entry(
            str(row["url"]),
            str(row.get("status", "")),
            str(row.get("mime-detected") or row.get("mime") or "").lower(),
            tuple(str(row.get("languages", "")).split(",")),
            str(row["filename"]),
            int(row["offset"]),
            int(row["length"]),
        )
    except (ValueError, KeyError, IndexError, TypeError):
        return None
