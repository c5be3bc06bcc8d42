"""A server of many names over TLS and HTTP/2 that breaks the protocols in a way of its own for each name."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.exceptions import ProtocolError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PAGES = 12  # of each site, the bad one among them
PAUSE = 0.05  # seconds before a page is answered: when a connection breaks, others are under way on it
FLOOD = 1 << 24  # bytes of a flood, at most
OK = [(b":status", b"200"), (b"content-type", b"text/html")]
Fault = Callable[["Stream"], Awaitable[None]]


class Stream:
    """One request over HTTP/2."""

    def __init__(self, connection: H2Connection, number: int, writer: asyncio.StreamWriter) -> None:
        self.connection, self.number, self.writer = connection, number, writer

    def flush(self) -> None:
        """Send what the library has made."""
        self.writer.write(self.connection.data_to_send())

    def raw(self, *frames: Frame | bytes) -> None:
        """Send frames that the library would not."""
        self.flush()
        self.writer.write(b"".join(one if isinstance(one, bytes) else one.serialize() for one in frames))

    def head(self, *more: tuple[bytes, bytes]) -> None:
        """Send headers."""
        self.connection.send_headers(self.number, [*OK, *more])
        self.flush()

    def answer(self, text: str) -> None:
        """Send a page."""
        self.head()
        self.connection.send_data(self.number, text.encode(), end_stream=True)
        self.flush()

    def cut(self, *, reset: bool = False) -> None:
        """End the connection below TLS, which says nothing of it."""
        self.flush()
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def flood(self, *frames: Frame) -> None:
        """Send the same frames again and again."""
        data = b"".join(frame.serialize() for frame in frames)
        many = data * max(1, 16_384 // len(data))
        for _ in range(FLOOD // len(many)):
            if self.writer.is_closing():
                break
            self.writer.write(many)
            await self.writer.drain()


def frames(make: Callable[[int], list[Frame | bytes]]) -> Fault:
    """Answers a request with some frames; `make` takes the number of its stream."""

    async def fault(stream: Stream) -> None:
        stream.raw(*make(stream.number))

    return fault


def after(fault: Callable[[Stream], object], *headers: tuple[bytes, bytes]) -> Fault:
    """Does something in the middle of a body."""

    async def middle(stream: Stream) -> None:
        stream.head(*headers)
        stream.connection.send_data(stream.number, b"<p>the first half")
        stream.flush()
        fault(stream)

    return middle


def rst(code: int) -> Fault:
    """Answers a request with RST_STREAM."""
    return frames(lambda n: [RstStreamFrame(n, code)])


def cut_frame(stream: Stream) -> None:
    """Begin a frame of 16 kB, and end."""
    stream.raw(b"\x00\x40\x00\x00\x00" + struct.pack(">I", stream.number) + b"x")
    stream.cut()


async def goaway(stream: Stream, error: int = 0) -> None:
    """Say that this request and those under way are not answered, and go."""
    stream.raw(GoAwayFrame(0, last_stream_id=0, error_code=error))
    stream.cut()


async def silence(_: Stream) -> None:
    """Say nothing."""


async def broken_record(stream: Stream) -> None:
    """An alert that is not encrypted, as anybody on the way could put there."""
    os.write(stream.writer.get_extra_info("socket").fileno(), b"\x15\x03\x03\x00\x02\x02\x28")


async def settings(stream: Stream) -> None:
    await stream.flood(SettingsFrame(0, settings={3: 100}))


async def pings(stream: Stream) -> None:
    await stream.flood(PingFrame(0, opaque_data=b"12345678"))


async def priorities(stream: Stream) -> None:
    await stream.flood(PriorityFrame(stream.number, depends_on=0, stream_weight=7))


async def empty_data(stream: Stream) -> None:
    stream.head()
    await stream.flood(DataFrame(stream.number, b""))


async def continuations(stream: Stream) -> None:
    """A header block without an end (CVE-2024-27316)."""
    stream.raw(HeadersFrame(stream.number, b"\x88"))
    await stream.flood(ContinuationFrame(stream.number, b"\x00\x01a\x01b" * 3_000))


async def interim(stream: Stream) -> None:
    """Status 103 without an end."""
    hints = HeadersFrame(stream.number, b"\x48\x03103", flags=["END_HEADERS"])
    await stream.flood(hints)


RESETS = {"protocol": 1, "internal": 2, "refused": 7, "cancel": 8, "calm": 11, "http11": 13}
FAULTS: dict[str, Fault] = {
    "goaway": goaway,
    "goaway-calm": lambda stream: goaway(stream, 11),
    "goaway-last": frames(lambda n: [GoAwayFrame(0, last_stream_id=n - 2)]),
    **{f"rst-{name}": rst(code) for name, code in RESETS.items()},
    "rst-middle": after(lambda stream: stream.raw(RstStreamFrame(stream.number, 2))),
    "rst-no-error": after(lambda stream: stream.raw(RstStreamFrame(stream.number, 0))),
    "cut-middle": after(lambda stream: stream.cut()),
    "reset-middle": after(lambda stream: stream.cut(reset=True)),
    "stall-middle": after(lambda _: None),
    "short": after(
        lambda stream: stream.raw(DataFrame(stream.number, b"", flags=["END_STREAM"])), (b"content-length", b"99999")
    ),
    "silence": silence,
    "truncated": after(cut_frame),
    "huge-frame": frames(lambda n: [b"\xff\xff\xff\x00\x00" + struct.pack(">I", n) + bytes(1 << 16)]),
    "unknown-frame": frames(lambda n: [b"\x00\x00\x04\xee\xff" + struct.pack(">I", n) + b"abcd", RstStreamFrame(n, 2)]),
    "garbage": frames(lambda _: [bytes(range(256)) * 16]),
    "hpack": frames(lambda n: [HeadersFrame(n, b"\xff" * 32, flags=["END_HEADERS"])]),
    "no-status": frames(lambda n: [HeadersFrame(n, b"\x00\x01a\x01b", flags=["END_HEADERS", "END_STREAM"])]),
    "wrong-status": frames(lambda n: [HeadersFrame(n, b"\x48\x03abc", flags=["END_HEADERS", "END_STREAM"])]),
    "upper-case": frames(lambda n: [HeadersFrame(n, b"\x88\x00\x01A\x01b", flags=["END_HEADERS", "END_STREAM"])]),
    "data-first": frames(lambda n: [DataFrame(n, b"x", flags=["END_STREAM"])]),
    "data-on-zero": frames(lambda _: [b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x"]),
    "window-zero": frames(lambda n: [WindowUpdateFrame(n, 0), b""]),
    "window-overflow": frames(lambda n: [WindowUpdateFrame(n, 0x7FFFFFFF)] * 2),
    "push": frames(lambda n: [b"\x00\x00\x05\x05\x04" + struct.pack(">II", n, 2) + b"\x88"]),
    "broken-record": broken_record,
    "settings-flood": settings,
    "ping-flood": pings,
    "priority-flood": priorities,
    "empty-flood": empty_data,
    "continuation-flood": continuations,
    "interim-flood": interim,
}
ALERT = b"\x15\x03\x03\x00\x02\x02"  # a fatal one; its description follows
HANDSHAKES: dict[str, bytes | None] = {  # what comes after the client's first bytes; None: nothing
    "alert-failure": ALERT + b"\x28",
    "alert-name": ALERT + b"\x70",
    "alert-version": ALERT + b"\x46",
    "plain": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "hello-garbage": b"\x16\x03\x03\x40\x00" + b"\xff" * 0x4000,
    "closed": b"",
    "mute": None,
}


class SecureServer:
    """`target(name)` is where a host of this server is. Its names are `NAME.test`: those of `FAULTS` break off at the
    path `/bad`, the same behind `once-` do so the first time alone, those of `HANDSHAKES` answer no ClientHello, and
    those of `certificates` show a wrong certificate. Every other name is a good site.
    """

    def __init__(self, folder: Path) -> None:
        self.authority, self.asked = trustme.CA(), set[tuple[str, str]]()
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        now = datetime.now(UTC)
        self.certificates = {
            "untrusted": trustme.CA().issue_cert("untrusted.test"),
            "other-name": self.authority.issue_cert("elsewhere.test"),
            "expired": self.authority.issue_cert(
                "expired.test", not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
            ),
            "future": self.authority.issue_cert("future.test", not_before=now + timedelta(days=1)),
        }
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.ports: dict[str, int] = {}
        self.loop, ready = asyncio.new_event_loop(), threading.Event()

        async def start() -> None:
            self.ports[""] = await self.listen(self.serve, self.context("good"))
            name = "wants-client"  # what may be asked of clients is not chosen with the certificate
            self.ports[name] = await self.listen(self.serve, self.context(name))
            for name, data in HANDSHAKES.items():
                self.ports[name] = await self.listen(self.refuse(data))
            ready.set()

        def work() -> None:
            self.starting = self.loop.create_task(start())
            self.loop.run_forever()

        threading.Thread(target=work, daemon=True).start()
        assert ready.wait(20)

    async def listen(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        tls: ssl.SSLContext | None = None,
    ) -> int:
        """Serve on a free port."""
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512, ssl=tls)
        return int(server.sockets[0].getsockname()[1])

    def target(self, name: str) -> str:
        """What `connect_to` needs."""
        return f"127.0.0.1:{self.ports.get(name, self.ports[''])}"

    def context(self, name: str) -> ssl.SSLContext:
        """The TLS settings of a host."""
        if name not in self.contexts:
            made = self.contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made.set_alpn_protocols(["h2"])
            made.sni_callback = self.choose
            (self.certificates.get(name) or self.authority.issue_cert(f"{name}.test")).configure_cert(made)
            if name == "wants-client":
                made.verify_mode = ssl.CERT_REQUIRED
                self.authority.configure_trust(made)
        return self.contexts[name]

    def choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """Take the settings of the host that is asked for."""
        connection.context = self.context((name or "none.test").removesuffix(".test"))

    def refuse(self, data: bytes | None) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        """A server that knows no TLS."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1 << 16)
            if data is None:
                await reader.read()
            else:
                writer.write(data)
            writer.close()

        return serve

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        context = writer.get_extra_info("ssl_object").context
        name = next(name for name, known in self.contexts.items() if known is context)
        connection = H2Connection(H2Configuration(client_side=False, validate_outbound_headers=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        tasks = []
        try:
            while data := await reader.read(1 << 16):
                for event in connection.receive_data(data):
                    if isinstance(event, RequestReceived):
                        path = dict(event.headers)[b":path"].decode()
                        stream = Stream(connection, event.stream_id, writer)
                        tasks.append(self.loop.create_task(self.reply(name, path, stream)))
                writer.write(connection.data_to_send())
                await writer.drain()
        except (OSError, ProtocolError, AssertionError):
            pass  # the client has had enough
        finally:
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()

    async def reply(self, name: str, path: str, stream: Stream) -> None:
        """Answer a request."""
        first = (name, path) not in self.asked
        self.asked.add((name, path))
        fault = FAULTS.get(name.removeprefix("once-"))
        if fault and path == "/bad" and (first or not name.startswith("once-")):
            await asyncio.sleep(PAUSE / 2)
            return await fault(stream)
        await asyncio.sleep(PAUSE)
        links = "".join(f'<a href="/{number or "bad"}">x</a>' for number in range(PAGES))
        if path.strip("/").isdigit() or path in ("/", "/bad"):
            stream.answer(f"<html><body>{name} {path} {links if path == '/' else ''}</body></html>")
        else:
            stream.connection.send_headers(stream.number, [(b":status", b"404")], end_stream=True)
            stream.flush()
