"""The crawl against real HTTP servers: rules obeyed, limits kept."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonl
import pytest
from aiohttp import web
from crawling import Handler, Serve, crawl, many_hosts, page, pages_of, rows_of, tangled

from gristmill import progress
from gristmill.corpus.readers.warc_ranges import read_records
from gristmill.crawl import stage
from gristmill.crawl.urls import host_of
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.recipe import Crawl
from gristmill.runs.stage_line import stage_line


def test_robots_longest_match_and_wildcards(serve: Serve, tmp_path: Path) -> None:
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


def test_a_server_error_on_robots_means_stay_out(serve: Serve, tmp_path: Path) -> None:
    site = serve(pages_of({"/robots.txt": lambda _: web.Response(status=500), "/": []}))
    with pytest.raises(UserError, match=r"robots\.txt answered 500"):
        crawl(site.params(), tmp_path)
    assert "/" not in site.paths()


def test_sitemap_redirects_depth_and_limits(serve: Serve, tmp_path: Path) -> None:
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
    (loop,) = (row for url, row in rows_of(tmp_path).items() if url.endswith("/loop"))
    assert loop["detail"] == "redirect to http://site.test/loop2"
    assert "/unseen" not in outcome
    kept = [found.url for found in read_records([tmp_path / "pages-00000.warc.gz"])]
    assert "http://site.test/hidden" not in kept
    assert len(kept) == len(set(kept)) == list(outcome.values()).count("page")


def test_the_line_of_a_crawl_says_why_addresses_gave_no_page() -> None:
    made = Manifest({"urls": 9, "pages": 1}, {"host": 1, "robots": 5, "status_404": 2}, stage="crawl")
    assert stage_line(made) == "9 addresses, 1 page, without a page 5 robots, 2 status 404, 1 host (0s)"
    made.dropped |= {"redirect": 4, "timeout": 1, "noai": 1}
    assert stage_line(made).endswith("5 robots, 2 status 404, 1 host, 1 timeout, 5 otherwise (urls.jsonl) (0s)")


def test_long_redirect_chains_end(serve: Serve, tmp_path: Path) -> None:
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


def test_size_cap_and_gzip_bomb(serve: Serve, tmp_path: Path) -> None:

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
    rows = jsonl.read(tmp_path / "urls.jsonl")
    assert [row["detail"] for row in rows if row["outcome"] == "too_large"] == ["more than 200,000 bytes"] * 2


def test_busy_server_is_asked_again_and_pauses_are_kept(serve: Serve, tmp_path: Path) -> None:
    seen: list[str] = []

    def busy(_: web.Request) -> web.StreamResponse:
        seen.append("x")
        return web.Response(status=429, headers={"Retry-After": "1"}) if len(seen) == 1 else page()

    site = serve(pages_of({"/": ["/busy", "/a", "/b"], "/busy": busy, "/a": [], "/b": []}))
    _, _, outcome = crawl(site.params(delay=0.05), tmp_path)
    assert outcome["/busy"] == "page"
    times = sorted(moment for moment, _, _ in site.asked)
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.045


def test_private_addresses_are_refused(serve: Serve, tmp_path: Path) -> None:
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
    with pytest.raises(UserError, match="no http or https URL"):
        crawl(Crawl(seeds=["http://[x]/"]), tmp_path / "b")


def test_a_site_that_was_down_is_tried_again(serve: Serve, tmp_path: Path) -> None:
    up: list[bool] = []
    site = serve(lambda request: page(text="up") if up else web.Response(status=503))
    with pytest.raises(UserError, match="kept no page"):
        crawl(site.params(), tmp_path)
    up.append(True)
    assert crawl(site.params(), tmp_path)[0]["pages"] == 1


def test_a_crawl_whose_end_is_repeated_asks_for_nothing(serve: Serve, tmp_path: Path) -> None:
    site = serve(tangled)
    first = crawl(site.params(max_pages=60), tmp_path)
    data, asked = (tmp_path / "pages-00000.warc.gz").read_bytes(), len(site.asked)
    assert crawl(site.params(max_pages=60), tmp_path) == first and len(site.asked) == asked
    assert (tmp_path / "pages-00000.warc.gz").read_bytes() == data


def test_how_it_goes_can_be_read_while_it_runs(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_budgets(serve: Serve, tmp_path: Path) -> None:
    site = serve(many_hosts)
    params = site.params(seeds=[f"http://h{n}.test/0" for n in range(12)], hosts=["*.test"])
    made, _, _ = crawl(params.model_copy(update={"max_pages_per_host": 7}), tmp_path / "a")
    assert made["pages"] == 84 and made["urls_left"] > 0
    made, _, _ = crawl(params.model_copy(update={"max_pages": 30}), tmp_path / "b")
    hosts = Counter(host_of(found.url) for found in read_records([tmp_path / "b" / "pages-00000.warc.gz"]))
    assert made["pages"] == 30 and max(hosts.values()) - min(hosts.values()) <= 1 and len(hosts) == 12


def test_progress_counts_what_is_in_sight(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = serve(pages_of({"/": ["/a", "/b", "/c"], "/a": [], "/b": [], "/c": []}))
    monkeypatch.setattr(progress, "LOG_EVERY", -1.0)  # every line
    crawl(site.params(max_pages=5000), tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if " pages " in line]
    assert lines[-1].split()[1] == "4/4" and not any("/5k" in line for line in lines)


def test_the_time_left_is_that_of_the_longest_queue(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        if request.path in ("/robots.txt", "/sitemap.xml"):
            return web.Response(status=404)
        return page(*(f"/{number}" for number in range(10) if request.host == "h0.test"), text=request.path)

    site = serve(answer)
    monkeypatch.setattr(progress, "LOG_EVERY", -1.0)  # every line
    crawl(site.params(seeds=[f"http://h{number}.test/" for number in range(20)], delay=0.25), tmp_path)
    told = re.findall(r" (\d+)/(\d+) pages .*ETA (\d+)s", capsys.readouterr().err)
    # 19 hosts are done at once, which says nothing of the one that is asked for ten more pages
    assert any(int(total) >= 30 and int(done) >= 15 and int(eta) >= 2 for done, total, eta in told), told


def test_robots_are_asked_for_once_a_day_and_a_missing_one_allows(serve: Serve, tmp_path: Path) -> None:
    def moved(_: web.Request) -> web.StreamResponse:
        return web.Response(status=301, headers={"Location": "/rules"})

    rules = "User-agent: *\nDisallow: /no\n"
    site = serve(
        pages_of({"/robots.txt": moved, "/rules": lambda _: web.Response(text=rules), "/": ["/no", "/a"], "/a": []})
    )
    _, _, outcome = crawl(site.params(), tmp_path)
    assert outcome["/no"] == "robots" and outcome["/a"] == "page"
    assert Counter(site.paths())["/robots.txt"] == 1
    (row,) = jsonl.read(tmp_path / "robots.jsonl")
    assert (row["origin"], row["status"], row["text"]) == ("http://site.test", 200, rules)
    assert rows_of(tmp_path)["http://site.test/no"]["detail"] == "disallow: /no (line 2)"
    assert rows_of(tmp_path)["http://site.test/a"]["robots"] == "no rule"


def test_crawl_delay_and_failing_hosts(serve: Serve, tmp_path: Path) -> None:
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
