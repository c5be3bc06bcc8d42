"""Stage `extract`: pages → documents. Memory holds a few chunks of pages, whatever the input's size."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

from gristmill.corpus.html import decode, extract_html, tidy
from gristmill.corpus.language import detect
from gristmill.corpus.read import Raw, input_files, read_raw
from gristmill.document import Document, document_id, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.progress import Progress
from gristmill.recipe import Extract

CHUNK = 200  # pages that one process takes at a time
MIN_TEXT = 1  # characters


def run(inputs: Mapping[str, Path], params: Extract, out: Path) -> Manifest:
    """Extract every page of the crawl, or of `params.paths`.

    Raises UserError where there is nothing to read, or a file is damaged.
    """
    paths = params.paths or ([str(inputs["crawl"])] if "crawl" in inputs else [])
    if not paths:
        raise UserError("nothing to extract", "add a [crawl] table or set extract.paths")
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with Progress("extract", None, "pages") as bar:

        def documents() -> Iterator[Document]:
            pages = (raw for path, folder in input_files(paths) for raw in read_raw(path, folder))
            for result in mapped(pages, params.workers):
                counts["documents_in"] += 1
                bar.advance()
                if isinstance(result, Document):
                    yield result
                else:
                    dropped[result] += 1

        kept = write_documents(out / "documents.parquet", documents())
    if not kept:
        raise UserError(f"no document could be extracted from {', '.join(paths)}", "check that its pages hold text")
    return Manifest(counts={"documents_in": counts["documents_in"], "documents_out": kept}, dropped=dict(dropped))


def mapped(pages: Iterable[Raw], workers: int) -> Iterator[Document | str]:
    """`extract` over all pages, in order; in processes once there are enough pages to pay for them."""
    source = iter(pages)
    first = list(islice(source, CHUNK))
    if workers == 1 or len(first) < CHUNK:
        yield from extract_chunk(first)
        for raw in source:
            yield extract(raw)
        return
    # spawned, not forked: a forked child inherits locks that other threads hold
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        waiting: deque[Future[list[Document | str]]] = deque([pool.submit(extract_chunk, first)])
        while waiting:
            while len(waiting) < 2 * workers and (chunk := list(islice(source, CHUNK))):
                waiting.append(pool.submit(extract_chunk, chunk))
            yield from waiting.popleft().result()


def extract_chunk(pages: list[Raw]) -> list[Document | str]:
    """`extract` of each page."""
    return [extract(raw) for raw in pages]


def extract(raw: Raw) -> Document | str:
    """A document from a page, or the name of the rule that drops it."""
    title = raw.title
    if raw.text is not None:
        text = tidy(raw.text)
    else:
        html = raw.content_type in ("text/html", "application/xhtml+xml") or looks_like_html(raw)
        if not html and not raw.content_type.startswith("text/"):
            return "not_text"
        try:
            text = decode(raw.body, raw.charset, html=html)
        except UnicodeError:
            return "not_text"
        if html:
            found = extract_html(text)
            title, text = found.title, found.text
        else:
            text = tidy(text)
    text = text.encode("utf-8", "replace").decode()  # lone surrogates have no place in files
    if len(text) < MIN_TEXT:
        return "empty"
    language, score = detect(text)
    return Document(
        id=document_id(raw.url, text),
        text=text,
        url=raw.url,
        host=urlsplit(raw.url).hostname or "",
        title=title,
        language=language,
        language_score=score,
        fetched_at=raw.fetched_at,
        source=raw.source,
    )


def looks_like_html(raw: Raw) -> bool:
    """Whether bytes without a useful type begin as HTML does."""
    return raw.content_type == "application/octet-stream" and raw.body[:1024].lstrip().lower().startswith(
        (b"<!doctype html", b"<html")
    )
