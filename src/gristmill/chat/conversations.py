"""What people and models said, on disk: JSON, tables or plain text, which training reads strictly.

A record that cannot be learned from is left out, named and counted; it ends a training only where nothing else is left.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gristmill.chat.layouts import TALKS, Messages, answered
from gristmill.chat.transcripts import DAMAGED, passages
from gristmill.corpus.readers.tables import csv_rows, opened_parquet, rows_of
from gristmill.errors import UserError
from gristmill.files import write_jsonl
from gristmill.inputs.folders import files_of, same
from gristmill.inputs.text_files import BadLine, json_lines, no_text, parse, text_lines
from gristmill.manifest import FINGERPRINT
from gristmill.progress import counted, warn, watched

LEFT_OUT = "left_out.jsonl"
PACKED = (".gz", ".zst", ".bz2")
S = TypeVar("S")
T = TypeVar("T")


class TooLong(UserError):
    """A record of more tokens than the model reads."""

    def __init__(self, tokens: int, most: int) -> None:
        super().__init__(f"it has {tokens:,} tokens, and {most:,} fit", "shorten it, or train with a longer context")


@dataclass(frozen=True)
class LeftOut:
    """A record that training does without."""

    file: str
    record: int  # its line, or its place in a list or table, from 1
    why: str
    remedy: str
    too_long: bool = False

    def __str__(self) -> str:
        return f"{self.file}: record {self.record}: {self.why}"


def read_records(path: Path, read: Callable[[dict[str, Any]], T], left_out: list[LeftOut]) -> Iterator[T]:
    """What `read` makes of each record of a file, or of all files of a folder; where it raises UserError, the record
    joins `left_out`.

    Raises UserError where a file cannot be read.
    """
    return watched(sifted(records_of(path), partial(checked, read), left_out), "reading", f"records of {path.name}")


def checked(read: Callable[[dict[str, Any]], T], record: Any) -> T:
    """What `read` makes of a record; a field that is null counts as left out. Raises UserError where it is none."""
    if not isinstance(record, dict):
        bad = record if isinstance(record, BadLine) else BadLine("not a JSON object")
        raise UserError(bad.why, bad.remedy)
    return read({name: value for name, value in record.items() if value is not None})


def sifted(records: Iterable[tuple[Path, int, S]], read: Callable[[S], T], left_out: list[LeftOut]) -> Iterator[T]:
    """What `read` makes of records, each with its file and number; where it raises UserError, the record joins
    `left_out`."""
    for path, number, record in records:
        try:
            made = read(record)
        except UserError as error:
            place = str(path), number, error.problem, error.remedy
            left_out.append(LeftOut(*place, too_long=isinstance(error, TooLong)))
        else:
            yield made


def records_of(path: Path) -> Iterator[tuple[Path, int, Any]]:
    """File, number and content of each record of a file, or of all files of a folder, by name. What ends the reading of
    one file in a folder, as a ZIP, is a BadLine, and the others are read; so is a file that was read by another name.

    Raises UserError where the file itself cannot be read, or a folder has none.
    """
    known: dict[Hashable, str] = {}
    for file in files_of(path):
        number = 0
        if first := known.get(same(file)):
            yield file, 1, BadLine(f"the whole file is that which was read as {first}", "remove the link")
            continue
        known[same(file)] = file.name
        try:
            for number, record in records_in(file):
                yield file, number, record
        except UserError as error:
            if file == path:
                raise
            yield file, number + 1, BadLine(error.problem.replace(str(file), "the file"), error.remedy)


def records_in(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and content of each record of a file: a line, an item of a list, a row. A list of messages and a text
    become records that hold them; what cannot be read is a BadLine, a file that is no text a single one.
    """
    name = path.name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    if name.endswith(".parquet"):
        with opened_parquet(path) as file:
            yield from enumerate(rows_of(file), 1)
    elif name.endswith((".csv", ".tsv")):
        yield from table_rows(path)
    else:
        head = next((line.strip() for line in text_lines(path) if not isinstance(line, BadLine) and line.strip()), "")
        if not head.startswith(("{", "[", '"')) and not name.endswith((".jsonl", ".ndjson", ".json")):
            if kind := no_text(path):
                yield 1, BadLine(f"the whole file is no text ({kind})", "keep what is no conversation elsewhere")
                return
            bad = dict[int, BadLine]()
            for number, text in passages(plain_lines(path, bad)):
                lines = range(number, number + 1 + text.count("\n"))
                yield number, next((bad[line] for line in lines if line in bad), {"text": text})
            return
        for number, value in json_lines(path, whole=isinstance(parse(head), BadLine) and head[:1] in ("[", "{")):
            if isinstance(value, list) and value and isinstance(value[0], dict) and not is_message(value[0]):
                yield from enumerate(map(as_record, value), 1)  # a whole list on a line
            else:
                yield number, as_record(value)


def as_record(value: Any) -> Any:
    """A JSON value as a record."""
    if isinstance(value, str):
        return {"text": value}
    return {TALKS[0]: value} if isinstance(value, list) and value and is_message(value[0]) else value


def is_message(value: Any) -> bool:
    """Whether a JSON value says who speaks."""
    return isinstance(value, dict) and ("role" in value or "from" in value)


def plain_lines(path: Path, bad: dict[int, BadLine]) -> Iterator[str]:
    """The lines of a text file; of one that is damaged, which joins `bad` by its number, a mark."""
    for number, line in enumerate(text_lines(path), 1):
        if isinstance(line, BadLine):
            bad[number] = line
        yield f"{DAMAGED}\n" if isinstance(line, BadLine) else line


def table_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a table, by the names in the first; a cell that holds a JSON list is read as one."""
    for number, row in csv_rows(path):
        if isinstance(row, BadLine):
            yield number, row
            continue
        cells = {name: cell for name, cell in row.items() if name and cell}
        found = {name: parse(cell) for name, cell in cells.items() if cell.lstrip().startswith(("[{", "{"))}
        yield number, cells | {name: value for name, value in found.items() if not isinstance(value, BadLine)}


def report(stage: str, left_out: Sequence[LeftOut], out: Path) -> dict[str, int]:
    """Name the records that were left out, the first on the console and all in a file; returns their counts."""
    if left_out:
        write_jsonl(out / LEFT_OUT, [{**asdict(one), "file": beside(Path(one.file), out)} for one in left_out])
        place = out.with_name(out.name.removesuffix(".partial")) / LEFT_OUT
        named = f", all named in {place}" if (out / FINGERPRINT).exists() else ""  # else it is only planned
        told = f"{stage}: {counted(len(left_out), 'records')} left out{named}; the first: {left_out[0]}"
        warn(told)
    too_long = sum(one.too_long for one in left_out)
    return {"left_out": len(left_out) - too_long, "too_long": too_long}


def beside(file: Path, out: Path) -> str:
    """A file's path, within the run where it lies in one: what a stage writes does not depend on the run's place."""
    run = out.absolute().parent
    return file.relative_to(run).as_posix() if file.is_relative_to(run) else str(file)


def nothing_left(problem: str, remedy: str, left_out: Sequence[LeftOut]) -> UserError:
    """The error of a training that has no example: `problem`, unless records were left out; then it names the first."""
    if not left_out:
        return UserError(problem, remedy)
    others = f" ({len(left_out):,} records cannot be used)" if len(left_out) > 1 else ""
    return UserError(f"{left_out[0]}{others}", left_out[0].remedy)


def read_conversations(path: Path, left_out: list[LeftOut]) -> Iterator[Messages]:
    """Yield the messages of each conversation that has something to learn: an answer in every turn of the assistant."""
    return read_records(path, answered, left_out)
