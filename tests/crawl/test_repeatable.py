"""The same bytes, whatever the timing and after a kill; many hosts side by side."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from crawling import Handler, Serve, Site, crawl, many_hosts, page, start, tangled, words

from gristmill.corpus.readers.warc_ranges import read_records
from gristmill.crawl import stage
from gristmill.recipe import Crawl


def killed_after(wanted: int, site: Site, params: Crawl, out: Path) -> None:
    """A crawl that is killed once so many pages have been asked for."""
    before = len(site.asked)
    process = start(params, out)
    while len(site.asked) - before < wanted and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()


def test_kill_and_rerun_gives_the_same_bytes(serve: Serve, tmp_path: Path) -> None:
    site = serve(tangled)
    params = site.params(max_pages=250)
    assert start(params, tmp_path / "whole").wait(300) == 0
    broken = tmp_path / "broken"
    for wanted in (80, 160):
        killed_after(wanted, site, params, broken)
    assert (broken / ".work" / "frontier.db").exists()
    assert start(params, broken).wait(300) == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == [".work", "pages-00000.warc.gz", "robots.jsonl", "urls.jsonl"]
    assert names == sorted(path.name for path in broken.iterdir())
    names.remove(".work")  # which the runner removes
    for name in names:
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def jittery(handler: Handler, longest: float) -> Callable[[web.Request], Any]:
    """The same site, answering after pauses that differ every time."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(random.random() * longest)
        return handler(request)

    return answer


def test_many_hosts_give_the_same_bytes_whatever_the_timing(serve: Serve, tmp_path: Path) -> None:
    site = serve(jittery(many_hosts, 0.02))
    params = site.params(seeds=["http://h0.test/0"], hosts=["*.test"], max_pages=300)
    first, second = start(params, tmp_path / "first"), start(params, tmp_path / "second")
    assert first.wait(300) == second.wait(300) == 0
    broken = tmp_path / "broken"
    for wanted in (100, 150):
        killed_after(wanted, site, params, broken)
    assert (broken / ".work" / "frontier.db").exists() and start(params, broken).wait(300) == 0
    for name in ("pages-00000.warc.gz", "urls.jsonl", "robots.jsonl"):
        whole = (tmp_path / "first" / name).read_bytes()
        assert whole == (tmp_path / "second" / name).read_bytes() == (broken / name).read_bytes(), name
    pages = [found.url for found in read_records([broken / "pages-00000.warc.gz"])]
    assert len(pages) == len(set(pages)) == 300


def test_a_slow_host_holds_up_nobody(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    params = site.params(seeds=[f"http://h{n}.test/0" for n in range(12)], hosts=["*.test"], timeout=300)
    made, _, _ = crawl(params, tmp_path)
    assert made["pages"] > 400 and made["urls_left"] == 0
    assert sum(host == "h0.test" for _, host, _ in site.asked) > 20


def test_hundreds_of_hosts_are_asked_side_by_side(serve: Serve, tmp_path: Path) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        if "." in request.path:
            return web.Response(status=404)
        return page(*(f"/{n}" for n in range(3)), text=words(zlib.crc32(f"{request.host}{request.path}".encode())))

    site = serve(answer)
    seeds = [f"http://host{n}.test/" for n in range(400)]
    made, _, _ = crawl(site.params(seeds=seeds, delay=0.1), tmp_path)
    assert made["pages"] == 1600
    for host in ("host0.test", "host399.test"):
        times = sorted(at for at, name, _ in site.asked if name == host)
        assert all(later - earlier > 0.09 for earlier, later in itertools.pairwise(times))
    begun = [at for at, name, _ in site.asked if name == "host200.test"]
    meanwhile = {name for at, name, _ in site.asked if begun[0] < at < begun[-1]} - {"host200.test"}
    assert len(meanwhile) > 100  # one after the other there would be none
