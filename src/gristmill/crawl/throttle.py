"""Manners: robots.txt first, one request at a time a host, pauses that grow where a host is slow or busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gristmill.crawl.client import Client, Conditions, Response
from gristmill.crawl.frontier import Frontier
from gristmill.crawl.outlinks import read_tdmrep
from gristmill.crawl.robots import Robots, Rule, normal_path, parse_robots
from gristmill.crawl.urls import normalise, origin_of, target_of
from gristmill.crawl.warc import date_now
from gristmill.errors import FAULT, concerns_all, fault_notes
from gristmill.recipe import Crawl

ROBOTS_BYTES = 500 * 1024  # RFC 9309 §2.5
ROBOTS_REDIRECTS = 5  # RFC 9309 §2.3.1.2
ROBOTS_SECONDS = 24 * 3600  # RFC 9309 §2.4
TRIES = 3
LONGEST_WAIT = 120.0  # seconds that a Retry-After may ask of us; who asks for more is not asked again
LONGEST_DELAY = 60.0  # seconds between two requests that a host can make us wait, in robots.txt or by being slow
MOST_COOKIES, LONGEST_COOKIE = 50, 4_096  # RFC 6265 §6.1
BUSY = (429, 503)


@dataclass
class Rules:
    """What an origin allows: its robots.txt (None: it could not be asked) and its TDM reservations."""

    robots: Robots | None
    answer: Response
    tdm: list[tuple[Rule, bool]] = field(default_factory=list)

    def reserved(self, target: str) -> bool | None:
        """Whether the origin's tdmrep.json reserves a path, or None where it does not say."""
        path = normal_path(target.encode("utf-8", "surrogatepass"))
        return next((reserved for rule, reserved in self.tdm if rule.matches(path)), None)


@dataclass
class Host:
    """One host's pace and rules."""

    delay: float  # seconds from an answer to the next request: the recipe's or the robots.txt's
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ready: float = 0.0  # monotonic time from which it may be asked again
    slack: float = 0.0  # seconds on top while it says that it is busy
    origins: dict[str, asyncio.Task[Rules]] = field(default_factory=dict)

    def pause(self, response: Response) -> float:
        """Seconds to leave it alone after an answer: as long as it took to answer, at the least."""
        if response.status in BUSY:
            self.slack = min(max(0.5, 2 * self.slack), LONGEST_DELAY)
            return max(self.delay, self.slack, min(retry_after(response), LONGEST_WAIT))
        self.slack = self.slack / 2 if self.slack > 0.1 else 0.0
        if self.delay:
            return max(self.delay, self.slack, min(response.seconds, LONGEST_DELAY))
        return self.slack


class Throttle:
    """Fetches for many hosts; `concurrency` requests at once over all."""

    def __init__(self, client: Client, params: Crawl, frontier: Frontier) -> None:
        self.client, self.params, self.frontier = client, params, frontier
        self.slots = asyncio.Semaphore(client.concurrency)
        self.in_flight = 0
        self.requests = 0

    async def rules(self, host: Host, url: str) -> Rules:
        """The rules of a URL's origin, asked for once and kept for a day."""
        origin = origin_of(url)
        if origin not in host.origins:
            host.origins[origin] = asyncio.create_task(self.read_rules(host, origin))
        return await asyncio.shield(host.origins[origin])

    async def read_rules(self, host: Host, origin: str) -> Rules:
        """The rules of an origin; where reading them fails, that is noted, and nothing of it may be fetched."""
        try:
            return await self.ask_rules(host, origin)
        except Exception as error:
            if concerns_all(error):
                raise
            row = (date_now(), 0, FAULT, fault_notes(error)["traceback"], "", "[]")
            self.frontier.save_robots(origin, time.time(), row)
            return await self.ask_rules(host, origin)

    async def ask_rules(self, host: Host, origin: str) -> Rules:
        """Ask an origin for its rules (RFC 9309 §2.3.1), or take them from the frontier."""
        stored = self.frontier.robots(origin, time.time() - ROBOTS_SECONDS)
        if stored is None:
            answer = await self.fetch_robots(host, origin)
            tdm = b"[]"
            if not unreachable(answer):
                found = await self.get(host, f"{origin}/.well-known/tdmrep.json", ROBOTS_BYTES)
                tdm = found.body if found.status == 200 and not found.error else tdm
            text = answer.body[:ROBOTS_BYTES].decode("utf-8", "replace") if answer.status == 200 else ""
            stored = (date_now(), answer.status, answer.error, answer.detail, text, tdm.decode("utf-8", "replace"))
            self.frontier.save_robots(origin, time.time(), stored)
        _, status, error, detail, text, tdm_text = stored
        detail = detail.strip().rpartition("\n")[2]  # of a traceback what is wrong
        answer = Response(f"{origin}/robots.txt", status, error=error, detail=detail)
        if unreachable(answer):
            return Rules(None, answer)
        robots = parse_robots(text, self.params.user_agent)
        host.delay = max(host.delay, min(robots.crawl_delay, LONGEST_DELAY))
        return Rules(robots, answer, read_tdmrep(tdm_text.encode()))

    async def fetch_robots(self, host: Host, origin: str) -> Response:
        """The answer to the request for robots.txt, redirects followed."""
        url = f"{origin}/robots.txt"
        for _ in range(ROBOTS_REDIRECTS + 1):
            response = await self.get(host, url, ROBOTS_BYTES)
            target = redirect_target(response)
            if target is None:
                break
            url = target
        if response.error == "too_large":
            response.error = response.detail = ""  # what came within the limit counts
        return response

    async def get_page(self, host: Host, rules: Rules, url: str, conditions: Mapping[str, str]) -> Response:
        """Fetch a page. A redirect that sets cookies is followed with them on its own origin: where it leads back to
        the page, as sites do that ask whether cookies are kept, what it gives then is the page. No cookie is kept.
        """
        first = response = await self.get(host, url, self.params.max_bytes, conditions)
        target, cookies = redirect_target(first), dict[str, str]()
        for _ in range(self.params.max_redirects):
            cookies |= cookies_of(response)
            allowed = rules.robots and target and rules.robots.decide(target_of(target))[0]
            if not (target and cookies and allowed and origin_of(target) == origin_of(url)):
                break
            sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
            response = await self.get(host, target, self.params.max_bytes, {**conditions, **sent})
            response.cookie, target = sent, redirect_target(response)
        return response if response.url == url and not target else first

    async def get(self, host: Host, url: str, limit: int, conditions: Conditions = None) -> Response:
        """Fetch with the host's pause before; where it is busy or breaks off again, over a connection of its own."""
        tries, alone = 0, False
        while True:
            tries += 1
            response = await self.get_once(host, url, limit, conditions, alone)
            busy = response.status in BUSY and retry_after(response) <= LONGEST_WAIT
            if tries == TRIES or not (busy or response.error == "unreachable" or response.joined):
                break
            alone = bool(response.error)
            await asyncio.sleep(0.2 * 2**tries if alone else 0)
        response.requests = tries
        self.requests += tries
        return response

    async def get_once(self, host: Host, url: str, limit: int, conditions: Conditions, alone: bool) -> Response:
        """One request, alone on its host where there is a pause to keep."""
        if not (host.delay or host.ready > time.monotonic()):
            response = await self.request(url, limit, conditions, alone)
            if pause := host.pause(response):
                host.ready = max(host.ready, time.monotonic() + pause)
            return response
        async with host.lock:
            if (wait := host.ready - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            response = await self.request(url, limit, conditions, alone)
            host.ready = time.monotonic() + host.pause(response)
            return response

    async def request(self, url: str, limit: int, conditions: Conditions, alone: bool) -> Response:
        """One request, as soon as a slot is free."""
        async with self.slots:
            self.in_flight += 1
            try:
                return await self.client.get(url, limit, conditions, alone=alone)
            finally:
                self.in_flight -= 1


def unreachable(answer: Response) -> bool:
    """Whether an answer to robots.txt means that nothing may be fetched: none, or a server's error (§2.3.1.4)."""
    return bool(answer.error) or answer.status >= 500 or answer.status == 429


def retry_after(response: Response) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110 §10.2.3), 0 where it asks for none."""
    value = response.header("retry-after").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, one without a zone, one of the year 99999999999
        return 0.0


def cookies_of(response: Response) -> dict[str, str]:
    """The cookies that a response sets, without their attributes (RFC 6265 §5.2)."""
    pairs = (value.partition(";")[0].partition("=") for value in response.headers_named("set-cookie")[:MOST_COOKIES])
    return {name.strip(): value.strip() for name, _, value in pairs if len(name) + len(value) <= LONGEST_COOKIE}


def redirect_target(response: Response) -> str | None:
    """Where a redirect leads, or None where it is none."""
    if response.status in (301, 302, 303, 307, 308) and (location := response.header("location")):
        if not location.isascii():  # servers send UTF-8 here, whatever the standard says
            location = location.encode("latin-1", "replace").decode("utf-8", "replace")
        return normalise(location, response.url)
    return None
