"""Serves a generated web over HTTP on loopback: every host, told apart by the Host header."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gristmill.inputs.text_files import read_jsonl

REASONS = {200: "OK", 301: "Moved Permanently", 302: "Found", 404: "Not Found"}


def responses(folder: Path) -> dict[tuple[str, str], bytes]:
    """Whole HTTP responses by host and path. They carry no date: the same web gives the same bytes."""
    found = {}
    for record in read_jsonl(folder / "site.jsonl"):
        body = record["body"].encode(record["charset"], "replace")
        found[record["host"], record["path"]] = response(record["status"], record["headers"], body)
    return found


def response(status: int, headers: dict[str, str], body: bytes) -> bytes:
    """One HTTP/1.1 response."""
    fields = {**headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {REASONS[status]}\r\n{head}\r\n".encode("latin-1") + body


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a miniweb stage's folder in the background; yields `address:port`."""
    table = responses(folder)
    missing = response(404, {"Content-Type": "text/html; charset=utf-8"}, b"<h1>Not found</h1>")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *rest = head.decode("latin-1").split("\r\n")
                method, path, _ = first.split(" ")
                host = next((line[5:].strip() for line in rest if line.lower().startswith("host:")), "")
                found = table.get((host.partition(":")[0].lower(), path), missing)
                writer.write(found if method != "HEAD" else found.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    loop, ready, address = asyncio.new_event_loop(), threading.Event(), []

    async def start() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address.append(server.sockets[0].getsockname()[1])
        ready.set()

    def work() -> None:
        loop.create_task(start())
        loop.run_forever()

    def stop() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon(loop.stop)  # after the tasks have seen it

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"127.0.0.1:{address[0]}"
    finally:
        loop.call_soon_threadsafe(stop)
        thread.join()
        loop.close()
