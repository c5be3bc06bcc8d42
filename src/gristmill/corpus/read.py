"""Reads what people have (WARC, HTML, text, Markdown, JSONL, Parquet, folders of these) as one stream of records."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.errors import UserError
from gristmill.manifest import MANIFEST

HTML_TYPES = ("text/html", "application/xhtml+xml")
TEXT_TYPES = ("text/plain", "text/markdown")
KINDS = {
    "warc": (".warc", ".warc.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".ndjson"),
    "parquet": (".parquet",),
    "text/html": (".html", ".htm", ".xhtml"),
    "text/plain": (".txt",),
    "text/markdown": (".md", ".markdown"),
}
TEXT_KEYS = ("text", "content")
ROWS = 500  # of a Parquet file in memory at once


@dataclass(frozen=True)
class Record:
    """One page or text as it was found; `fault` names the rule that drops it where it could not even be read."""

    body: bytes
    content_type: str
    url: str
    source: str  # file and record offset
    charset: str = ""
    title: str = ""
    fetched_at: datetime | None = None
    licence: str = ""
    fault: str = ""


def readable_files(path: Path) -> Iterator[Path]:
    """The file, or the files of known kinds below the folder, by name."""
    if not path.exists():
        raise UserError(f"no such file or folder: {path}", "check the path")
    if path.is_file():
        if not kind_of(path):
            raise UserError(f"{path} is of no known kind", f"give a file that ends with {', '.join(extensions())}")
        yield path
        return
    for file in sorted(path.rglob("*"), key=lambda file: file.relative_to(path).parts):
        kind = kind_of(file)
        # the .jsonl files of a stage folder are its logs
        if kind and file.is_file() and not (kind == "jsonl" and (file.parent / MANIFEST).exists()):
            yield file


def kind_of(path: Path) -> str:
    """The kind of a file by its name, or an empty string."""
    name = path.name.lower()
    return next((kind for kind, ends in KINDS.items() if name.endswith(ends)), "")


def extensions() -> list[str]:
    """Every file name ending that can be read."""
    return [end for ends in KINDS.values() for end in ends]


def read_file(path: Path, name: str) -> Iterator[Record]:
    """Yield the records of one file; `name` stands for it in sources and, where there is no URL, in URLs."""
    kind = kind_of(path)
    if kind == "jsonl":
        yield from read_jsonl_texts(path, name)
    elif kind == "parquet":
        yield from read_parquet_texts(path, name)
    else:
        yield Record(path.read_bytes(), kind, name, name)


def read_jsonl_texts(path: Path, name: str) -> Iterator[Record]:
    """One record a line; a line that is no JSON object with a text is `damaged`."""
    number = 0
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except ValueError:
                        row = None
                    yield from_row(row, name, number)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is truncated or damaged after line {number}: {error}", "fetch it again") from error


def read_parquet_texts(path: Path, name: str) -> Iterator[Record]:
    """One record a row. Raises UserError where the file is unreadable or has no text column."""
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if not set(TEXT_KEYS) & set(names):
            raise UserError(f"{path} has no column `text` or `content`", f"rename one of {', '.join(names)}")
        wanted = [key for key in (*TEXT_KEYS, "url", "id", "title", "fetched_at", "licence") if key in names]
        number = 0
        for batch in file.iter_batches(ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield from_row(row, name, number)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}", "write or fetch it again") from error


def from_row(row: Any, name: str, number: int) -> Record:
    """A record from one object of a JSONL or Parquet file."""
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
    return Record(body, "text/plain", url, source, "utf-8", value("title"), when, value("licence"))
