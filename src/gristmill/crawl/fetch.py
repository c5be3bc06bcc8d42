"""Fetching: one HTTP client with caps on size, time and addresses, and one queue a host."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from fnmatch import fnmatch
from urllib.parse import urljoin, urlsplit

import aiohttp
from protego import Protego

from gristmill.crawl.addresses import CheckedResolver, RefusedAddress, is_allowed, parse_networks
from gristmill.crawl.urls import host_of, normalise
from gristmill.recipe import Crawl

ROBOTS_BYTES = 500 * 1024  # RFC 9309 §2.5
ROBOTS_REDIRECTS = 5  # RFC 9309 §2.3.1.2
TRIES = 3
LONGEST_WAIT = 60.0  # seconds that a Retry-After may ask of us
CHANGED = {"content-encoding", "transfer-encoding", "content-length"}  # the body is stored decoded


@dataclass
class Response:
    """What came back for one request: `error` names the rule where nothing usable did."""

    url: str
    status: int = 0
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    address: str = ""
    error: str = ""
    detail: str = ""
    requests: int = 1
    sitemaps: list[str] = field(default_factory=list)  # of the host, as its robots.txt names them

    def header(self, name: str) -> str:
        """The first header of that name, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass
class Host:
    """One origin's queue and rules."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ready: float = 0.0  # monotonic time from which it may be asked again
    robots: asyncio.Task[tuple[Protego | None, Response]] | None = None


class Fetcher:
    """Fetches politely: robots.txt first, one request at a time a host, `delay` seconds apart.

    With no delay (a server of one's own) requests to one host run side by side.
    """

    def __init__(self, params: Crawl) -> None:
        self.params = params
        self.networks = parse_networks(params.allow_networks)
        self.hosts: dict[str, Host] = {}
        self.slots = asyncio.Semaphore(params.concurrency)

    async def __aenter__(self) -> Fetcher:
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(self.params.connect_to, self.networks), limit=0, use_dns_cache=True
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self.params.timeout),
            headers=self.request_headers(),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=65536,
            max_field_size=65536,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    def request_headers(self) -> dict[str, str]:
        """What every request says of us."""
        return {
            "User-Agent": self.params.user_agent,
            "Accept": "text/html,text/plain;q=0.8,*/*;q=0.1",
            "Accept-Encoding": "identity",
        }

    async def visit(self, url: str) -> Response:
        """Fetch a URL if its host's robots.txt allows."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        host = self.hosts.setdefault(origin, Host())
        if host.robots is None:
            host.robots = asyncio.create_task(self.read_robots(origin, host))
        rules, answer = await asyncio.shield(host.robots)
        if rules is None:
            error = answer.error if answer.error == "private_address" else "robots_unreachable"
            detail = answer.detail or f"robots.txt answered {answer.status}"
            return Response(url, error=error, detail=detail, requests=answer.requests)
        sitemaps = [found for found in (normalise(item, origin) for item in rules.sitemaps) if found]
        if not rules.can_fetch(url, self.params.user_agent):
            return Response(url, error="robots", requests=0, sitemaps=sitemaps)
        response = await self.polite(url, host, float(rules.crawl_delay(self.params.user_agent) or 0.0))
        response.sitemaps = sitemaps or [f"{origin}/sitemap.xml"]
        return response

    async def read_robots(self, origin: str, host: Host) -> tuple[Protego | None, Response]:
        """The host's rules (RFC 9309 §2.3.1) and the answer they came in.

        The rules are empty where the host has no such file, and None where it could not be asked.
        """
        url = f"{origin}/robots.txt"
        for _ in range(ROBOTS_REDIRECTS + 1):
            response = await self.polite(url, host, 0.0, ROBOTS_BYTES)
            target = normalise(response.header("location"), url) if 300 <= response.status < 400 else None
            if target is None:
                break
            url = target
        if (response.error and response.error != "too_large") or response.status >= 500 or response.status == 429:
            return None, response
        text = response.body[:ROBOTS_BYTES].decode("utf-8", "replace") if response.status == 200 else ""
        return Protego.parse(text), response

    async def polite(self, url: str, host: Host, crawl_delay: float, limit: int = 0) -> Response:
        """Fetch with the host's pause before, and again after a pause where it is busy or breaks off."""
        delay = max(self.params.delay, crawl_delay)
        for attempt in range(1, TRIES + 1):
            if delay:
                async with host.lock:
                    await asyncio.sleep(max(0.0, host.ready - time.monotonic()))
                    async with self.slots:
                        response = await self.fetch(url, limit)
                    host.ready = time.monotonic() + delay
            else:
                async with self.slots:
                    response = await self.fetch(url, limit)
            busy = response.status in (429, 503)
            if attempt == TRIES or not (busy or response.error == "unreachable"):
                break
            asked = response.header("retry-after")
            pause = float(asked) if asked.isdigit() else 0.2 * 2**attempt
            await asyncio.sleep(min(pause, LONGEST_WAIT))
        response.requests = attempt
        return response

    async def fetch(self, url: str, limit: int = 0) -> Response:
        """One request; every failure becomes an `error`."""
        limit = limit or self.params.max_bytes
        host = host_of(url)
        mapped = any(fnmatch(host, pattern) for pattern in self.params.connect_to)
        try:
            if not mapped and is_address(host) and not is_allowed(host, self.networks):
                raise RefusedAddress(f"{host} is a private address")
            async with self.session.get(url, allow_redirects=False) as answer:
                response = Response(url, answer.status, answer.reason or "")
                transport = answer.connection.transport if answer.connection else None
                peer = transport.get_extra_info("peername") if transport else None
                response.address = str(peer[0]) if peer else ""
                body = bytearray()
                async for chunk in answer.content.iter_chunked(65536):
                    body += chunk
                    if len(body) > limit:
                        response.error = "too_large"
                        break
                raw = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in answer.raw_headers]
                kept = [(key, value) for key, value in raw if key.lower() not in CHANGED]
                response.headers = [*kept, ("Content-Length", str(len(body)))]
                response.body = bytes(body)
                return response
        except RefusedAddress as error:
            return Response(url, error="private_address", detail=str(error))
        except TimeoutError:
            return Response(url, error="timeout", detail=f"no answer in {self.params.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause: BaseException | None = error
            while cause is not None:
                if isinstance(cause, RefusedAddress):
                    return Response(url, error="private_address", detail=str(cause))
                cause = cause.__cause__ or getattr(cause, "os_error", None)
            return Response(url, error="unreachable", detail=str(error) or type(error).__name__)

    def request_block(self, url: str) -> bytes:
        """The request as it was sent, for the WARC."""
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in self.request_headers().items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address."""
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def redirect_target(response: Response) -> str | None:
    """Where a redirect leads, or None where it is none."""
    if response.status in (301, 302, 303, 307, 308) and response.header("location"):
        return normalise(urljoin(response.url, response.header("location")))
    return None
