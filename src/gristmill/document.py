"""The Document: one row of the Parquet files that the corpus stages hand to each other.

Rows become Python objects only where a stage looks at them one by one; what reads or moves whole columns (counting,
deduplication) works on Arrow record batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.errors import UserError
from gristmill.files import atomic_path
from gristmill.manifest import intact

ROWS_PER_GROUP = 1_000  # with the next line, bounds the memory of readers and writers, whatever the file's size
CHARACTERS_PER_GROUP = 16_000_000
REPEATING = ("host", "language", "licence")  # columns worth a dictionary; in the others it only costs time


@dataclass
class Document:
    """One extracted text and where it came from: a row of the Parquet files that the corpus stages write.

    `id` and `text` are always there; a field that no stage has filled has its default. Stages add values; none changes
    a column's type.
    """

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
    signals: str = ""  # reservations that the page makes and that did not keep it out, as `ai-input`; between spaces


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
        ("signals", pa.string()),
    ]
)
MAPS = ("quality", "redactions")


def document_id(url: str, text: str) -> str:
    """A stable id: 16 hex digits of BLAKE2b over URL and text."""
    return hashlib.blake2b(f"{url}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def to_batch(documents: Sequence[Document]) -> pa.RecordBatch:
    """The documents as columns of SCHEMA."""
    columns = []
    for column in SCHEMA:
        values = [getattr(document, column.name) for document in documents]
        if column.name in MAPS:
            values = [sorted(value.items()) for value in values]
        columns.append(pa.array(values, column.type))
    return pa.record_batch(columns, schema=SCHEMA)


def from_batch(batch: pa.RecordBatch) -> list[Document]:
    """The rows of a batch whose columns are all of SCHEMA's."""
    columns = [batch.column(name).to_pylist() for name in SCHEMA.names]
    for name in MAPS:
        index = SCHEMA.names.index(name)
        columns[index] = [dict(value) for value in columns[index]]
    return [Document(*row) for row in zip(*columns, strict=True)]


def in_groups(documents: Iterable[Document]) -> Iterator[pa.RecordBatch]:
    """Cut a stream of documents into batches of bounded rows and size."""
    group: list[Document] = []
    size = 0
    for document in documents:
        group.append(document)
        size += len(document.text)
        if len(group) == ROWS_PER_GROUP or size >= CHARACTERS_PER_GROUP:
            yield to_batch(group)
            group, size = [], 0
    if group:
        yield to_batch(group)


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Stream documents into one Parquet file, atomically and in bounded memory; returns how many."""
    return write_batches(path, in_groups(documents))


def write_batches(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Stream batches of SCHEMA into one Parquet file, a row group each; returns how many rows."""
    count = 0
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            SCHEMA,
            compression="zstd",
            use_dictionary=list(REPEATING),
            write_statistics=False,
            write_page_checksum=True,
        ) as writer,
    ):
        for batch in batches:
            count += batch.num_rows
            if batch.num_rows:
                writer.write_table(pa.Table.from_batches([batch]))
    return count


def document_files(folder: Path) -> list[Path]:
    """The Parquet shards of a stage folder (or the one file given), in name order.

    Raises UserError where there are none.
    """
    if folder.is_file() and folder.suffix != ".parquet":
        raise UserError(f"{folder} is no .parquet file of documents", f"make one: gristmill extract {folder} -o DIR")
    files = [folder] if folder.is_file() else sorted(folder.glob("*.parquet"))
    if not files:
        within = sorted(found.parent.name for found in folder.glob("*/documents*.parquet"))  # of a run's stages
        remedy = f", here one of {', '.join(dict.fromkeys(within))}" if within else ""
        raise UserError(f"no documents in {folder}", f"give a folder of .parquet files, as `extract` writes{remedy}")
    return files


def open_documents(path: Path) -> pq.ParquetFile:
    """One Parquet file of documents. Raises UserError where it is none."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}", "run the stage before again") from error
    missing = {"id", "text"} - set(file.schema_arrow.names)
    if missing:
        raise UserError(f"{path} has no column {', '.join(sorted(missing))}", "run `gristmill extract` on it first")
    return file


def read_batches(
    path: Path, groups: Sequence[int] | None = None, columns: Sequence[str] = tuple(SCHEMA.names)
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one file, or of some of its row groups, as batches of `columns` in SCHEMA's types.

    A column that the file lacks has its default. Raises UserError where the file is unreadable or a type does not fit.
    """
    file = open_documents(path)
    known = [name for name in columns if name in file.schema_arrow.names]
    try:
        for batch in file.iter_batches(ROWS_PER_GROUP, row_groups=groups, columns=known, use_threads=False):
            yield pa.record_batch([fill(batch, name) for name in columns], names=list(columns))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UserError(f"{path}: {error}", "run the stage before again, or `gristmill extract` on it") from error


def fill(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of a batch in SCHEMA's type, with defaults where it is missing or null."""
    kind = SCHEMA.field(name).type
    if name in batch.schema.names:
        found = batch.column(name)
        found = found if found.type == kind else found.cast(kind)
        if not found.null_count or pa.types.is_timestamp(kind):
            return found
        if name not in MAPS:
            return found.fill_null("" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else 0.0)
        return pa.array([value or [] for value in found.to_pylist()], kind)
    default = Document("", "")
    value = [] if name in MAPS else getattr(default, name)
    return pa.array([value] * batch.num_rows, kind)


def read_columns(folder: Path, columns: Sequence[str], rows: int = ROWS_PER_GROUP) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a stage folder's documents in file and row order, at most `rows` at a time."""
    for path in map(intact, document_files(folder)):
        for batch in read_batches(path, columns=columns):
            for at in range(0, len(batch), rows):
                yield batch.slice(at, rows)


def read_documents(folder: Path | str) -> Iterator[Document]:
    """Yield the documents of a corpus stage's folder (or of one Parquet file with the columns `id` and `text`), in
    file and row order.

    Memory is bounded by a row group: of ours at most 1,000 documents or about 16 million characters.
    Raises UserError, when it gets there, where there is no such file or one is unreadable or has other columns.
    """
    for path in map(intact, document_files(Path(folder))):
        for batch in read_batches(path):
            yield from from_batch(batch)


def count_documents(folder: Path) -> int:
    """How many documents a stage folder holds, from the Parquet footers alone."""
    return sum(open_documents(path).metadata.num_rows for path in document_files(folder))
