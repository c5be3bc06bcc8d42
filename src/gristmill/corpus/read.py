"""Reading pages from whatever the user has: WARC, HTML, text, Markdown, JSON lines, Parquet, or folders of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.crawl.warc import read_pages
from gristmill.document import ROWS_PER_GROUP
from gristmill.errors import UserError
from gristmill.manifest import read_jsonl

HTML = (".html", ".htm", ".xhtml")
PLAIN = (".txt", ".md", ".markdown")
WARC = (".warc", ".warc.gz")
RECORDS = (".jsonl", ".ndjson")
TEXT_KEYS = ("text", "content")


@dataclass(frozen=True)
class Raw:
    """One page before extraction: either bytes of a content type, or text as it is."""

    url: str
    source: str
    body: bytes = b""
    text: str | None = None
    content_type: str = ""
    charset: str = ""
    title: str = ""
    fetched_at: datetime | None = None


def input_files(paths: list[str]) -> list[tuple[Path, Path]]:
    """Every readable file under the paths, with the folder that its name is relative to, in name order.

    Raises UserError for a path that is missing, is of no known kind, or holds nothing to read.
    """
    found: list[tuple[Path, Path]] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            files = [(file, path) for file in sorted(path.rglob("*")) if file.is_file() and is_known(file)]
            if not files:
                raise UserError(f"{path} holds no page", "give WARC, HTML, text, Markdown, JSONL or Parquet files")
            found += files
        elif not path.exists():
            raise UserError(f"no such file or folder: {path}", "check the path")
        elif not is_known(path):
            raise UserError(f"{path} is of no known kind", "give WARC, HTML, text, Markdown, JSONL or Parquet")
        else:
            found.append((path, path.parent))
    return found


def is_known(path: Path) -> bool:
    """Whether a file's name says that it holds pages."""
    name = path.name.lower()
    known = (*HTML, *PLAIN, *WARC, *RECORDS, ".parquet")
    return name.endswith(known) and name != "urls.jsonl"  # the crawl's own log


def read_raw(path: Path, folder: Path) -> Iterator[Raw]:
    """Yield the pages of one file in order."""
    name = path.name.lower()
    source = str(path.relative_to(folder))
    if name.endswith(WARC):
        for page in read_pages(path):
            yield Raw(page.url, page.source, page.body, None, page.content_type, page.charset, "", page.fetched_at)
    elif name.endswith(HTML):
        yield Raw(source, source, path.read_bytes(), content_type="text/html")
    elif name.endswith(PLAIN):
        yield Raw(source, source, path.read_bytes(), content_type="text/plain")
    elif name.endswith(RECORDS):
        for number, record in enumerate(read_jsonl(path), 1):
            text = next((record[key] for key in TEXT_KEYS if isinstance(record.get(key), str)), "")
            place = f"{source}:{number}"
            yield Raw(str(record.get("url") or place), place, text=text, title=str(record.get("title") or ""))
    else:
        yield from read_parquet(path, source)


def read_parquet(path: Path, source: str) -> Iterator[Raw]:
    """Yield the rows of a Parquet file that has a text column. Raises UserError where it has none."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}", "fetch it again") from error
    names = file.schema_arrow.names
    column = next((key for key in TEXT_KEYS if key in names), None)
    if column is None:
        raise UserError(f"{path} has no column named {' or '.join(TEXT_KEYS)}", "rename the column that holds text")
    wanted = [column, *(name for name in ("url", "title") if name in names)]
    number = 0
    for batch in file.iter_batches(ROWS_PER_GROUP, columns=wanted):
        for row in batch.to_pylist():
            number += 1
            place = f"{source}:{number}"
            yield Raw(str(row.get("url") or place), place, text=row[column] or "", title=str(row.get("title") or ""))
