"""Reads what people have (text, Markdown, HTML, PDF, EPUB, JSONL, CSV, Parquet, Wikipedia dumps) as streams of records.

A reader takes a path and the name that stands for it, and yields records in the file's order, in bounded memory (PDF
files and the parts of an EPUB: one at a time). WARC files are read by `pieces.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from gristmill.corpus.books import read_epub, read_pdf
from gristmill.corpus.record import Record
from gristmill.corpus.tables import read_csv, read_jsonl, read_parquet
from gristmill.corpus.wikipedia import read_dump
from gristmill.errors import UserError
from gristmill.manifest import MANIFEST

HTML_TYPES = ("text/html", "application/xhtml+xml")
TEXT_TYPES = ("text/plain", "text/markdown")
KINDS = {
    "warc": (".warc", ".warc.gz", ".wet", ".wet.gz"),
    "jsonl": (".jsonl", ".ndjson", ".jsonl.gz", ".json.gz", ".jsonl.zst"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "wikipedia": (".bz2", "-pages-articles.xml"),
    "epub": (".epub",),
    "pdf": (".pdf",),
    "text/html": (".html", ".htm", ".xhtml"),
    "text/plain": (".txt",),
    "text/markdown": (".md", ".markdown"),
}
READERS: dict[str, Callable[[Path, str], Iterator[Record]]] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "parquet": read_parquet,
    "wikipedia": read_dump,
    "epub": read_epub,
    "pdf": read_pdf,
}


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
    return [end for ends in KINDS.values() for end in ends if end.startswith(".")]


def read_file(path: Path, name: str) -> Iterator[Record]:
    """Yield the records of one file; `name` stands for it in sources and, where there is no URL, in URLs.

    Raises UserError where the file as a whole cannot be read.
    """
    kind = kind_of(path)
    if kind in READERS:
        yield from READERS[kind](path, name)
    else:
        yield Record(path.read_bytes(), kind, name, name)
