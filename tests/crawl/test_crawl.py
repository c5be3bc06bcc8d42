"""The crawl against real HTTP servers: rules obeyed, limits kept, the same bytes after a kill."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from warcio.archiveiterator import ArchiveIterator

from gristmill.crawl import stage
from gristmill.crawl.addresses import is_allowed, parse_networks
from gristmill.crawl.links import read_sitemap
from gristmill.crawl.urls import normalise
from gristmill.crawl.warc import read_pages
from gristmill.errors import UserError
from gristmill.recipe import Crawl

Handler = Callable[[web.Request], web.StreamResponse]
LOCAL = {"allow_networks": ["127.0.0.0/8"], "delay": 0.0, "connect_to": {}}


class Site:
    """A real HTTP server in a thread; `times` holds when each path was asked for."""

    def __init__(self, handler: Handler) -> None:
        self.handler, self.asked = handler, []  # type: ignore[var-annotated]
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self.serve, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait()

    def serve(self, ready: threading.Event) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.asked.append((time.monotonic(), request.host, request.path_qs))
            response = self.handler(request)
            response.headers["Date"] = "x"
            return response

        async def start() -> None:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(app)
            await runner.setup()
            place = web.TCPSite(runner, "127.0.0.1", 0)
            await place.start()
            self.port = place._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
            ready.set()

        self.loop.run_until_complete(start())
        self.loop.run_forever()

    def paths(self) -> list[str]:
        return [path for _, _, path in self.asked]

    def params(self, **changes: object) -> Crawl:
        settings = {**LOCAL, "seeds": ["http://site.test/"], "connect_to": {"*.test": f"127.0.0.1:{self.port}"}}
        return Crawl(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], Site]]:
    sites: list[Site] = []

    def make(handler: Handler) -> Site:
        sites.append(Site(handler))
        return sites[-1]

    yield make
    for site in sites:
        site.loop.call_soon_threadsafe(site.loop.stop)


def page(*links: str, head: str = "", text: str = "hello") -> web.Response:
    anchors = " ".join(f'<a href="{link}">x</a>' for link in links)
    return web.Response(text=f"<html><head>{head}</head><body>{text} {anchors}</body></html>", content_type="text/html")


def pages_of(table: dict[str, object]) -> Handler:
    """A site of pages by path; a response factory, or a list of links."""

    def handler(request: web.Request) -> web.StreamResponse:
        entry = table.get(request.path_qs)
        if entry is None:
            return web.Response(status=404)
        return entry(request) if callable(entry) else page(*entry, text=request.path_qs)  # type: ignore[arg-type, misc]

    return handler


def crawl(params: Crawl, out: Path) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    out.mkdir(exist_ok=True)
    result = stage.run({}, params, out)
    log = [json.loads(line) for line in (out / "urls.jsonl").read_text().splitlines()]
    return result.counts, result.dropped, {row["url"].removeprefix("http://site.test"): row["outcome"] for row in log}


def test_robots_longest_match_and_wildcards(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    rules = "User-agent: *\nDisallow: /shop\nAllow: /shop/open\nDisallow: /*.pdf$\n\nUser-agent: other\nDisallow: /\n"
    site = serve(
        pages_of(
            {
                "/robots.txt": lambda _: web.Response(text=rules),
                "/": ["/shop/open", "/shop/shut", "/a.pdf", "/a.pdf?x=1"],
                "/shop/open": [],
                "/shop/shut": [],
                "/a.pdf": [],
                "/a.pdf?x=1": [],
            }
        )
    )
    _, dropped, outcome = crawl(site.params(), tmp_path)
    assert outcome["/shop/open"] == outcome["/a.pdf?x=1"] == "page"
    assert outcome["/shop/shut"] == outcome["/a.pdf"] == "robots"
    assert dropped["robots"] == 2
    assert "/shop/shut" not in site.paths()


def test_a_server_error_on_robots_means_stay_out(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    site = serve(pages_of({"/robots.txt": lambda _: web.Response(status=500), "/": []}))
    with pytest.raises(UserError, match=r"robots\.txt answered 500"):
        crawl(site.params(), tmp_path)
    assert "/" not in site.paths()


def test_sitemap_redirects_depth_and_limits(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    def move(target: str) -> Handler:
        return lambda _: web.Response(status=302, headers={"Location": target})

    xml = "<urlset><url><loc>http://site.test/mapped</loc></url></urlset>"
    site = serve(
        pages_of(
            {
                "/": ["/moved", "/loop", "/deep1", "http://other.test/", "/gone", "/picture", "/hidden", "/quiet"],
                "/sitemap.xml": lambda _: web.Response(text=xml, content_type="application/xml"),
                "/mapped": [],
                "/moved": move("/target"),
                "/target": [],
                "/loop": move("/loop2"),
                "/loop2": move("/loop"),
                "/deep1": ["/deep2"],
                "/deep2": ["/deep3"],
                "/deep3": [],
                "/picture": lambda _: web.Response(body=b"x", content_type="image/png"),
                "/hidden": lambda _: page("/behind", head='<meta name="robots" content="noindex">'),
                "/behind": [],
                "/quiet": lambda _: page("/unseen", head='<meta name="robots" content="nofollow">'),
                "/unseen": [],
            }
        )
    )
    _, _, outcome = crawl(site.params(max_depth=2), tmp_path)
    expected = {
        "/mapped": "page",
        "/moved": "redirect",
        "/target": "page",
        "/deep2": "page",
        "/deep3": "depth",
        "/gone": "status_404",
        "/picture": "type",
        "/hidden": "noindex",
        "/behind": "page",
        "/quiet": "page",
        "http://other.test/": "host",
        "/loop": "redirect",
        "/loop2": "redirect",
    }
    assert {url: outcome[url] for url in expected} == expected
    assert "/unseen" not in outcome
    kept = [found.url for found in read_pages(tmp_path / "pages-00000.warc.gz")]
    assert "http://site.test/hidden" not in kept
    assert len(kept) == len(set(kept)) == list(outcome.values()).count("page")


def test_long_redirect_chains_end(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    def step(request: web.Request) -> web.StreamResponse:
        if request.path == "/":
            return page("/r0")
        number = int(request.path.removeprefix("/r") or 0) if request.path.startswith("/r") else -1
        return (
            web.Response(status=301, headers={"Location": f"/r{number + 1}"})
            if number >= 0
            else web.Response(status=404)
        )

    site = serve(lambda request: web.Response(status=404) if "." in request.path else step(request))
    _, dropped, _ = crawl(site.params(max_redirects=3), tmp_path)
    assert dropped["redirects"] == 1
    assert dropped["redirect"] == 4


def test_size_cap_and_gzip_bomb(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    import gzip

    bomb = gzip.compress(b"\0" * 50_000_000)
    site = serve(
        pages_of(
            {
                "/": ["/big", "/bomb"],
                "/big": lambda _: web.Response(text="x" * 300_000, content_type="text/html"),
                "/bomb": lambda _: web.Response(
                    body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "text/html"}
                ),
            }
        )
    )
    _, dropped, _ = crawl(site.params(max_bytes=200_000), tmp_path)
    assert dropped["too_large"] == 2


def test_busy_server_is_asked_again_and_pauses_are_kept(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    seen: list[str] = []

    def busy(_: web.Request) -> web.StreamResponse:
        seen.append("x")
        return web.Response(status=429, headers={"Retry-After": "1"}) if len(seen) == 1 else page()

    site = serve(pages_of({"/": ["/busy", "/a", "/b"], "/busy": busy, "/a": [], "/b": []}))
    _, _, outcome = crawl(site.params(delay=0.05), tmp_path)
    assert outcome["/busy"] == "page"
    times = sorted(moment for moment, _, _ in site.asked)
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.045


def test_private_addresses_are_refused(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    site = serve(pages_of({"/": []}))
    for seed in (f"http://127.0.0.1:{site.port}/", f"http://localhost:{site.port}/"):
        with pytest.raises(UserError, match="private address") as caught:
            crawl(site.params(seeds=[seed], allow_networks=[]), tmp_path / seed[7:12])
        assert "allow_networks" in caught.value.remedy
    assert not site.asked


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.1.1",
        "::1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
    ],
)
def test_every_spelling_of_a_private_address(address: str) -> None:
    assert not is_allowed(address, [])


def test_public_and_named_addresses_are_allowed() -> None:
    assert is_allowed("93.184.216.34", [])
    assert is_allowed("10.1.2.3", parse_networks(["10.0.0.0/8"]))


def test_unreachable_seed_and_wrong_seed_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"http://site\.test/"):
        crawl(
            Crawl(
                seeds=["http://site.test/"], connect_to={"*": "127.0.0.1:9"}, allow_networks=["127.0.0.0/8"], delay=0.0
            ),
            tmp_path / "a",
        )
    with pytest.raises(UserError, match="ftp://x"):
        crawl(Crawl(seeds=["ftp://x"]), tmp_path / "b")


def test_the_warc_is_what_other_tools_read(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    site = serve(pages_of({"/": ["/a"], "/a": []}))
    crawl(site.params(), tmp_path)
    path = tmp_path / "pages-00000.warc.gz"
    with path.open("rb") as file:
        kinds = [record.rec_type for record in ArchiveIterator(file)]
    assert kinds == ["warcinfo", *["response", "request", "metadata"] * 2]
    check = subprocess.run([sys.executable, "-m", "warcio.cli", "check", str(path)], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    first = next(read_pages(path))
    assert (first.url, first.content_type, first.charset) == ("http://site.test/", "text/html", "utf-8")


def test_a_truncated_warc_is_named(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    crawl(serve(pages_of({"/": []})).params(), tmp_path)
    path = tmp_path / "pages-00000.warc.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"pages-00000\.warc\.gz is truncated"):
        list(read_pages(path))


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("HTTP://Ex.org:80/a/../b#c", "", "http://ex.org/b"),
        ("../x?q=ä b", "https://e.org/a/b/", "https://e.org/a/x?q=%C3%A4%20b"),
        ("mailto:x@y", "http://e.org/", None),
        ("//h.org", "https://e.org/", "https://h.org/"),
        ("http://e.org:99999/", "", None),
        ("/%7Ea%20b", "http://e.org/", "http://e.org/%7Ea%20b"),
    ],
)
def test_normalise(url: str, base: str, expected: str | None) -> None:
    assert normalise(url, base) == expected
    if expected:
        assert normalise(expected) == expected


def test_sitemaps_of_all_kinds() -> None:
    body = b"<sitemapindex><sitemap><loc> http://e.org/a&amp;b.xml </loc></sitemap></sitemapindex>"
    assert list(read_sitemap(body, "http://e.org/")) == ["http://e.org/a&b.xml"]
    assert list(read_sitemap(b"http://e.org/1\nhttp://e.org/2\n", "http://e.org/")) == [
        "http://e.org/1",
        "http://e.org/2",
    ]


def words(seed: int, count: int = 12) -> str:
    """Text of its own for every seed."""
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefgh", k=5)) for _ in range(count))


def tangled(request: web.Request) -> web.StreamResponse:
    """300 pages that link to each other at random and answer after random pauses."""
    if "." in request.path:
        return web.Response(status=404)
    number = int(request.path.strip("/") or 0)
    draw = random.Random(number)
    return page(*(f"/{draw.randrange(300)}" for _ in range(8)), text=words(number))


def test_kill_and_rerun_gives_the_same_bytes(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    site = serve(tangled)
    params = site.params(max_pages=250)
    code = (
        "import sys, pathlib\nfrom gristmill.recipe import Crawl\nfrom gristmill.crawl import stage\n"
        "stage.run({}, Crawl.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    )
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}

    def start(out: Path) -> subprocess.Popen[bytes]:
        out.mkdir(exist_ok=True)
        return subprocess.Popen([sys.executable, "-c", code, params.model_dump_json(), str(out)], env=environment)

    assert start(tmp_path / "whole").wait(60) == 0
    broken = tmp_path / "broken"
    for wanted in (80, 160):  # kill once that many pages have been asked for in this attempt
        before = len(site.asked)
        process = start(broken)
        while len(site.asked) - before < wanted and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (broken / "frontier.db").exists()
    assert start(broken).wait(60) == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert (
        names == ["pages-00000.warc.gz", "robots.jsonl", "urls.jsonl"] == sorted(path.name for path in broken.iterdir())
    )
    for name in names:
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
