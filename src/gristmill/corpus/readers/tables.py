"""JSONL, CSV and Parquet files: one record a row, with its text in a column `text` or `content`, in capitals too; a
table without such a column is one record, as a Markdown table.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.corpus.execution.documents import halving
from gristmill.corpus.execution.judge import Dropped
from gristmill.errors import UserError
from gristmill.inputs.text_files import MAX_WHOLE, BadLine, json_lines, named, readable, text_lines
from gristmill.record import Record, unread

TEXT_KEYS = ("text", "content")
OTHER_KEYS = ("url", "id", "title", "fetched_at", "licence", "license")
ROWS = 500  # of a Parquet file in memory at once
MAX_FIELD = 1 << 27  # characters of one CSV field
SIGN = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)
MAX_TABLE = 1_000_000  # characters of a table without texts: more is data, and no text to read


def read_jsonl(path: Path, name: str) -> Iterator[Record]:
    """One record a line; a line that is no JSON is `damaged`, one without a text `no_text`.

    Raises UserError where a compressed file is cut off or damaged; the lines before have been yielded by then.
    """
    for number, row in json_lines(path):
        yield from_row(row, name, number)


def read_csv(path: Path, name: str) -> Iterator[Record]:
    """One record a row, by the names in the first row; a table without texts is one record, as a Markdown table."""
    bad: list[tuple[int, BadLine]] = []
    rows = table_of(path, readable(text_lines(path), bad))
    names = list(rows.fieldnames or [])
    if not set(TEXT_KEYS) & named(dict.fromkeys(names)).keys():
        # as lists: names may be empty or occur twice, and rows be longer than the first
        yield as_markdown(names, filter(None, rows.reader), name)
    else:
        yield from (from_row(row, name, number) for number, row in numbered(rows))
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
        if not set(TEXT_KEYS) & named(dict.fromkeys(names)).keys():
            rows = (row.values() for batch in file.iter_batches(ROWS) for row in batch.to_pylist())
            yield as_markdown(names, rows, name)
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
        why = "no `text` or `content`" if text is None else f"`text` is of type {type(text).__name__}"
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
