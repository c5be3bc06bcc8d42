"""Stage `extract`: pages → documents with title, main text and language.

Memory is bounded by the chunks in flight; time grows with the input's bytes and falls with `workers`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from gristmill.corpus.drops import DropLog
from gristmill.corpus.charset import to_utf8
from gristmill.corpus.html import TooComplex, extract_html
from gristmill.corpus.language import detect
from gristmill.corpus.parallel import map_in_order
from gristmill.corpus.read import HTML_TYPES, TEXT_TYPES, Record, read_records
from gristmill.document import Document, document_id, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.progress import Progress
from gristmill.recipe import Extract

CHUNK_RECORDS = 64
CHUNK_BYTES = 4_000_000
LOOKS_LIKE_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|div|p|h1)\b", re.IGNORECASE)
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
MARKDOWN_TITLE = re.compile(r"^# +(.+?)\s*#*$", re.MULTILINE)
UNREADABLE = bytes(code for code in (*range(32), 127) if code not in b"\t\n\f\r")
SAMPLE = 1 << 16  # bytes of a page that are looked at
MAX_UNREADABLE = 0.02  # share of replacement and control characters: more is another format or charset
MAX_BYTES = 64_000_000  # of a page's HTML


def run(inputs: Mapping[str, Path], params: Extract, out: Path) -> Manifest:
    """Extract the crawl's WARC files, or `params.paths`, into `documents.parquet` and `dropped.jsonl`.

    Raises UserError where there is nothing to read or no document comes out.
    """
    files = input_files(inputs, params)
    records = read_records(files)
    sizes: Counter[str] = Counter()
    with Progress("extract", None, "pages") as bar, DropLog(out / "dropped.jsonl") as log:

        def documents() -> Iterator[Document]:
            for results in map_in_order(extract_chunk, in_chunks(records), params.workers):
                for result in results:
                    if isinstance(result, Document):
                        sizes["characters"] += len(result.text)
                        sizes["words"] += len(result.text.split())
                        yield result
                    else:
                        log.drop(*result)
                bar.advance(len(results))

        kept = write_documents(out / "documents.parquet", documents())
    if not kept:
        named = ", ".join(map(str, files[:3])) + (" …" if len(files) > 3 else "")
        raise UserError(f"no document in {named}: {dict(log.rules) or 'no records'}", "check what the input holds")
    counts = {"documents_in": kept + log.total, "documents_out": kept, **sizes}
    return Manifest(counts=counts, dropped=dict(log.rules))


def input_files(inputs: Mapping[str, Path], params: Extract) -> list[Path]:
    """What to read: the paths given, else the crawl's WARC files."""
    if params.paths:
        return [Path(path) for path in params.paths]
    if "crawl" not in inputs:
        raise UserError("extract has nothing to read", "set extract.paths, or add a [crawl] table to the recipe")
    files = sorted(inputs["crawl"].glob("*.warc.gz"))
    if not files:
        raise UserError(f"no .warc.gz file in {inputs['crawl']}", "run the crawl again")
    return files


def in_chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Group records into chunks of bounded number and bytes."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.body)
        if len(chunk) == CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def extract_chunk(records: list[Record]) -> list[Document | tuple[str, str, str]]:
    """Documents of records, or (id, url, rule) for those that leave."""
    results: list[Document | tuple[str, str, str]] = []
    for record in records:
        result = extract_record(record)
        results.append(("", clean(record.url), result) if isinstance(result, str) else result)
    return results


def extract_record(record: Record) -> Document | str:
    """The document of one record, or the rule that drops it: damaged, not_html, too_large, undecodable, too_complex or
    empty.
    """
    if record.fault:
        return record.fault
    is_text = record.content_type in TEXT_TYPES
    if not is_text and record.content_type not in HTML_TYPES and not LOOKS_LIKE_HTML.search(record.body[:2048]):
        return "not_html"
    if len(record.body) > MAX_BYTES and not is_text:
        return "too_large"
    raw = to_utf8(record.body, record.charset)
    if is_unreadable(raw[:SAMPLE]):
        return "undecodable"
    if is_text:
        text = raw.decode("utf-8")
        heading = MARKDOWN_TITLE.search(text) if record.content_type == "text/markdown" else None
        found = heading.group(1) if heading else ""
    else:
        try:
            page = extract_html(raw)
        except TooComplex:
            return "too_complex"
        found, text = page.title, page.text
    text = clean(text).strip()
    if not text:
        return "empty"
    url = clean(record.url)
    language, score = detect(text)
    return Document(
        id=document_id(url, text),
        text=text,
        url=url,
        host=host_of(url),
        title=clean(record.title or found),
        language=language,
        language_score=score,
        fetched_at=record.fetched_at,
        source=record.source,
        licence=clean(record.licence),
    )


def is_unreadable(raw: bytes) -> bool:
    """Whether so much of a text is control and replacement characters that it must be something else."""
    odd = len(raw) - len(raw.translate(None, UNREADABLE)) + raw.count(b"\xef\xbf\xbd")
    return odd > MAX_UNREADABLE * len(raw)


def clean(text: str) -> str:
    """Text that every UTF-8 file can hold: Unix line ends, no control characters, no lone surrogates."""
    text = CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text.encode("utf-8", "replace").decode("utf-8")


def host_of(url: str) -> str:
    """The host of an http(s) URL, or an empty string."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""
