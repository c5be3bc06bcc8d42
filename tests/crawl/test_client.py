"""The HTTP client against real servers: HTTP/2, content codings, caps, and addresses that must not be reached."""

from __future__ import annotations

import asyncio
import gzip
import io
import ssl
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import brotli
import pytest
import trustme
from crawling import Raw, program
from fastwarc.stream_io import ZstdWriter

from gristmill.crawl.addresses import is_allowed, parse_networks
from gristmill.crawl.client import Client, Response, decode
from gristmill.crawl.throttle import Host, retry_after

TEXT = "Über allen Gipfeln ist Ruh. ".encode() * 400
LOOPBACK = ["127.0.0.0/8"]


def zstd(data: bytes) -> bytes:
    out = io.BytesIO()
    writer = ZstdWriter(out)
    writer.write(data)
    writer.close()
    return out.getvalue()


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(TEXT),
    "br": brotli.compress(TEXT),
    "zstd": zstd(TEXT),
    "deflate": deflate(TEXT),
    "deflate, gzip": gzip.compress(zlib.compress(TEXT)),
    "identity": TEXT,
}


def plain(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body)}", "Connection: close"))
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def get(
    *urls: str, connect_to: dict[str, str] | None = None, networks: list[str] | None = None, **more: object
) -> list[Response]:
    limit, timeout = int(str(more.get("limit", 1_000_000))), float(str(more.get("timeout", 60)))

    async def work() -> list[Response]:
        allowed = parse_networks(LOOPBACK if networks is None else networks)
        async with Client("gristmill/0.1", timeout, allowed, connect_to or {}) as client:
            return list(await asyncio.gather(*(client.get(url, limit) for url in urls)))

    return asyncio.run(work())


@pytest.mark.parametrize("coding", PACKED)
def test_content_codings(coding: str, raw: Callable[..., Raw]) -> None:
    server = raw(lambda _: plain(PACKED[coding], f"Content-Encoding: {coding}"))
    (answer,) = get("http://site.test/", connect_to={"*.test": f"127.0.0.1:{server.port}"})
    assert (answer.status, answer.body, answer.error) == (200, TEXT, "")
    assert b"Accept-Encoding: gzip, br, zstd\r\n" in server.requests[0]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
def test_bombs_unpack_no_further_than_the_cap(coding: str, raw: Callable[..., Raw]) -> None:
    zeros = bytes(30_000_000)
    bomb = {
        "gzip": gzip.compress,
        "br": lambda data: brotli.compress(data, quality=5),
        "zstd": zstd,
        "deflate": deflate,
    }[coding](zeros)
    server = raw(lambda _: plain(bomb, f"Content-Encoding: {coding}"))
    (answer,) = get(f"http://127.0.0.1:{server.port}/", limit=300_000)
    assert (answer.error, len(answer.body)) == ("too_large", 300_000)


def test_wrong_and_unknown_codings(raw: Callable[..., Raw]) -> None:
    for coding, body in (("br", b"no brotli"), ("zstd", b"none"), ("x-secret", b"?"), ("gzip", b"\x1f\x8b\x08damaged")):
        server = raw(lambda _, coding=coding, body=body: plain(body, f"Content-Encoding: {coding}"))
        (answer,) = get(f"http://127.0.0.1:{server.port}/")
        assert answer.error == "damaged" and coding in answer.detail
    assert decode(b"plain", "gzip", 100) == b"plain"  # named, not applied: browsers bear it too


def test_size_time_and_broken_connections(raw: Callable[..., Raw]) -> None:
    large = raw(lambda _: plain(bytes(500_000)))
    slow = raw(lambda _: plain(b"late"), 3.0)
    short = raw(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    none = raw(lambda _: b"")
    urls = [f"http://127.0.0.1:{server.port}/" for server in (large, short, none)]
    answers = get(*urls, "http://nowhere.invalid/", limit=100_000, timeout=300)
    assert [answer.error for answer in answers] == ["too_large", "unreachable", "unreachable", "unreachable"]
    assert [answer.error for answer in get(f"http://127.0.0.1:{slow.port}/", timeout=1)] == ["timeout"]


def test_the_noted_request_is_the_one_that_was_sent(raw: Callable[..., Raw]) -> None:
    server = raw(lambda _: plain(b"x"))
    url = f"http://127.0.0.1:{server.port}/a?b=%20c"
    conditions = {"If-None-Match": '"x"'}

    async def work() -> bytes:
        async with Client("gristmill/0.1 (+http://e.org)", 5, parse_networks(LOOPBACK), {}) as client:
            await client.get(url, 1000, conditions)
            return client.request_block(url, conditions)

    assert asyncio.run(work()) == server.requests[0]


def test_headers_come_as_they_were_sent(raw: Callable[..., Raw]) -> None:
    server = raw(
        lambda _: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + plain(b"y", "X-A:  1 ", "X-A: 2", "x-b: \xc3\xa4")
    )
    (answer,) = get(f"http://127.0.0.1:{server.port}/")
    assert answer.headers_named("x-a") == ["1", "2"] and answer.header("link") == "" and answer.reason == "OK"
    assert (answer.address, answer.protocol) == ("127.0.0.1", "http/1.1")


HTTP2 = """
import asyncio, sys
from hypercorn.asyncio import serve
from hypercorn.config import Config
async def app(scope, receive, send):
    if scope["type"] == "http":
        body = scope["http_version"].encode() + b" " + scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})
config = Config()
config.bind, config.certfile, config.keyfile = [f"127.0.0.1:{sys.argv[1]}"], sys.argv[2], sys.argv[2]
config.accesslog = config.errorlog = None
asyncio.run(serve(app, config))
"""


def test_http_2_over_tls_and_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("site.test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "site.pem")
    with program(HTTP2, tmp_path / "site.pem") as port:
        target = {"*.test": f"127.0.0.1:{port}"}
        (untrusted,) = get("https://site.test/", connect_to=target)
        assert untrusted.error == "unreachable" and "certificate" in untrusted.detail
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        answers = get(*(f"https://site.test/{number}" for number in range(40)), connect_to=target)
        assert [answer.body for answer in answers] == [f"2 /{number}".encode() for number in range(40)]
        assert {answer.protocol for answer in answers} == {"h2"}
        (wrong,) = get("https://other.test/", connect_to=target)
        assert wrong.error == "unreachable"
    assert ssl.create_default_context()  # the process itself trusts what it trusted


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.0.8 192.88.99.1 198.18.0.1 224.0.0.1
    240.0.0.1 255.255.255.255 0.0.0.0 :: ::1 ::ffff:10.0.0.1 ::ffff:0:10.0.0.1 ::127.0.0.1 fe80::1 fe80::1%eth0 fec0::1
    fc00::1 ff02::1 64:ff9b::7f00:1 64:ff9b:1::7f00:1 2002:7f00:1:: 2001:0:7f00:1:: 2001:db8::1 100::1 3fff::1 5f00::1
    2600::5efe:10.0.0.1 2600::200:5efe:c0a8:0101""".split(),
)
def test_every_spelling_of_a_private_address(address: str) -> None:
    assert not is_allowed(address, [])


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::"]
)
def test_public_addresses(address: str) -> None:
    assert is_allowed(address, [])


def test_named_networks_are_allowed() -> None:
    assert is_allowed("10.1.2.3", parse_networks(["10.0.0.0/8"])) and is_allowed(
        "::ffff:10.0.0.1", parse_networks(["10.0.0.0/8"])
    )


def test_no_byte_reaches_a_private_address(raw: Callable[..., Raw]) -> None:
    server = raw(lambda _: plain(b"secret"))
    urls = [
        f"http://{host}:{server.port}/"
        for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]")
    ]
    answers = get(*urls, networks=[])
    assert {answer.error for answer in answers} == {"private_address"} and not server.requests
    # an address that the name only has when the connection is made is seen all the same: the check is on the socket
    (answer,) = get("http://rebound.test/", connect_to={"*.test": f"localhost:{server.port}"}, networks=[])
    assert answer.error == "private_address" and not server.requests


def test_proxies_of_the_environment_are_not_used(raw: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch) -> None:
    server, proxy = raw(lambda _: plain(b"site")), raw(lambda _: plain(b"proxy"))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{proxy.port}")
    (answer,) = get(f"http://127.0.0.1:{server.port}/")
    assert answer.body == b"site" and not proxy.requests


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("", 0.0), ("soon", 0.0), ("²", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)]
)
def test_retry_after(value: str, seconds: float) -> None:
    assert retry_after(Response("http://e.org/", 429, headers=[("Retry-After", value)])) == seconds


def test_retry_after_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < retry_after(Response("http://e.org/", 503, headers=[("Retry-After", date)])) <= 90


def test_pauses_follow_the_host() -> None:
    host = Host(delay=0.5)
    assert host.pause(Response("", 200, seconds=0.1)) == 0.5
    assert host.pause(Response("", 200, seconds=4.0)) == 4.0  # busy with us half of the time at most
    first, second = host.pause(Response("", 503)), host.pause(Response("", 503))
    assert second == 2 * first
    assert Host(delay=0.0).pause(Response("", 200, seconds=4.0)) == 0.0
    assert Host(delay=0.0).pause(Response("", 429, headers=[("Retry-After", "9")])) == 9.0
