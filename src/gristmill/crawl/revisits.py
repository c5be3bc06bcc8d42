"""What an earlier crawl knows of a page: how to ask whether it has changed, what it linked to, and the page itself,
where a later crawl could not have it for the time being.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.crawl.frontier import Found, Frontier, Visit
from gristmill.crawl.warc import read_outlinks, warc_name
from gristmill.errors import Damaged
from gristmill.files import write_jsonl
from gristmill.inputs.text_files import read_jsonl

# outcomes that may be others soon
PASSING = "timeout", "unreachable", "damaged", "host_failing", "robots_unreachable"
# statuses that ask to come again (RFC 9110 §15.5.9; RFC 6585 §4), as all from 500 on do
LATER = 408, 429


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


def keep_unreached(earlier: Sequence[Path], now: Path, out: Path) -> list[str]:
    """Copy pages of earlier crawls, the newest first, that a crawl could not have for the time being into a folder like
    theirs, which is there only if there are any; returns their URLs.

    They are those whose own request failed so that a later one may not, and those that were not asked for as what
    had named them failed so. Whatever else a crawl does not have is gone.
    """
    missed = {str(row["url"]): for_now(row) for row in read_jsonl(now / "urls.jsonl")}
    rows = [(folder, row) for folder in earlier for row in read_jsonl(folder / "urls.jsonl") if not for_now(row)]
    named = {str(row["url"]): str(row["via"]) for _, row in reversed(rows)}
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    kept: dict[str, Any] = {}
    with (partial / warc_name(0)).open("wb") as file:
        for folder, row in rows:
            url, (name, _, offset) = str(row["url"]), str(row.get("source", "")).rpartition(":")
            if url in kept or not is_missed(url, missed, named):
                continue
            kept[url] = row
            if row["outcome"] == "page":
                kept[url] = {**row, "source": f"{warc_name(0)}:{file.tell()}"}
                file.write(member_at(folder / name, int(offset)))
    write_jsonl(partial / "urls.jsonl", list(kept.values()))
    pages = [url for url, row in kept.items() if row["outcome"] == "page"]
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    if not pages:
        shutil.rmtree(out)
    return pages


def for_now(row: Mapping[str, Any]) -> bool:
    """Whether a request failed so that a later one may not."""
    status = int(row.get("status") or 0)
    return row["outcome"] in PASSING or status in LATER or status >= 500


def is_missed(url: str, missed: Mapping[str, bool], named: Mapping[str, str]) -> bool:
    """Whether an address, or else the first of what led to it that was asked for, failed for now."""
    seen = set[str]()
    while url not in missed and url in named and url not in seen:
        seen.add(url)
        url = named[url]
    return missed.get(url, False)


def member_at(path: Path, offset: int) -> bytes:
    """The member of a gzip file at an offset, packed as it is (RFC 1952). Raises Damaged where it is none."""
    parts, unpack = list[bytes](), zlib.decompressobj(wbits=31)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while not unpack.eof and (part := file.read(1 << 16)):
                unpack.decompress(part)
                parts.append(part)
    except (OSError, zlib.error) as error:
        raise Damaged(f"{path} is damaged at byte {offset:,}: {error}", "put a whole copy there") from error
    whole = b"".join(parts)
    return whole[: len(whole) - len(unpack.unused_data)]
