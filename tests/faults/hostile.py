"""A web server that answers with whatever bytes a test wants, and a crawl of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gristmill.crawl import stage
from gristmill.manifest import Manifest
from gristmill.recipe import Crawl

Answer = Callable[[str, str], bytes]  # host and path → all bytes of the response


class Server:
    """Answers every connection once; `asked` holds host and path of each request."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.port = answer, 0
        self.asked: list[tuple[str, str]] = []
        self.loop, ready = asyncio.new_event_loop(), threading.Event()

        async def start() -> None:
            self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=512)
            self.port = self.server.sockets[0].getsockname()[1]
            ready.set()

        def work() -> None:
            self.loop.create_task(start())
            self.loop.run_forever()

        threading.Thread(target=work, daemon=True).start()
        ready.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            host = next((line[5:].strip() for line in lines if line.lower().startswith("host:")), "")
            path = first.split(" ")[1]
            self.asked.append((host, path))
            writer.write(self.answer(host, path))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def params(self, **changes: Any) -> Crawl:
        settings: dict[str, Any] = {
            "seeds": ["http://site.test/"],
            "connect_to": {"*.test": f"127.0.0.1:{self.port}"},
            "allow_networks": ["127.0.0.0/8"],
            "delay": 0.0,
            "timeout": 120,
        }
        return Crawl(**{**settings, **changes})


Serve = Callable[[Answer], Server]


def response(body: bytes | str, *headers: str, status: str = "200 OK", kind: str = "text/html") -> bytes:
    """An HTTP response whose connection ends with it; headers may hold any character of Latin-1."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close"]
    lines += [f"Content-Type: {kind}"] * bool(kind)
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + data


MISSING = response("", status="404 Not Found")


def site(pages: dict[str, bytes]) -> Answer:
    """The answers of a table by path, whichever the host; `/` links to all the others."""
    links = "".join(f'<a href="{path}">x</a>' for path in pages)
    table = {"/": response(links), **pages}
    return lambda _, path: table.get(path, MISSING)


def crawl(params: Crawl, out: Path) -> tuple[Manifest, dict[str, dict[str, Any]]]:
    """The manifest of a crawl, and the rows of `urls.jsonl` by the URL's part after the first host."""
    out.mkdir(exist_ok=True)
    made = stage.run({}, params, out)
    rows = [json.loads(line) for line in (out / "urls.jsonl").read_text().splitlines()]
    return made, {row["url"].removeprefix("http://site.test"): row for row in rows}
