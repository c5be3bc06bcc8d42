"""Stage `crawl`: seed URLs → WARC. Same site, same bytes: pages are written in the order in which they were found,
however their answers arrive.

Memory holds the answers in flight only; the frontier on disk grows with the URLs seen.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from gristmill.crawl.fetch import Fetcher, Response, redirect_target
from gristmill.crawl.frontier import Frontier, Visit
from gristmill.crawl.urls import host_of, normalise, read_links, read_sitemap
from gristmill.crawl.warc import WarcWriter
from gristmill.errors import UserError
from gristmill.manifest import Manifest, write_jsonl
from gristmill.progress import Progress
from gristmill.recipe import Crawl

KEPT = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown")
COMMIT_EVERY = 64  # URLs between two moments that a kill cannot undo
STORED = ("page", "redirect")  # outcomes that are written to the WARC


def run(inputs: Mapping[str, Path], params: Crawl, out: Path) -> Manifest:
    """Crawl until the frontier is empty or `max_pages` pages are kept.

    Raises UserError where no seed can be fetched or no page is kept.
    """
    seeds = [seed_url(seed) for seed in params.seeds]
    patterns = params.hosts or sorted({host_of(seed) for seed in seeds})
    frontier = Frontier(out / "frontier.db")
    for seed in seeds:
        frontier.add(seed, 0, "")
    with (out / "pages.warc.gz").open("ab") as file:
        file.truncate(frontier.offset)
        crawl = Crawler(params, patterns, frontier, file)
        asyncio.run(crawl.run())
    counts = frontier.counts()
    if not counts.get("page"):
        reasons = [
            f"{row['url']} ({crawl.details.get(str(row['url']), row['outcome'])})"
            for row, _ in zip(frontier.log(), range(5), strict=False)
        ]
        remedy = "check the address, the server and its robots.txt"
        if "private_address" in counts:
            remedy = 'allow the network in the recipe, as allow_networks = ["127.0.0.0/8"]'
        raise UserError(f"the crawl kept no page: {'; '.join(reasons)}", remedy)
    write_jsonl(out / "urls.jsonl", [row for row in frontier.log() if row["outcome"]])
    frontier.close()
    for path in out.glob("frontier.db*"):
        path.unlink()
    return Manifest(
        counts={
            "urls": sum(counts.values()),
            "pages": counts["page"],
            "requests": crawl.requests,
            "bytes": (out / "pages.warc.gz").stat().st_size,
        },
        dropped={name: count for name, count in counts.items() if name != "page"},
    )


def seed_url(seed: str) -> str:
    """A seed's normalised URL. Raises UserError where it is none."""
    url = normalise(seed)
    if url is None:
        raise UserError(f"seed {seed!r} is no http or https URL", "write it as https://example.org/")
    return url


class Crawler:
    """Fetches ahead in a bounded window and settles URLs strictly in order."""

    def __init__(self, params: Crawl, hosts: list[str], frontier: Frontier, file: BinaryIO) -> None:
        self.params, self.hosts, self.frontier, self.file = params, hosts, frontier, file
        self.writer = WarcWriter(file)
        self.requests = frontier.requests
        self.pages = frontier.counts().get("page", 0)
        self.details: dict[str, str] = {}  # URL → why it failed, in words

    async def run(self) -> None:
        """The loop: keep the window full, settle its oldest, commit now and then."""
        if not self.frontier.offset:
            self.writer.info(now(), self.params.user_agent)
        window: deque[tuple[Visit, asyncio.Task[Response]]] = deque()
        last = settled = 0
        async with Fetcher(self.params) as self.fetcher:
            with Progress("crawl", self.params.max_pages, "pages") as bar:
                bar.resume(self.pages)
                while self.pages < self.params.max_pages:
                    room = 4 * self.params.concurrency - len(window)
                    for visit in (
                        self.frontier.pending(last, room) if room > self.params.concurrency or not window else []
                    ):
                        last = visit.seq
                        window.append((visit, asyncio.create_task(self.attempt(visit))))
                    if not window:
                        break
                    visit, task = window.popleft()
                    before = self.pages
                    self.settle(visit, await task)
                    settled += 1
                    bar.advance(self.pages - before, f"{len(window)} in flight")
                    if settled % COMMIT_EVERY == 0:
                        self.commit()
                for _, task in window:
                    task.cancel()
                await asyncio.gather(*(task for _, task in window), return_exceptions=True)
        self.commit()

    def commit(self) -> None:
        """WARC first, then the frontier that speaks of it: a kill between loses only what is fetched again."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.frontier.commit(self.file.tell(), self.requests)

    async def attempt(self, visit: Visit) -> Response:
        """Fetch one URL, unless a rule of ours forbids it."""
        if not any(fnmatch(host_of(visit.url), pattern) for pattern in self.hosts):
            return Response(visit.url, error="host", requests=0)
        if visit.depth > self.params.max_depth:
            return Response(visit.url, error="depth", requests=0)
        if visit.hops > self.params.max_redirects:
            return Response(visit.url, error="redirects", requests=0)
        return await self.fetcher.visit(visit.url)

    def settle(self, visit: Visit, response: Response) -> None:
        """Note the outcome, write what is kept, and queue what it names."""
        self.requests += response.requests
        if response.sitemaps and self.frontier.first_of_host(host_of(visit.url)):
            for url in response.sitemaps:
                self.frontier.add(url, visit.depth, visit.url, sitemap=True)
        outcome, links = self.judge(visit, response)
        if response.detail:
            self.details[visit.url] = response.detail
        if outcome in STORED:
            note = f"hopsFromSeed: {visit.depth}\r\n" + (f"via: {visit.via}\r\n" if visit.via else "")
            note += "".join(f"outlink: {url} L a/@href\r\n" for url in links)
            status = f"HTTP/1.1 {response.status} {response.reason}"
            self.writer.exchange(
                visit.url,
                now(),
                response.address,
                self.fetcher.request_block(visit.url),
                status,
                response.headers,
                response.body,
                note,
            )
        if outcome == "redirect":
            for url in links:
                self.frontier.add(url, visit.depth, visit.url, hops=visit.hops + 1, sitemap=visit.sitemap)
        else:
            for url in links:
                self.frontier.add(
                    url, visit.depth + 1, visit.url, sitemap=visit.sitemap and url.endswith((".xml", ".gz"))
                )
        self.pages += outcome == "page"
        self.frontier.settle(visit, outcome, response.status)

    def judge(self, visit: Visit, response: Response) -> tuple[str, list[str]]:
        """The outcome of a URL and the URLs that it names."""
        if response.error:
            return response.error, []
        target = redirect_target(response)
        if target:
            return "redirect", [target]
        if response.status != 200:
            return ("no_sitemap" if visit.sitemap else f"status_{response.status}"), []
        if visit.sitemap:
            return "sitemap", list(read_sitemap(response.body, visit.url))
        kind = response.header("content-type").partition(";")[0].strip().lower()
        if kind not in KEPT:
            return "type", []
        header = response.header("x-robots-tag").lower()
        if "html" not in kind:
            return ("noindex" if "noindex" in header else "page"), []
        text = bytes_to_str(response.body, detect_encoding(response.body, from_html_meta=True) or "utf-8")
        found = read_links(text, visit.url, self.params.user_agent)
        links = [] if found.nofollow or "nofollow" in header else found.urls
        return ("noindex" if found.noindex or "noindex" in header else "page"), links


def now() -> str:
    """The time for WARC-Date (RFC 3339), or the one in SOURCE_DATE_EPOCH where a build must be reproducible."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
