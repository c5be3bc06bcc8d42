"""A web server that answers with whatever bytes a test wants, and a crawl of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonl
from crawling import Raw

from gristmill.crawl import stage
from gristmill.manifest import Manifest
from gristmill.recipe import Crawl

Answer = Callable[[str, str], bytes]  # host and path → all bytes of the response


class Server(Raw):
    """Answers every connection once; `asked` holds host and path of each request."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, str]] = []

        def respond(request: bytes) -> bytes:
            first, *lines = request.decode("latin-1").split("\r\n")
            host = next((line[5:].strip() for line in lines if line.lower().startswith("host:")), "")
            self.asked.append((host, first.split(" ")[1]))
            return answer(*self.asked[-1])

        super().__init__(respond)


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
    rows = jsonl.read(out / "urls.jsonl")
    return made, {row["url"].removeprefix("http://site.test"): row for row in rows}
