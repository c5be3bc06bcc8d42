"""The HTTP client: libcurl (HTTP/1.1 and HTTP/2), with caps on size, time and addresses.

Every connection passes `open_socket`, which sees the very address that the socket then uses: a name that changes its
address between check and use (DNS rebinding) gains nothing. Bodies are decoded here and not by libcurl, so that a
small answer cannot unpack into a large one.
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi
import pycurl
from fastwarc.stream_io import BrotliReader, ZstdReader
from isal import igzip_lib, isal_zlib

from gristmill.crawl.addresses import is_allowed, redirected
from gristmill.crawl.urls import host_of
from gristmill.processes import connections, too_few

CODINGS = "gzip, br, zstd"  # what we ask for
CONNECT_SECONDS = 15.0
WANTING_SECONDS, WANTING_TRIES = 0.5, 20  # between two tries to open a socket that nobody here could make room for
FREE_HANDLES = 256  # kept for reuse
PROTOCOLS = {pycurl.CURL_HTTP_VERSION_1_0: "http/1.0", pycurl.CURL_HTTP_VERSION_2_0: "h2"}  # as WARC-Protocol has them
TIMED_OUT, WRITE_REFUSED = pycurl.E_OPERATION_TIMEDOUT, pycurl.E_WRITE_ERROR
GZIP, ZLIB, BARE = 31, 15, -15  # window bits by which zlib knows the formats of RFC 1952, 1950 and 1951
FIRST_PIECE = 1 << 12  # bytes of a compressed body that are unpacked at once, doubled each time
Headers = list[tuple[str, str]]
Conditions = Mapping[str, str] | None


@dataclass
class Response:
    """What came back for one request: `error` names the rule where nothing usable did."""

    url: str
    status: int = 0
    reason: str = ""
    headers: Headers = field(default_factory=list)  # as received
    body: bytes = b""  # decoded
    address: str = ""
    protocol: str = ""  # `http/1.1` or `h2`
    seconds: float = 0.0
    error: str = ""
    detail: str = ""
    joined: bool = False  # of a timeout: whether the connection was one that others use too
    requests: int = 1
    cookie: dict[str, str] = field(default_factory=dict)  # the Cookie header with which it was asked for, if any

    def header(self, name: str) -> str:
        """The first header of that name (in lower case), or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def headers_named(self, name: str) -> list[str]:
        """All headers of that name (in lower case)."""
        return [value for key, value in self.headers if key.lower() == name]


class Transfer:
    """A reusable libcurl handle and what it has received so far."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.lines: list[bytes] = []
        self.body = bytearray()  # a list of chunks would take 90 times the memory where each is of one byte
        self.size = self.limit = 0
        self.refused = self.wanting = ""  # an address; why no socket could be opened: descriptors or memory
        self.done: asyncio.Future[tuple[int, str]] | None = None
        curl = self.curl = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROXY, ""),  # an environment's proxy would see addresses that are not ours to contact
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
            (pycurl.PIPEWAIT, 1),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.CONNECTTIMEOUT_MS, int(min(client.timeout, CONNECT_SECONDS) * 1000)),
            (pycurl.TIMEOUT_MS, int(client.timeout * 1000)),
            (pycurl.CAINFO, client.certificates),
            (pycurl.BUFFERSIZE, 1 << 18),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.OPENSOCKETFUNCTION, self.open_socket),
            (pycurl.HEADERFUNCTION, self.receive_header),
            (pycurl.WRITEFUNCTION, self.receive),
        ):
            curl.setopt(option, value)

    def open_socket(self, purpose: int, address: tuple[Any, ...]) -> Any:
        """A socket for an address that may be contacted, else libcurl's sign for none."""
        family, kind, protocol, place = address
        if family not in (socket.AF_INET, socket.AF_INET6) or not is_allowed(place[0], self.client.networks):
            self.refused = str(place[0] if isinstance(place, tuple) else place)
            return pycurl.SOCKET_BAD
        try:
            return socket.socket(family, kind, protocol)
        except OSError as error:
            self.wanting = str(error.strerror)
            return pycurl.SOCKET_BAD

    def receive_header(self, line: bytes) -> None:
        """Take a header line; a new status line (after 1xx) starts anew."""
        if line.startswith(b"HTTP/"):
            self.lines.clear()
        self.lines.append(line)

    def receive(self, chunk: bytes) -> int | None:
        """Take a piece of the body, or end the transfer where it grows too long."""
        self.size += len(chunk)
        if self.size > self.limit:
            return -1
        self.body += chunk
        return None

    def start(self, url: str, headers: Sequence[str], target: str, limit: int, alone: bool) -> None:
        """Make ready for one request; `alone`: over a connection that no other shares."""
        self.lines, self.body, self.size, self.limit, self.refused, self.wanting = [], bytearray(), 0, limit, "", ""
        self.curl.setopt(pycurl.URL, url)
        self.curl.setopt(pycurl.FRESH_CONNECT, alone)
        self.curl.setopt(pycurl.FORBID_REUSE, alone)
        # an ETag goes back as it came, in whatever bytes
        self.curl.setopt(pycurl.HTTPHEADER, [header.encode("latin-1", "replace") for header in headers])
        self.curl.setopt(pycurl.CONNECT_TO, [f"::{target}"] if target else None)  # an empty list changes nothing


class Client:
    """Runs any number of requests on the running event loop: `async with Client(…) as client`."""

    def __init__(
        self,
        agent: str,
        timeout: float,
        networks: Sequence[Any],
        connect_to: Mapping[str, str],
        concurrency: int = FREE_HANDLES,
    ) -> None:
        self.concurrency = concurrency  # requests in flight, as many as descriptors allow
        self.agent, self.timeout, self.networks, self.connect_to = agent, timeout, networks, connect_to
        self.certificates = certificates()
        self.free: list[Transfer] = []
        self.running: dict[pycurl.Curl, Transfer] = {}
        self.timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Client:
        self.concurrency, idle = connections(self.concurrency)
        self.loop = asyncio.get_running_loop()
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self.watch)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self.set_timer)
        self.multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self.multi.setopt(pycurl.M_MAXCONNECTS, idle)
        return self

    async def __aexit__(self, *_: object) -> None:
        for transfer in [*self.running.values()]:
            self.multi.remove_handle(transfer.curl)
        self.running.clear()
        if self.timer:
            self.timer.cancel()
        self.multi.close()

    def header_lines(self, conditions: Conditions) -> list[str]:
        """What a request says of us."""
        return [
            f"User-Agent: {self.agent}",
            "Accept: text/html,application/xhtml+xml,text/plain;q=0.8,*/*;q=0.1",
            f"Accept-Encoding: {CODINGS}",
            *(f"{name}: {value}" for name, value in (conditions or {}).items()),
        ]

    async def get(self, url: str, limit: int, conditions: Conditions = None, *, alone: bool = False) -> Response:
        """One GET request, no redirect followed; `limit` caps the body in bytes, before and after decoding. Others
        may be under way on its connection (what breaks that costs them all), unless it is to go `alone` over one.

        Every failure becomes an `error`: private_address, too_large, timeout, unreachable, damaged. Where no socket can
        be opened for want of descriptors, that waits for a request that ends; UserError where none is left to end.
        """
        tries = 0
        while True:
            transfer, response = await self.get_once(url, limit, conditions, alone)
            if not transfer.wanting or not response.error:
                break
            others = [other.done for other in self.running.values() if other.done]
            tries = 0 if others else tries + 1
            if tries > WANTING_TRIES:
                raise too_few(transfer.wanting)
            if others:
                await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(WANTING_SECONDS)
        return response

    async def get_once(self, url: str, limit: int, conditions: Conditions, alone: bool) -> tuple[Transfer, Response]:
        """One request, and what carried it."""
        transfer = self.free.pop() if self.free else Transfer(self)
        transfer.start(url, self.header_lines(conditions), redirected(self.connect_to, host_of(url)), limit, alone)
        transfer.done = self.loop.create_future()
        self.running[transfer.curl] = transfer
        self.multi.add_handle(transfer.curl)
        try:
            code, message = await transfer.done
        except asyncio.CancelledError:
            if transfer.curl in self.running:  # else the client has been closed
                self.multi.remove_handle(transfer.curl)
            raise
        finally:
            self.running.pop(transfer.curl, None)
        if code == pycurl.E_COULDNT_CONNECT and not transfer.refused and not transfer.curl.getinfo(pycurl.OS_ERRNO):
            # nothing was tried: there was no socket, or no descriptor for the copy of it that pycurl makes
            transfer.wanting = transfer.wanting or "a socket could not be copied"
        response = read_response(url, transfer, code, message, self.timeout)
        transfer.body, transfer.lines = bytearray(), []
        if len(self.free) < FREE_HANDLES:
            self.free.append(transfer)
        return transfer, response

    def request_block(self, url: str, conditions: Conditions = None) -> bytes:
        """The request as it is sent over HTTP/1.1, for the WARC."""
        authority, slash, target = url.partition("://")[2].partition("/")
        lines = [f"GET {slash}{target} HTTP/1.1", f"Host: {authority}", *self.header_lines(conditions), "", ""]
        return "\r\n".join(lines).encode("latin-1", "replace")

    # libcurl's side: it tells which sockets to watch and how long to wait

    def watch(self, what: int, descriptor: int, *_: object) -> None:
        """Watch a socket for what libcurl waits for."""
        self.loop.remove_reader(descriptor)
        self.loop.remove_writer(descriptor)
        if what in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            self.loop.add_reader(descriptor, self.act, descriptor, pycurl.CSELECT_IN)
        if what in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            self.loop.add_writer(descriptor, self.act, descriptor, pycurl.CSELECT_OUT)

    def set_timer(self, milliseconds: int) -> None:
        """Wake libcurl after that time."""
        if self.timer:
            self.timer.cancel()
        self.timer = None
        if milliseconds >= 0:
            self.timer = self.loop.call_later(milliseconds / 1000, self.act, pycurl.SOCKET_TIMEOUT, 0)

    def act(self, descriptor: int, what: int) -> None:
        """Let libcurl work on a socket, then hand on what has ended."""
        self.multi.socket_action(descriptor, what)
        more = 1
        while more:
            more, ended, failed = self.multi.info_read()
            for curl in ended:
                self.finish(curl, 0, "")
            for curl, code, message in failed:
                self.finish(curl, code, message)

    def finish(self, curl: pycurl.Curl, code: int, message: str) -> None:
        """Take a handle out and wake who waits for it."""
        self.multi.remove_handle(curl)
        transfer = self.running.pop(curl, None)
        if transfer and transfer.done and not transfer.done.done():
            transfer.done.set_result((code, message))


def certificates() -> str:
    """The file of trusted certificates: the system's (or `SSL_CERT_FILE`), else the one that certifi ships."""
    found = ssl.get_default_verify_paths().cafile
    return found if found and Path(found).exists() else certifi.where()


def read_response(url: str, transfer: Transfer, code: int, message: str, timeout: float) -> Response:
    """A response from what a transfer received; `code` is libcurl's, 0 where all went well."""
    curl = transfer.curl
    if code and transfer.refused:
        detail = f"{host_of(url)} has the private address {transfer.refused}"
        return Response(url, error="private_address", detail=detail)
    if code == TIMED_OUT:
        joined = not curl.getinfo(pycurl.NUM_CONNECTS)
        return Response(url, error="timeout", detail=f"no answer in {timeout:g} s", joined=joined)
    if code and not (code == WRITE_REFUSED and transfer.size > transfer.limit):
        return Response(url, error="unreachable", detail=message)
    reason = transfer.lines[0].decode("latin-1").strip().partition(" ")[2].partition(" ")[2]
    response = Response(
        url,
        int(curl.getinfo(pycurl.RESPONSE_CODE)),
        reason,
        parse_headers(transfer.lines[1:]),
        address=curl.getinfo(pycurl.PRIMARY_IP) or "",
        protocol=PROTOCOLS.get(curl.getinfo(pycurl.INFO_HTTP_VERSION), "http/1.1"),
        seconds=curl.getinfo(pycurl.TOTAL_TIME),
    )
    response.body = bytes(transfer.body)
    coding = ",".join(response.headers_named("content-encoding")).strip().lower()
    try:
        response.body = response.body if code else decode(response.body, coding, transfer.limit)
    except OSError as error:
        response.error, response.detail = "damaged", f"content-encoding {coding}: {error}"
    if code or len(response.body) > transfer.limit:
        response.error, response.detail = "too_large", f"more than {transfer.limit:,} bytes"
        response.body = response.body[: transfer.limit]
    return response


def parse_headers(lines: Sequence[bytes]) -> Headers:
    """Name and value of header lines; folded lines (RFC 9112 §5.2) are joined."""
    headers: list[tuple[str, list[str]]] = []
    for line in lines:
        text = line.decode("latin-1").rstrip("\r\n")
        if text[:1] in (" ", "\t") and headers:
            headers[-1][1].append(text.strip())
        elif ":" in text:
            name, _, value = text.partition(":")
            headers.append((name.strip(), [value.strip()]))
    return [(name, " ".join(parts)) for name, parts in headers]


class CutShort(OSError):
    """A compressed body that ends before its end; `begin` is what it unpacks to."""

    def __init__(self, begin: bytes) -> None:
        super().__init__("the body ends too early")
        self.begin = begin


def decode(body: bytes, codings: str, limit: int) -> bytes:
    """Undo content codings, the last applied first; at most `limit` + 1 bytes come out.

    Raises OSError where the body is not what the coding says or the coding is unknown, of them CutShort where it is
    truncated.
    """
    names = [name.strip() for name in codings.split(",") if name.strip() not in ("", "identity")]
    if len(names) > 3:
        raise OSError("too many codings")
    for name in reversed(names):
        if body and name not in DECODERS:
            raise OSError("unknown coding")
        body = DECODERS[name](body, limit + 1) if body else body
    return body


def gunzip(body: bytes, limit: int) -> bytes:
    """Up to `limit` bytes of a gzip stream; some servers name a coding that they did not apply.

    Raises CutShort where it is truncated, OSError where it is damaged.
    """
    return unpack(body, limit, GZIP) if body[:2] == b"\x1f\x8b" else body[:limit]


def inflate(body: bytes, limit: int) -> bytes:
    """Up to `limit` bytes of `deflate`: a zlib stream (RFC 9110 §8.4.1.2), or the bare one that some servers send.

    Raises as `gunzip` does.
    """
    zlib_header = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return unpack(body, limit, ZLIB if zlib_header else BARE)


def unpack(body: bytes, limit: int, bits: int) -> bytes:
    """Up to `limit` bytes of a stream, of gzip all members; what comes after them is passed over, as browsers do.

    In pieces that begin small: zlib hands back what comes after a member, and a body may be of a million members.
    """
    made, at = bytearray(), 0
    try:
        while at < len(body) and len(made) < limit:
            member, size = isal_zlib.decompressobj(bits), FIRST_PIECE
            while not member.eof and at < len(body) and len(made) < limit:
                piece = body[at : at + size]
                made += member.decompress(piece, limit - len(made))
                at, size = at + len(piece) - len(member.unused_data), 2 * size
            if not member.eof and len(made) < limit:
                raise CutShort(bytes(made))
            if bits != GZIP or body[at : at + 2] != b"\x1f\x8b":
                break
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub takes the class for an object
        raise OSError(str(error)) from error
    return bytes(made)


DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": gunzip,
    "x-gzip": gunzip,
    "deflate": inflate,
    "br": lambda body, limit: BrotliReader(io.BytesIO(body)).read(limit),
    "zstd": lambda body, limit: ZstdReader(io.BytesIO(body)).read(limit),
}
