"""A real site to crawl, and the crawl of it, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import random
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from warcio.archiveiterator import ArchiveIterator

from gristmill.crawl import stage
from gristmill.recipe import Crawl

Handler = Callable[[web.Request], web.StreamResponse]
LOCAL = {"allow_networks": ["127.0.0.0/8"], "delay": 0.0, "timeout": 120, "connect_to": {}}


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


def many_hosts(request: web.Request) -> web.StreamResponse:
    """Twelve hosts of 40 pages that link to each other at random."""
    if "." in request.path:
        return web.Response(status=404)
    seed = f"{request.host}{request.path}"
    draw = random.Random(seed)
    links = [f"http://h{draw.randrange(12)}.test/{draw.randrange(40)}" for _ in range(6)] + [f"/{draw.randrange(40)}"]
    return page(*links, text=words(zlib.crc32(seed.encode())))


def crawl(params: Crawl, out: Path) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    out.mkdir(exist_ok=True)
    result = stage.run({}, params, out)
    log = [json.loads(line) for line in (out / "urls.jsonl").read_text().splitlines()]
    return result.counts, result.dropped, {row["url"].removeprefix("http://site.test"): row["outcome"] for row in log}


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


def warc_records(out: Path) -> list[tuple[str, Any, bytes]]:
    found = []
    for path in sorted(out.glob("*.warc.gz")):
        with path.open("rb") as file:
            records = ArchiveIterator(file)
            found += [(record.rec_type, record.rec_headers, record.content_stream().read()) for record in records]
    return found
