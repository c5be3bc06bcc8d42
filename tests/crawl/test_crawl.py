"""The crawl against real HTTP servers: rules obeyed, limits kept, the same bytes after a kill."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fastwarc
import fastwarc.warc
import pytest
from aiohttp import web
from warcio.archiveiterator import ArchiveIterator

from gristmill import progress
from gristmill.corpus.readers.warc_ranges import read_records
from gristmill.crawl import stage
from gristmill.crawl.urls import host_of
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
            made = self.handler(request)
            response = await made if inspect.isawaitable(made) else made
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
        settings: dict[str, Any] = {
            **LOCAL,
            "seeds": ["http://site.test/"],
            "connect_to": {"*.test": f"127.0.0.1:{self.port}"},
        }
        return Crawl(**{**settings, **changes})


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


def pages_of(table: Mapping[str, Any]) -> Handler:
    """A site of pages by path; a response factory, or a list of links."""

    def handler(request: web.Request) -> web.StreamResponse:
        entry = table.get(request.path_qs)
        if entry is None:
            return web.Response(status=404)
        return entry(request) if callable(entry) else page(*entry, text=request.path_qs)

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
    kept = [found.url for found in read_records([tmp_path / "pages-00000.warc.gz"])]
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


def test_a_site_that_was_down_is_tried_again(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    up: list[bool] = []
    site = serve(lambda request: page(text="up") if up else web.Response(status=503))
    with pytest.raises(UserError, match="kept no page"):
        crawl(site.params(), tmp_path)
    up.append(True)
    assert crawl(site.params(), tmp_path)[0]["pages"] == 1


def test_how_it_goes_can_be_read_while_it_runs(
    serve: Callable[[Handler], Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(stage, "STATUS_SECONDS", 0.0)
    seen: list[dict[str, Any]] = []

    def answer(request: web.Request) -> web.StreamResponse:
        if (tmp_path / "status.json").exists():
            seen.append(json.loads((tmp_path / "status.json").read_text()))
        return tangled(request)

    crawl(serve(answer).params(max_pages=60), tmp_path)
    assert 20 < seen[-1]["pages"] <= 60 and seen[-1]["outcomes"]["page"] == seen[-1]["pages"]
    assert seen[-1]["hosts"]["site.test"]["late"] is False and not (tmp_path / "status.json").exists()


def test_the_warc_is_what_other_tools_read(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    site = serve(pages_of({"/": ["/a"], "/a": []}))
    crawl(site.params(), tmp_path)
    path = tmp_path / "pages-00000.warc.gz"
    with path.open("rb") as file:
        kinds = [record.rec_type for record in ArchiveIterator(file)]
    assert kinds == ["warcinfo", *["response", "request", "metadata"] * 2]
    check = subprocess.run([sys.executable, "-m", "warcio.cli", "check", str(path)], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    first = next(read_records([path]))
    assert (first.url, first.content_type, first.charset) == ("http://site.test/", "text/html", "utf-8")


def test_a_truncated_warc_is_named(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    crawl(serve(pages_of({"/": []})).params(), tmp_path)
    path = tmp_path / "pages-00000.warc.gz"
    with path.open("rb") as file:
        last = [record.stream_pos for record in fastwarc.ArchiveIterator(file)][-1]
    path.write_bytes(path.read_bytes()[:-40])
    assert [(found.source, found.fault) for found in read_records([path])][-1] == (f"{path.name}:{last}", "damaged")


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
    assert start(params, tmp_path / "whole").wait(60) == 0
    broken = tmp_path / "broken"
    for wanted in (80, 160):  # kill once that many pages have been asked for in this attempt
        before = len(site.asked)
        process = start(params, broken)
        while len(site.asked) - before < wanted and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (broken / "frontier.db").exists()
    assert start(params, broken).wait(60) == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert (
        names == ["pages-00000.warc.gz", "robots.jsonl", "urls.jsonl"] == sorted(path.name for path in broken.iterdir())
    )
    for name in names:
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def start(params: Crawl, out: Path) -> subprocess.Popen[bytes]:
    """A crawl in a process of its own, with a fixed clock in its records."""
    out.mkdir(exist_ok=True)
    code = (
        "import sys, pathlib\nfrom gristmill.recipe import Crawl\nfrom gristmill.crawl import stage\n"
        "stage.run({}, Crawl.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    )
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    return subprocess.Popen([sys.executable, "-c", code, params.model_dump_json(), str(out)], env=environment)


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "urls.jsonl").read_text().splitlines()]
    return {row["url"]: row for row in rows}


def many_hosts(request: web.Request) -> web.StreamResponse:
    """Twelve hosts of 40 pages that link to each other at random."""
    if "." in request.path:
        return web.Response(status=404)
    seed = f"{request.host}{request.path}"
    draw = random.Random(seed)
    links = [f"http://h{draw.randrange(12)}.test/{draw.randrange(40)}" for _ in range(6)] + [f"/{draw.randrange(40)}"]
    return page(*links, text=words(zlib.crc32(seed.encode())))


def jittery(handler: Handler, longest: float) -> Callable[[web.Request], Any]:
    """The same site, answering after pauses that differ every time."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(random.random() * longest)
        return handler(request)

    return answer


def test_many_hosts_give_the_same_bytes_whatever_the_timing(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    site = serve(jittery(many_hosts, 0.02))
    params = site.params(seeds=["http://h0.test/0"], hosts=["*.test"], max_pages=300)
    first, second = start(params, tmp_path / "first"), start(params, tmp_path / "second")
    assert first.wait(60) == second.wait(60) == 0
    broken = tmp_path / "broken"
    for wanted in (100, 150):
        before = len(site.asked)
        process = start(params, broken)
        while len(site.asked) - before < wanted and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (broken / "frontier.db").exists() and start(params, broken).wait(60) == 0
    for name in ("pages-00000.warc.gz", "urls.jsonl", "robots.jsonl"):
        whole = (tmp_path / "first" / name).read_bytes()
        assert whole == (tmp_path / "second" / name).read_bytes() == (broken / name).read_bytes(), name
    pages = [found.url for found in read_records([broken / "pages-00000.warc.gz"])]
    assert len(pages) == len(set(pages)) == 300


def test_a_slow_host_holds_up_nobody(
    serve: Callable[[Handler], Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "LATE_SECONDS", 0.3)

    others: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.host != "h0.test":
            others.append(request.path)
        elif "." not in request.path:
            while len(others) < 300:  # it answers once the others are far: if they waited for it, nobody would ever
                await asyncio.sleep(0.01)
        return many_hosts(request)

    site = serve(answer)  # type: ignore[arg-type]
    params = site.params(seeds=[f"http://h{n}.test/0" for n in range(12)], hosts=["*.test"], timeout=60)
    made, _, _ = crawl(params, tmp_path)
    assert made["pages"] > 400 and made["urls_left"] == 0
    assert sum(host == "h0.test" for _, host, _ in site.asked) > 20


def test_thousands_of_hosts_are_asked_side_by_side(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        if "." in request.path:
            return web.Response(status=404)
        return page(*(f"/{n}" for n in range(3)), text=words(zlib.crc32(f"{request.host}{request.path}".encode())))

    site = serve(answer)
    seeds = [f"http://host{n}.test/" for n in range(1000)]
    made, _, _ = crawl(site.params(seeds=seeds, delay=0.1), tmp_path)
    assert made["pages"] == 4000
    for host in ("host0.test", "host999.test"):
        times = sorted(at for at, name, _ in site.asked if name == host)
        assert all(later - earlier > 0.09 for earlier, later in itertools.pairwise(times))
    begun = [at for at, name, _ in site.asked if name == "host500.test"]
    meanwhile = {name for at, name, _ in site.asked if begun[0] < at < begun[-1]} - {"host500.test"}
    assert len(meanwhile) > 100  # one after the other there would be none


def test_budgets(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    site = serve(many_hosts)
    params = site.params(seeds=[f"http://h{n}.test/0" for n in range(12)], hosts=["*.test"])
    made, _, _ = crawl(params.model_copy(update={"max_pages_per_host": 7}), tmp_path / "a")
    assert made["pages"] == 84 and made["urls_left"] > 0
    made, _, _ = crawl(params.model_copy(update={"max_pages": 30}), tmp_path / "b")
    hosts = Counter(host_of(found.url) for found in read_records([tmp_path / "b" / "pages-00000.warc.gz"]))
    assert made["pages"] == 30 and max(hosts.values()) - min(hosts.values()) <= 1 and len(hosts) == 12


def test_progress_counts_what_is_in_sight(
    serve: Callable[[Handler], Site],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = serve(pages_of({"/": ["/a", "/b", "/c"], "/a": [], "/b": [], "/c": []}))
    monkeypatch.setattr(progress, "LOG_EVERY", -1.0)  # every line
    crawl(site.params(max_pages=5000), tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if " pages " in line]
    assert lines[-1].split()[1] == "4/4" and not any("/5k" in line for line in lines)


def test_robots_are_asked_for_once_a_day_and_a_missing_one_allows(
    serve: Callable[[Handler], Site], tmp_path: Path
) -> None:
    def moved(_: web.Request) -> web.StreamResponse:
        return web.Response(status=301, headers={"Location": "/rules"})

    rules = "User-agent: *\nDisallow: /no\n"
    site = serve(
        pages_of({"/robots.txt": moved, "/rules": lambda _: web.Response(text=rules), "/": ["/no", "/a"], "/a": []})
    )
    _, _, outcome = crawl(site.params(), tmp_path)
    assert outcome["/no"] == "robots" and outcome["/a"] == "page"
    assert Counter(site.paths())["/robots.txt"] == 1
    (row,) = [json.loads(line) for line in (tmp_path / "robots.jsonl").read_text().splitlines()]
    assert (row["origin"], row["status"], row["text"]) == ("http://site.test", 200, rules)
    assert rows_of(tmp_path)["http://site.test/no"]["detail"] == "disallow: /no (line 2)"
    assert rows_of(tmp_path)["http://site.test/a"]["robots"] == "no rule"


def test_crawl_delay_and_failing_hosts(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    rules = "User-agent: *\nCrawl-delay: 0.2\n"
    site = serve(pages_of({"/robots.txt": lambda _: web.Response(text=rules), "/": ["/a", "/b"], "/a": [], "/b": []}))
    crawl(site.params(), tmp_path / "a")
    times = sorted(at for at, _, path in site.asked if path in ("/", "/a", "/b"))
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.19

    def broken(request: web.Request) -> web.StreamResponse:
        if request.path == "/":
            return page(*(f"/{n}" for n in range(60)))
        return web.Response(status=500 if request.path[1:].isdigit() else 404)

    site = serve(broken)
    _, dropped, _ = crawl(site.params(), tmp_path / "b")
    assert dropped["host_failing"] > 20 and dropped["status_500"] + dropped["host_failing"] == 60


def test_what_pages_say_of_their_use_is_honoured_or_recorded(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    def tdmrep(_: web.Request) -> web.StreamResponse:
        return web.json_response([{"location": "/reserved/*", "tdm-reservation": 1}])

    licence = "https://creativecommons.org/licenses/by/4.0/"

    def said(head: str = "", **headers: str) -> Handler:
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        def answer(request: web.Request) -> web.StreamResponse:
            made = page(head=head, text=request.path)
            made.headers.update(named)
            return made

        return answer

    table = {
        "/.well-known/tdmrep.json": tdmrep,
        "/": ["/noai", "/noindex", "/tdm", "/reserved/x", "/usage", "/free"],
        "/noai": said('<meta name="robots" content="noai, noimageai">'),
        "/noindex": said(X_Robots_Tag="noindex"),
        "/tdm": said(tdm_reservation="1"),
        "/reserved/x": said(),
        "/usage": said(Content_Usage="train-ai=n"),
        "/free": said(f'<link rel="license" href="{licence}">'),
    }
    site = serve(pages_of(table))
    _, _, outcome = crawl(site.params(), tmp_path / "a")
    expected = {"/noai": "noai", "/noindex": "noindex", "/tdm": "tdm", "/reserved/x": "tdm", "/usage": "noai"}
    assert {path: outcome[path] for path in expected} == expected and outcome["/free"] == "page"
    _, _, outcome = crawl(site.params(honour=[]), tmp_path / "b")
    assert {outcome[path] for path in table if not path.startswith("/.")} == {"page"}
    decisions = {found.url: found.decisions for found in read_records([tmp_path / "b" / "pages-00000.warc.gz"])}
    assert decisions["http://site.test/free"] == {"robots": "no rule", "licence": licence}
    assert decisions["http://site.test/reserved/x"]["signals"] == ["tdm"]
    assert rows_of(tmp_path / "b")["http://site.test/free"]["licence"] == licence


def test_traps_circles_and_session_ids(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/":
            return page("/day/0", "/x/", "/list?PHPSESSID=0123456789abcdef0123", "/list?PHPSESSID=fedcba9876543210")
        if path.startswith("/day/"):
            number = int(path[5:])
            return page(f"/day/{number + 1}", text=f"Nothing happens on day {number}.")
        if path.startswith("/x/"):
            return page("y/", text=words(len(path)))
        return page(text="list") if path == "/list" else web.Response(status=404)

    site = serve(answer)
    _, dropped, outcome = crawl(site.params(max_depth=500), tmp_path)
    days = sum(path.startswith("/day/") for path in site.paths())
    assert 64 <= days < 70 and outcome["/day/64"] == "trap"
    assert outcome["/x/y/y/"] == "page" and outcome["/x/y/y/y/"] == "trap" and dropped["trap"] == 2
    assert outcome["/list"] == "page" and not any("PHPSESSID" in path for path in site.paths())


def test_canonical_links_and_copies(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    def canonical(target: str, text: str) -> Handler:
        return lambda _: page(head=f'<link rel="canonical" href="{target}">', text=text)

    table: dict[str, object] = {
        "/": ["/a", "/a?print=1", "/b?sort=up", "/copy", "/wrong"],
        "/a": lambda _: page(text="the text of a"),
        "/a?print=1": canonical("/a", "the text of a, to print"),
        "/b?sort=up": canonical("/b", "b, sorted"),
        "/b": lambda _: page(text="b"),
        "/copy": lambda _: page(text="the text of a"),
        "/wrong": canonical("/", "all pages of this site name the home page"),
    }
    _, _, outcome = crawl(serve(pages_of(table)).params(), tmp_path)
    expected = {"/a": "page", "/a?print=1": "canonical", "/b?sort=up": "page", "/b": "page", "/copy": "copy"}
    assert {path: outcome[path] for path in expected} == expected and outcome["/wrong"] == "page"
    revisit = [record for record in warc_records(tmp_path) if record[0] == "revisit"]
    assert [(headers["WARC-Target-URI"], headers["WARC-Refers-To-Target-URI"]) for _, headers, _ in revisit] == [
        ("http://site.test/copy", "http://site.test/a")
    ]


def test_feeds_are_read(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    feed = "<rss><channel><item><link>http://site.test/new</link></item></channel></rss>"
    head = '<link rel="alternate" type="application/rss+xml" href="/feed">'
    table: dict[str, object] = {
        "/": lambda _: page(head=head),
        "/feed": lambda _: web.Response(text=feed, content_type="text/xml"),
        "/new": [],
    }
    _, _, outcome = crawl(serve(pages_of(table)).params(), tmp_path)
    assert (outcome["/feed"], outcome["/new"]) == ("feed", "page")


def test_types_are_told_from_the_bytes(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    def typed(body: bytes, kind: str) -> Handler:
        return lambda _: web.Response(body=body, headers={"Content-Type": kind})

    html = b"<!doctype html><title>x</title><p>Really a page"
    table = {
        "/": ["/a", "/b"],
        "/a": typed(html, "application/octet-stream"),
        "/b": typed(b"\x89PNG\r\n\x1a\n\0", "text/plain"),
    }
    _, _, outcome = crawl(serve(pages_of(table)).params(), tmp_path)
    assert (outcome["/a"], outcome["/b"]) == ("page", "type")
    assert [found.content_type for found in read_records([tmp_path / "pages-00000.warc.gz"])] == ["text/html"] * 2


def warc_records(out: Path) -> list[tuple[str, Any, bytes]]:
    found = []
    for path in sorted(out.glob("*.warc.gz")):
        with path.open("rb") as file:
            records = ArchiveIterator(file)
            found += [(record.rec_type, record.rec_headers, record.content_stream().read()) for record in records]
    return found


def valid(path: Path) -> None:
    """`warcio check` and FastWARC find nothing wrong."""
    check = subprocess.run(
        [sys.executable, "-m", "warcio.cli", "check", "-v", str(path)], capture_output=True, text=True
    )
    assert check.returncode == 0 and "fail" not in check.stdout.lower(), check.stdout
    with path.open("rb") as file:
        for record in fastwarc.warc.ArchiveIterator(file, parse_http=False):
            record.freeze()
            assert record.verify_block_digest()
            record.parse_http()
            if record.headers["WARC-Type"] == "response":
                assert record.verify_payload_digest()


def test_crawling_again_keeps_what_has_changed(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    version = {"/same": 1, "/silent": 1, "/changed": 1}

    def tagged(request: web.Request) -> web.StreamResponse:
        tag = f'"{request.path}{version[request.path]}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        made = page("/behind", text=f"{request.path} {words(version[request.path])}")
        made.headers["ETag"] = tag
        return made

    def silent(request: web.Request) -> web.StreamResponse:
        return page(text="no tag")

    table = {
        "/": ["/same", "/silent", "/changed"],
        "/same": tagged,
        "/changed": tagged,
        "/silent": silent,
        "/behind": [],
    }
    site = serve(pages_of(table))
    crawl(site.params(), tmp_path / "one")
    version["/changed"] = 2
    made, _, outcome = crawl(site.params(previous=str(tmp_path / "one")), tmp_path / "two")
    assert {path for path, what in outcome.items() if what == "page"} == {"/changed"} and made["pages"] == 1
    unchanged = {"/", "/same", "/silent", "/behind"}
    assert {path for path, what in outcome.items() if what == "unchanged"} == unchanged
    profiles = {
        headers["WARC-Target-URI"].removeprefix("http://site.test"): headers["WARC-Profile"].rpartition("/")[2]
        for kind, headers, _ in warc_records(tmp_path / "two")
        if kind == "revisit"
    }
    assert profiles == dict.fromkeys(unchanged, "identical-payload-digest") | {"/same": "server-not-modified"}
    # the links of a page that was not sent again are known from the crawl before it, also two crawls later
    version["/changed"] = 3
    _, _, outcome = crawl(site.params(previous=str(tmp_path / "two")), tmp_path / "three")
    assert outcome["/behind"] == "page" or outcome["/behind"] == "unchanged"
    for name in ("one", "two", "three"):
        valid(tmp_path / name / "pages-00000.warc.gz")


def test_records_say_what_was_received(serve: Callable[[Handler], Site], tmp_path: Path) -> None:
    body = b"<p>packed on the way</p>" * 50
    table = {
        "/": lambda _: web.Response(
            body=gzip.compress(body), headers={"Content-Encoding": "gzip", "Content-Type": "text/html", "X-A": "\xe4"}
        )
    }
    crawl(serve(pages_of(table)).params(), tmp_path)
    valid(tmp_path / "pages-00000.warc.gz")
    kinds = {kind: (headers, content) for kind, headers, content in warc_records(tmp_path)}
    assert kinds["response"][1] == body and kinds["response"][0]["WARC-Protocol"] == "http/1.1"
    with (tmp_path / "pages-00000.warc.gz").open("rb") as file:
        response = next(record for record in ArchiveIterator(file) if record.rec_type == "response")
    assert response.http_headers.get_header("X-Crawler-Content-Encoding") == "gzip"
    assert response.http_headers.get_header("Content-Length") == str(len(body))
    assert response.http_headers.get_header("Content-Encoding") is None


def test_files_of_others_are_read(tmp_path: Path) -> None:
    """warcio writes what crawlers write: chunked and packed bodies, redirects, revisits, records without a type."""
    import brotli
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    text = b"<html><p>Hello</p></html>"
    chunked = b"5\r\n<html\r\n14\r\n><p>Hello</p></html>\r\n0\r\n\r\n"
    cases = [
        ("http://e.org/plain", "200 OK", [("Content-Type", "text/html; charset=utf-8")], text),
        ("http://e.org/chunked", "200 OK", [("Content-Type", "text/html"), ("Transfer-Encoding", "chunked")], chunked),
        (
            "http://e.org/gzip",
            "200 OK",
            [("Content-Type", "text/html"), ("Content-Encoding", "gzip")],
            gzip.compress(text),
        ),
        (
            "http://e.org/br",
            "200 OK",
            [("Content-Type", "text/html"), ("Content-Encoding", "br")],
            brotli.compress(text),
        ),
        ("http://e.org/undone", "200 OK", [("Content-Type", "text/html"), ("Content-Encoding", "br")], text),
        ("http://e.org/named", "200 OK", [("Content-Type", "text/html"), ("Transfer-Encoding", "chunked")], text),
        ("http://e.org/untyped", "200 OK", [], text),
        ("http://e.org/gone", "404 Not Found", [("Content-Type", "text/html")], text),
    ]
    path = tmp_path / "other.warc.gz"
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record("other.warc.gz", {"software": "warcio"}))
        for url, status, headers, body in cases:
            http = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=http))
    found = list(read_records([path]))
    assert [page.url for page in found] == [case[0] for case in cases[:-1]]
    assert {page.body for page in found} == {text} and {page.content_type for page in found} == {"text/html"}


def test_files_are_split(serve: Callable[[Handler], Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "WARC_BYTES", 20_000)
    made, _, _ = crawl(serve(many_hosts).params(seeds=["http://h0.test/0"], hosts=["*.test"], max_pages=100), tmp_path)
    paths = sorted(tmp_path.glob("*.warc.gz"))
    assert len(paths) > 2 and made["pages"] == 100
    rows = rows_of(tmp_path)
    for path in paths:
        valid(path)
        for found in read_records([path]):
            assert rows[found.url]["source"] == found.source
    assert sum(1 for path in paths for _ in read_records([path])) == 100
