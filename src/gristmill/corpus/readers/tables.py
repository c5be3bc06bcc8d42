"""JSONL, CSV and Parquet files: one record a row, with its text in a column `text` or `content`, in capitals too.

Where there is no such column, but most rows have a sentence (tickets, questions and answers), all that a row has is its
text, a line a column; another table is one record, as a Markdown table.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, count, islice, zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.corpus.execution.documents import halving
from gristmill.corpus.execution.judge import Dropped
from gristmill.corpus.text.words import EAST_WORD, IN_EAST, IN_SOUTHEAST, SOUTHEAST_WORD
from gristmill.errors import UserError
from gristmill.inputs.text_files import MAX_WHOLE, BadLine, json_lines, named, readable, text_lines
from gristmill.record import Record, unread

TEXT_KEYS = ("text", "content")
OTHER_KEYS = ("url", "id", "title", "fetched_at", "licence", "license")
TITLE_KEYS = ("title", "subject", "summary", "question", "name")  # of a row that is all text
SENTENCE = 8  # words
FIRST = 20  # rows that tell whether a table holds sentences
ROWS = 500  # of a Parquet file in memory at once
MAX_FIELD = 1 << 27  # characters of one CSV field
SIGN = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)
MAX_TABLE = 1_000_000  # characters of a table without texts: more is data, and no text to read


def read_jsonl(path: Path, name: str) -> Iterator[Record]:
    """One record a line; a line that is no JSON is `damaged`, one without a text `no_text`.

    Raises UserError where a compressed file is cut off or damaged; the lines before have been yielded by then.
    """
    lines = json_lines(path)
    first = list(islice(lines, FIRST))
    spell = mostly_sentences([cells_of(row) for _, row in first if isinstance(row, dict) and not has_text(row)])
    for number, row in chain(first, lines):
        whole = spell and isinstance(row, dict) and not has_text(row)
        yield from_row(all_of(row, cells_of(row)) if whole else row, name, number)


def read_csv(path: Path, name: str) -> Iterator[Record]:
    """One record a row, by the names in the first row; a table without texts or sentences is one, as Markdown."""
    bad: list[tuple[int, BadLine]] = []
    rows = table_of(path, readable(text_lines(path), bad))
    names = list(rows.fieldnames or [])
    if has_text(dict.fromkeys(names)):
        yield from (from_row(row, name, number) for number, row in numbered(rows))
    else:
        # as lists: names may be empty or occur twice, and rows be longer than the first
        yield from without_text(names, filter(None, rows.reader), name)
    for line, fault in bad:
        yield from_row(fault, f"{name}:line", line)


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    """The rows of a CSV file with their numbers, from 1, then a BadLine for each line that is no text, with the line's
    number. Raises UserError where the file cannot be read."""
    bad: list[tuple[int, BadLine]] = []
    yield from numbered(table_of(path, readable(text_lines(path), bad)))
    yield from bad


def numbered(rows: Iterator[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    """The rows of a table with their numbers, from 1; a BadLine for one that the csv module cannot read."""
    for number in count(1):
        try:
            yield number, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, BadLine(str(error))


def table_of(path: Path, lines: Iterable[str]) -> csv.DictReader[str]:
    """The rows of a file's lines, by the names in the first. Columns are parted by tabs in `.tsv`, else by the sign
    that `sep=;` names, which Excel writes before them, or that occurs most in the first, a comma if any."""
    csv.field_size_limit(MAX_FIELD)
    # the csv module refuses zero bytes, and carriage returns within a line, which old spreadsheets end lines with
    clean = (part for line in lines for part in (io.StringIO(line, newline=None) if "\r" in line[:-2] else (line,)))
    clean = (line.replace("\0", "") for line in clean)
    head = next(clean, "")
    sign = SIGN.fullmatch(head)
    head = next(clean, "") if sign else head
    tabs = ".tsv" in path.name.lower()
    delimiter = sign[1] if sign else "\t" if tabs else max(",;\t|", key=head.count)
    return csv.DictReader(chain([head], clean), restkey="", delimiter=delimiter)


def read_parquet(path: Path, name: str) -> Iterator[Record]:
    """One record a row, `damaged` where it cannot be read; a table without texts is one record.

    Raises UserError where the file is unreadable.
    """
    with opened_parquet(path) as file:
        names = file.schema_arrow.names
        if not has_text(dict.fromkeys(names)):
            rows = ([*row.values()] for batch in file.iter_batches(ROWS) for row in batch.to_pylist())
            yield from without_text(names, rows, name)
            return
        wanted = [key for key in names if key.lower().strip() in (*TEXT_KEYS, *OTHER_KEYS)]
        for number, row in enumerate(rows_of(file, wanted), 1):
            yield from_row(row, name, number)


@contextmanager
def opened_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file of anyone's. Raises UserError where it cannot be read, now or later."""
    try:
        with path.open("rb") as raw:
            yield pq.ParquetFile(raw, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}", "write or fetch it again") from error


def rows_of(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The rows of a file, as Python has them, a part in memory at a time; a BadLine for one that Python cannot hold, as
    dates after the year 9999 and strings that are no UTF-8."""
    for batch in file.iter_batches(ROWS, columns=columns):
        for _, rows in halving(pa.RecordBatch.to_pylist, batch):
            yield from [BadLine(rows.more["why"])] if isinstance(rows, Dropped) else rows


def has_text(row: Mapping[str, Any]) -> bool:
    """Whether a row, or a first row of names, has a column for its text."""
    return not named(row).keys().isdisjoint(TEXT_KEYS)


def without_text(names: Sequence[str], rows: Iterator[Sequence[Any]], name: str) -> Iterator[Record]:
    """The records of a table without a column for texts: one a row, where most rows have a sentence, else one."""
    if any(map(is_sentence, names)):  # no names, but a row
        names, rows = (), chain([names], rows)
    first = list(islice(rows, FIRST))
    rows = chain(first, rows)
    cells = [[*chain.from_iterable(fields(*cell) for cell in zip_longest(names, row, fillvalue=""))] for row in first]
    if not mostly_sentences(cells):
        yield as_markdown(names, rows, name)
        return
    for number, row in enumerate(rows, 1):
        pairs = list(zip_longest(names, row, fillvalue=""))
        yield from_row(all_of(dict(pairs), chain.from_iterable(fields(*pair) for pair in pairs)), name, number)


def mostly_sentences(rows: Sequence[Iterable[tuple[str, str]]]) -> bool:
    """Whether at least half of some rows have a sentence among their cells."""
    return 0 < len(rows) <= 2 * sum(any(is_sentence(text) for _, text in row) for row in rows)


def is_sentence(text: str) -> bool:
    """Whether a cell is as long as a sentence."""
    unspaced = len(IN_EAST.findall(text)) / EAST_WORD + len(IN_SOUTHEAST.findall(text)) / SOUTHEAST_WORD
    return len(text.split()) + unspaced >= SENTENCE


def cells_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and texts of all that a JSON object holds."""
    return [cell for name, value in row.items() for cell in fields(name, value)]


def fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Name and text of a value, of one that holds others of each, by its own name; none of what is empty, of bytes
    and of lists of numbers, which are no text."""
    left = [(name, value)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += reversed([(str(inner), item) for inner, item in value.items()])
        elif isinstance(value, list):
            left += reversed([(name, item) for item in value if isinstance(item, str | dict | list)])
        elif not isinstance(value, bytes | None) and (text := str(value).strip()):
            yield name.strip(), text


def all_of(row: Mapping[str, Any], cells: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A row whose text is all its cells, a line each."""
    row = named(row)
    title = next((row[key] for key in TITLE_KEYS if row.get(key)), "")
    return {**row, "title": title, "text": "\n".join(f"{name}: {text}" if name else text for name, text in cells)}


def as_markdown(names: Sequence[Any], rows: Iterable[Iterable[Any]], name: str) -> Record:
    """A table as one record; `empty` without rows, `large_table` where it would be longer than MAX_TABLE."""

    def line(cells: Iterable[Any]) -> str:
        texts = ("" if cell is None else " ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(texts)} |"

    head = [line(names), line("---" for _ in names)]
    made, size = list(head), 0
    for row in rows:
        made.append(line(row))
        size += len(made[-1])
        if size > MAX_TABLE:
            why = f"no column `text` or `content`, and over {MAX_TABLE:,} characters as a table"
            return unread(name, "large_table", why)
    if made == head:
        return unread(name, "empty", "a table without rows")
    return Record("\n".join(made).encode("utf-8", "replace"), "text/markdown", name, name, "utf-8", name)


def from_row(row: Any, name: str, number: int) -> Record:
    """A record from one row; `damaged` where it could not be read, `no_text` where it holds none."""
    source, row = f"{name}:{number}", named(row) if isinstance(row, dict) else row
    text = next((row[key] for key in TEXT_KEYS if row.get(key) is not None), None) if isinstance(row, dict) else None
    if not isinstance(text, str | bytes):
        if isinstance(row, BadLine):
            return unread(source, "damaged", row.why)
        why = (
            "no `text` or `content`, and few rows with a sentence"
            if text is None
            else f"`text` is of type {type(text).__name__}"
        )
        return unread(source, "no_text", why)

    if len(text) > MAX_WHOLE:
        return unread(source, "too_large", f"longer than {MAX_WHOLE:,} bytes: divide it")

    def value(key: str) -> str:
        found = row.get(key)
        return str(found) if isinstance(found, str | int) else ""

    url = value("url") or f"{name}#{value('id') or number}"
    when = row.get("fetched_at")
    when = None if not isinstance(when, datetime) else when if when.tzinfo else when.replace(tzinfo=UTC)
    body, charset = (text, "") if isinstance(text, bytes) else (text.encode("utf-8", "replace"), "utf-8")
    licence = value("licence") or value("license")
    return Record(body, "text/plain", url, source, charset, value("title"), when, licence)
