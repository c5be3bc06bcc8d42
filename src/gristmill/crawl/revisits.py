"""What an earlier crawl knows of a page: how to ask whether it has changed, and what it linked to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gristmill.crawl.frontier import Found, Frontier, Visit
from gristmill.crawl.warc import read_outlinks
from gristmill.inputs.text_files import read_jsonl


def earlier_pages(folder: str) -> Iterator[tuple[str, ...]]:
    """What an earlier crawl noted of its pages: URL, date, digest, etag, modified, date of the original, source."""
    if not folder:
        return
    for row in read_jsonl(Path(folder) / "urls.jsonl"):
        if row.get("outcome") in ("page", "unchanged") and row.get("digest") and row.get("source"):
            names = ("url", "date", "digest", "etag", "modified")
            original = row.get("original") or row.get("date") or ""
            yield (*(str(row.get(name) or "") for name in names), str(original), str(row["source"]))


def conditions(frontier: Frontier, url: str) -> dict[str, str]:
    """Headers that ask for a page only if it has changed since the earlier crawl."""
    earlier = frontier.previous(url)
    if not earlier:
        return {}
    pairs = {"If-None-Match": earlier[2], "If-Modified-Since": earlier[3]}
    return {name: value for name, value in pairs.items() if value}


def earlier_links(frontier: Frontier, folder: str, visit: Visit) -> list[Found]:
    """The links of an unchanged page, from the earlier crawl's WARC."""
    earlier = frontier.previous(visit.url)
    name, _, offset = (earlier or ("",) * 6)[5].rpartition(":")
    try:
        urls = read_outlinks(Path(folder) / name, int(offset))
    except (OSError, ValueError):
        return []
    return [Found(url, visit.depth + 1, 0, "page") for url in urls]
