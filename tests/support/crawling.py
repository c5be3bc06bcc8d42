"""Web servers to crawl, and the crawl of one, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jsonl
from aiohttp import web
from warcio.archiveiterator import ArchiveIterator

from gristmill.crawl import stage
from gristmill.recipe import Crawl

Handler = Callable[[web.Request], web.StreamResponse]
Serve = Callable[[Handler], "Site"]
LOCAL = {"allow_networks": ["127.0.0.0/8"], "delay": 0.0, "timeout": 120, "connect_to": {}}


class Server:
    """Listens at `port` of this machine until it is closed."""

    def __init__(self) -> None:
        self.loop, ready = asyncio.new_event_loop(), threading.Event()

        def work() -> None:
            self.port = self.loop.run_until_complete(self.listen())
            ready.set()
            self.loop.run_forever()

        threading.Thread(target=work, daemon=True).start()
        ready.wait()

    async def listen(self) -> int:
        """Begin to listen; the port."""
        raise NotImplementedError

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)

    def params(self, **changes: Any) -> Crawl:
        """A crawl of what it serves, which all hosts under `.test` lead to."""
        seeds, places = ["http://site.test/"], {"*.test": f"127.0.0.1:{self.port}"}
        return Crawl(**{**LOCAL, "seeds": seeds, "connect_to": places, **changes})


class Raw(Server):
    """Answers every connection once, with whatever bytes a test wants; `requests` holds what it was sent."""

    def __init__(self, answer: Callable[[bytes], bytes], pause: float = 0.0) -> None:
        self.answer, self.pause = answer, pause
        self.requests: list[bytes] = []
        super().__init__()

    async def listen(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=512)
        return int(self.server.sockets[0].getsockname()[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = b""
        try:
            while b"\r\n\r\n" not in request and (part := await reader.read(65536)):
                request += part
            self.requests.append(request)
            await asyncio.sleep(self.pause)
            writer.write(self.answer(request) if request else b"")
            await writer.drain()
        except OSError:  # the other side has gone
            pass
        finally:
            writer.close()


Kind = TypeVar("Kind", bound=Server)


def starting(kind: type[Kind]) -> Iterator[Callable[..., Kind]]:
    """For a fixture: starts servers of a kind, and closes them after the test."""
    servers: list[Kind] = []

    def start(*given: Any) -> Kind:
        servers.append(kind(*given))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Site(Server):
    """A real HTTP server; `asked` holds when each path was asked for, and of which host."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.asked: list[tuple[float, str, str]] = []
        super().__init__()

    async def listen(self) -> int:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.asked.append((time.monotonic(), request.host, request.path_qs))
            made = self.handler(request)
            response = await made if inspect.isawaitable(made) else made
            response.headers["Date"] = "x"
            return response

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    def paths(self) -> list[str]:
        return [path for _, _, path in self.asked]


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
    log = jsonl.read(out / "urls.jsonl")
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
    rows = jsonl.read(out / "urls.jsonl")
    return {row["url"]: row for row in rows}


def warc_records(out: Path) -> list[tuple[str, Any, bytes]]:
    found = []
    for path in sorted(out.glob("*.warc.gz")):
        with path.open("rb") as file:
            records = ArchiveIterator(file)
            found += [(record.rec_type, record.rec_headers, record.content_stream().read()) for record in records]
    return found


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until something listens at a port of this machine, ten seconds at most."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


@contextmanager
def program(code: str, *arguments: object) -> Iterator[int]:
    """A server in a process of its own, which is given its port before the arguments; yields the port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, (port, *arguments))])
    try:
        wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()
