"""Cuts what a stage reads into shards: whole files, and byte ranges of large WARC files.

A range holds the records that begin within it. Where the first of them begins is found by looking for one; that a page
could hold bytes that look like one is why each range also tells where the next should begin, and the stage compares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from gristmill.corpus.execution.executor import shard_bytes
from gristmill.corpus.readers.input_files import UNREAD, extensions, input_files, instead, kind_of, read_whatever
from gristmill.corpus.readers.warc_records import Extent, read_warc
from gristmill.errors import RUN_OUT, UserError
from gristmill.inputs.folders import FoundFile, labels, same
from gristmill.manifest import intact
from gristmill.record import Record, unread

PACKED = (".gz", ".zst")
PACKED_RATIO = 4  # about how much a packed file grows: shards are cut by what must be worked on


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


def whole_files(paths: Sequence[Path]) -> list[InputRange]:
    """The files of paths, in the order given and by name within folders; those that are not read have a fault.

    Where several paths are given, names begin with the end of the path that tells them apart. A file that has several
    names, or is below two of the paths, is read once. Raises UserError where a path is missing, or none holds anything
    readable.
    """
    files: list[InputRange] = []
    known: dict[Hashable, str] = {}  # what tells a file from others → its name
    for path, label in zip(paths, labels([str(path) for path in paths]), strict=True):
        for each in list(input_files(path)) or [FoundFile(path, ".", "empty", "a folder without files")]:
            below = each.path != path  # each is in a folder that was named
            name = each.name if len(paths) == 1 else f"{label}/{each.name}" if below else label
            fault, why = each.fault, each.why
            if first := known.get(found := (same(each.path), fault)):
                fault, why = "linked_twice", f"it is the same file as {first}"
            known.setdefault(found, name)
            files.append(InputRange(each.path, name, 0 if fault else size_of(each), fault=fault, why=why))
    if all(file.fault for file in files):
        held = Counter(file.path.suffix.lower() if file.fault == UNREAD else file.fault for file in files)
        inside = ", ".join(f"{count} {kind or 'without ending'}" for kind, count in held.most_common(5))
        remedies = dict.fromkeys(filter(None, (instead(file.name) for file in files if file.fault == UNREAD)))
        known_kinds = f"give files that end with {', '.join(extensions())}, or source code"
        raise UserError(
            f"nothing readable in {', '.join(map(str, paths[:3]))}{' …' if len(paths) > 3 else ''}: {inside}",
            "; ".join([*islice(remedies, 3), known_kinds]),
        )
    return files


def size_of(file: FoundFile) -> int:
    """About how many bytes of text a file holds; 0 where it is not read."""
    try:
        return 0 if file.fault else file.path.stat().st_size * (PACKED_RATIO if file.name.endswith(PACKED) else 1)
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
    for file in whole_files([intact(path) for path in paths]):
        yield from read_range(file, None, Extent())


def cut_file(file: InputRange, limit: int) -> list[InputRange]:
    """The ranges of a large WARC file of compressed records; else the file itself."""
    parts = -(-file.size // limit)
    if kind_of(file.path) != "warc" or not file.name.endswith(PACKED) or parts < 2:
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
        yield unread(part.name, part.fault, part.why)
    elif kind_of(part.path) != "warc":
        yield from read_whatever(part.path, part.name)
    else:
        try:
            size, found = part.path.stat().st_size, False
            with part.path.open("rb") as file:
                for record in read_warc(file, size, part.name, (part.start, part.stop or size), begin, extent):
                    found = True
                    yield record
            if not (found or extent.passed or part.stop or begin):
                yield unread(part.name, "empty", "no record")
        except OSError as error:
            if error.errno in RUN_OUT:
                raise
            if not isinstance(part.path, Path):
                raise UserError(f"cannot read {part.path}: {error}", "check the network; run it again") from error
            yield unread(part.name, "unreadable", str(error.strerror))
