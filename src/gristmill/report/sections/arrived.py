"""What came in: addresses and pages of the crawl, and one page before and after its text was taken out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from gristmill.corpus.execution.rules import SIGNALS
from gristmill.corpus.extract.stage import input_files
from gristmill.corpus.readers.input_files import HTML_TYPES, kind_of
from gristmill.corpus.readers.warc_ranges import InputRange, read_range, whole_files
from gristmill.corpus.readers.warc_records import Extent
from gristmill.document import read_columns
from gristmill.errors import UserError
from gristmill.html.charset import to_utf8
from gristmill.manifest import Manifest
from gristmill.recipe import Extract
from gristmill.report.blocks import Block, Pair, Prose, Quote, Section, Table
from gristmill.report.plot import number
from gristmill.report.reading import Folders, crawl_of, first_of_each, last_corpus, manifest, redactor

FILE = "(file)"  # in a host's place
COLUMNS = ("id", "text", "url", "source")
EXAMPLES = 1_000  # documents that the shown page is chosen from
LENGTHS = range(300, 2_000)  # characters of its text, where there is one of that length
MOST_RAW = 12_000  # characters of a page's HTML that are shown
OUTCOMES = {
    "canonical": "names another page as the one to read in its place",
    "copy": "the same bytes as another page",
    "feed": "a site's list of its news, read for addresses",
    "host": "a host that the recipe does not name",
    "trap": "one of endlessly many addresses with the same page",
    "type": "no page but another kind of file",
    "unchanged": "as it was at an earlier crawl",
    "depth": "further from the first addresses than the recipe's largest depth",
    "no_sitemap": "a sitemap that is not there",
    "redirect": "sends on to another address, which is counted itself",
    "robots": "robots.txt of the site forbids it",
    "sitemap": "a site's list of its pages, read for addresses",
    **SIGNALS,
}


def arrived(folders: Folders) -> Section | None:
    """What was fetched or read, and what extraction made of it."""
    crawl = manifest(folders, crawl_of(folders))
    extract = manifest(folders, "extract")
    if not crawl and not extract:
        return None
    says, blocks = [], list[Block]()
    if crawl:
        says.append(fetched(crawl))
        head = ("reason", "how many", "one of them")
        blocks.append(Table("Addresses that gave no page", head, refused(folders, crawl)))
    elif extract:
        says.append(f"{number(extract.counts.get('documents_in', 0))} texts were read from files.")
    if extract:
        says.append(
            "Extraction takes the main text out of each page and leaves navigation, banners and footers behind; what "
            "remains is called a document."
        )
        blocks += before_and_after(folders, extract)
    return Section("What came in", " ".join(says), blocks)


def fetched(crawl: Manifest) -> str:
    """How many pages came from how many addresses."""
    pages, urls = crawl.counts.get("pages", 0), crawl.counts.get("urls", 0)
    found = f" out of {number(urls)} addresses that it found" if urls else ""
    return (
        "A crawler fetches pages and follows their links. It keeps to each site's robots.txt, the file in which a site "
        f"says what programs may fetch. {number(pages)} pages came in{found}."
    )


def refused(folders: Folders, crawl: Manifest) -> list[list[str]]:
    """By reason, the addresses that gave no page, with an example."""
    example = first_of_each(folders, "crawl", "urls.jsonl", "outcome")
    counted = sorted(crawl.dropped.items(), key=lambda item: -item[1])
    return [
        [f"{name}{meaning(name)}", number(count), str(example.get(name, {}).get("url", ""))] for name, count in counted
    ]


def meaning(outcome: str) -> str:
    """`: what the outcome means`, or nothing where its name says it."""
    if outcome.startswith("status_"):
        return f": the server answered {outcome.removeprefix('status_')}"
    return f": {OUTCOMES[outcome]}" if outcome in OUTCOMES else ""


def before_and_after(folders: Folders, extract: Manifest) -> list[Block]:
    """A page as it came in, next to the text that extraction took out of it; nothing where no source was HTML."""
    clean, row = redactor(folders), chosen(folders)
    raw = raw_page(folders, extract, row["source"]) if row else None
    if row is None or raw is None:
        return []
    after = next((found for found in rows(folders["extract"]) if found["source"] == row["source"]), row)
    text, cut = str(after["text"]), " (its beginning)" if len(raw) > MOST_RAW else ""
    size = f"{len(raw.encode()):,} bytes of HTML{cut}"
    return [
        Prose(f"One page before and after extraction: {row['url']}"),
        Pair(
            Quote(f"before: {size}", clean(raw)[:MOST_RAW], code=True),
            Quote(f"after: {len(text.encode()):,} bytes of text", clean(text), code=True),
        ),
    ]


def chosen(folders: Folders) -> dict[str, Any] | None:
    """The document whose page is shown, if there is one: of the first that were kept, one by a hash of ids."""
    last = last_corpus(folders)
    first = list(islice(rows(last), EXAMPLES)) if last else []
    fit = [row for row in first if row["source"] and len(row["text"]) in LENGTHS] or [r for r in first if r["source"]]
    return min(fit, key=lambda row: hashlib.blake2b(row["id"].encode()).digest(), default=None)


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """A corpus stage's documents, one at a time."""
    for batch in read_columns(folder, COLUMNS):
        yield from batch.to_pylist()


def raw_page(folders: Folders, extract: Manifest, source: str) -> str | None:
    """The HTML that a document was taken from; None where it came from something else or is no longer there."""
    inputs = {"crawl": folders[stage]} if (stage := crawl_of(folders)) else {}
    paths = [path for path in extract.params.get("paths", []) if "://" not in path]  # nothing is fetched again
    try:
        files = {file.name: file.path for file in whole_files(input_files(inputs, Extract(paths=paths)))}
        name = source.rpartition(":")[0]
        if name in files and kind_of(files[name]) == "warc":
            return stored_page(files[name], source)
        if source in files and kind_of(files[source]) == "text/html":
            return to_utf8(files[source].read_bytes(), "").decode("utf-8")
    except (UserError, OSError, EOFError, ValueError):  # it was moved, or has changed since
        pass
    return None


def stored_page(path: Path, source: str) -> str | None:
    """The HTML of a document's WARC record."""
    name, _, offset = source.rpartition(":")
    size = path.stat().st_size
    for found in read_range(InputRange(path, name, size), int(offset.partition("+")[0]), Extent()):
        if found.source == source:
            return to_utf8(found.body, found.charset).decode("utf-8") if found.content_type in HTML_TYPES else None
    return None


def hosts(folder: Path) -> Counter[str]:
    """Documents by host, a row group at a time."""
    found: Counter[str] = Counter()
    for batch in read_columns(folder, ("host",)):
        found.update(host or FILE for host in batch.column(0).to_pylist())
    return found
