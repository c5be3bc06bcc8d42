"""JSONL, CSV and Parquet files: one record a row, with its text in a column `text` or `content`."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.corpus.record import Record
from gristmill.errors import UserError

TEXT_KEYS = ("text", "content")
OTHER_KEYS = ("url", "id", "title", "fetched_at", "licence", "license")
ROWS = 500  # of a Parquet file in memory at once
MAX_FIELD = 1 << 27  # characters of one CSV field


def read_jsonl(path: Path, name: str) -> Iterator[Record]:
    """One record a line; a line that is no JSON object with a text is `damaged`.

    Raises UserError where a compressed file is cut off or damaged; the lines before have been yielded by then.
    """
    number = 0
    try:
        with path.open("rb") as raw, unpacked(raw, path.name) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except (ValueError, RecursionError):
                        row = None
                    yield from_row(row, name, number)
    except (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException) as error:
        raise UserError(f"{path} is truncated or damaged after line {number}: {error}", "fetch it again") from error


def unpacked(raw: BinaryIO, name: str) -> BinaryIO:
    """A file's content, unpacked as its name asks."""
    if name.lower().endswith(".gz"):
        return cast(BinaryIO, gzip.open(raw))
    if name.lower().endswith(".zst"):
        return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw), "zstd")))
    return raw


def read_csv(path: Path, name: str) -> Iterator[Record]:
    """One record a row, by the names in the first row; `.tsv` is split at tabs. Raises UserError without a text."""
    csv.field_size_limit(MAX_FIELD)
    tabs = path.name.lower().endswith(".tsv")
    with path.open("rb") as raw, io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as file:
        rows = csv.DictReader(without_zeros(file), delimiter="\t" if tabs else ",")
        names = rows.fieldnames or []
        if not set(TEXT_KEYS) & set(names):
            raise no_text(path, names)
        number = 0
        while True:
            number += 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error:
                yield from_row(None, name, number)
            else:
                yield from_row(row, name, number)


def without_zeros(lines: Iterator[str]) -> Iterator[str]:
    """Lines without the character that the csv module refuses."""
    for line in lines:
        yield line.replace("\0", "")


def read_parquet(path: Path, name: str) -> Iterator[Record]:
    """One record a row. Raises UserError where the file is unreadable or has no text column."""
    try:
        with path.open("rb") as raw:
            file = pq.ParquetFile(raw)
            names = file.schema_arrow.names
            if not set(TEXT_KEYS) & set(names):
                raise no_text(path, names)
            wanted = [key for key in (*TEXT_KEYS, *OTHER_KEYS) if key in names]
            number = 0
            for batch in file.iter_batches(ROWS, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield from_row(row, name, number)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}", "write or fetch it again") from error


def no_text(path: Path, names: list[str] | Any) -> UserError:
    """What is wrong with a table without texts."""
    return UserError(f"{path} has no column `text` or `content`", f"rename one of {', '.join(names) or 'none'}")


def from_row(row: Any, name: str, number: int) -> Record:
    """A record from one row; `damaged` where it holds no text."""
    source = f"{name}:{number}"
    text = next((row[key] for key in TEXT_KEYS if row.get(key) is not None), None) if isinstance(row, dict) else None
    if not isinstance(text, str):
        return Record(b"", "", source, source, fault="damaged")

    def value(key: str) -> str:
        found = row.get(key)
        return str(found) if isinstance(found, str | int) else ""

    url = value("url") or f"{name}#{value('id') or number}"
    when = row.get("fetched_at")
    when = None if not isinstance(when, datetime) else when if when.tzinfo else when.replace(tzinfo=UTC)
    body = text.encode("utf-8", "replace")  # JSON may hold lone surrogates, which no UTF-8 file can
    licence = value("licence") or value("license")
    return Record(body, "text/plain", url, source, "utf-8", value("title"), when, licence)
