"""The Document: one row of the Parquet files that the corpus stages hand to each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.errors import UserError
from gristmill.manifest import atomic_path

ROWS_PER_GROUP = 1_000  # bounds the memory of readers and writers, whatever the file's size


@dataclass
class Document:
    """One extracted text and where it came from. Stages add values; none changes a column's type."""

    id: str
    text: str
    url: str = ""
    host: str = ""
    title: str = ""
    language: str = ""  # ISO 639-1
    language_score: float = 0.0  # 0..1
    fetched_at: datetime | None = None  # UTC
    source: str = ""  # file and record offset, for example `pages.warc.gz:10244`
    licence: str = ""
    quality: dict[str, float] = field(default_factory=dict)  # measure → value
    cluster: str = ""  # id of the near-duplicate cluster; its own id where alone
    redactions: dict[str, int] = field(default_factory=dict)  # rule → replacements


SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("url", pa.string()),
        ("host", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("fetched_at", pa.timestamp("ms", tz="UTC")),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("quality", pa.map_(pa.string(), pa.float64())),
        ("cluster", pa.string()),
        ("redactions", pa.map_(pa.string(), pa.int64())),
    ]
)


def document_id(url: str, text: str) -> str:
    """A stable id: 16 hex digits of BLAKE2b over URL and text."""
    return hashlib.blake2b(f"{url}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Stream documents into one Parquet file, atomically and in bounded memory; returns how many."""
    count = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for document in documents:
            row = asdict(document)
            row["quality"] = sorted(document.quality.items())
            row["redactions"] = sorted(document.redactions.items())
            rows.append(row)
            count += 1
            if len(rows) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    return count


def document_files(folder: Path) -> list[Path]:
    """The Parquet shards of a stage folder (or the one file given), in name order.

    Raises UserError where there are none.
    """
    files = [folder] if folder.is_file() else sorted(folder.glob("*.parquet"))
    if not files:
        raise UserError(f"no documents in {folder}", "give a folder of .parquet files, as `extract` writes")
    return files


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A file of documents. Raises UserError naming it where it is not readable, also while it is read."""
    try:
        yield pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}", "run the stage before again") from error


def read_batches(folder: Path, columns: Sequence[str], rows: int = ROWS_PER_GROUP) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a stage folder's documents in file and row order, as many rows at a time.

    Columns that a file lacks are left out. Raises UserError naming a file that is not readable or has no id and text.
    """
    for path in document_files(folder):
        with open_parquet(path) as file:
            known = file.schema_arrow.names
            missing = {"id", "text"} - set(known)
            if missing:
                raise UserError(
                    f"{path} has no column {', '.join(sorted(missing))}", "run `gristmill extract` on it first"
                )
            yield from file.iter_batches(rows, columns=[name for name in columns if name in known])


def read_documents(folder: Path) -> Iterator[Document]:
    """Yield the documents of a stage folder in file and row order, a row group at a time."""
    for batch in read_batches(folder, SCHEMA.names):
        for row in batch.to_pylist():
            row["quality"] = dict(row.get("quality") or ())
            row["redactions"] = dict(row.get("redactions") or ())
            yield Document(**row)


def count_documents(folder: Path) -> int:
    """How many documents a stage folder holds, from the Parquet footers alone."""
    total = 0
    for path in document_files(folder):
        with open_parquet(path) as file:
            total += file.metadata.num_rows
    return total
