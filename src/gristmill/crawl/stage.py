"""Stage `crawl`: seed URLs → WARC, in rounds.

In a round every host is crawled by itself, in the order in which its own pages name URLs, up to a share of pages. What
hosts name of each other is delivered between rounds, in the order of hosts. So what a host does in a round depends on
its own pages alone: same site, same bytes, however the answers arrive. A host that takes too long for its share is
marked late; nobody waits for it again (only then does timing decide what is in which round).

Memory holds the turns of up to HOSTS_AT_ONCE hosts and the answers in flight; the frontier on disk grows with the URLs
seen, and holds the records of one round.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gristmill.crawl.addresses import parse_networks
from gristmill.crawl.client import Client, Response
from gristmill.crawl.frontier import Budget, Found, Frontier, Turn, Visit
from gristmill.crawl.outcomes import STORED, hopeless, nothing_kept, outcome_of
from gristmill.crawl.revisits import conditions, earlier_links, earlier_pages
from gristmill.crawl.throttle import BUSY, Host, Rules, Throttle
from gristmill.crawl.urls import host_of, normalise, origin_of, target_of
from gristmill.crawl.warc import date_now, exchange, info, open_at, sync, warc_name
from gristmill.errors import FAULT, UserError, concerns_all, fault_notes
from gristmill.files import write_jsonl, write_text
from gristmill.manifest import WORK, Manifest
from gristmill.progress import Progress, warn
from gristmill.recipe import Crawl

HOSTS_AT_ONCE = 2_000  # with a turn in one round; twice as many with late ones of earlier rounds
HOSTS_KNOWN = 100_000
LANES = 16  # requests in flight to one host that asks for no delay
SHARE = 2_000  # pages a turn, at most
TURN_SECONDS = 30.0  # that a turn takes where a host answers at once
LATE_SECONDS = 120.0  # after which nobody waits for it
FRUITLESS = 2_000  # URLs asked for in a row without a new page, after which a host is left
ASKED_A_PAGE, LEAST_ASKED = 10, 1_000  # URLs that may be asked for, for each page that may be kept, and at the least
GATHER_SECONDS = 1.0
COMMIT_SECONDS = 1.0  # between two moments that a kill cannot undo
STATUS_SECONDS = 5.0
STATUS = "status.json"
WILD = re.compile(r"[*?\[]")
WARC_BYTES = 1_000_000_000  # after which a new file is begun, as the standard advises


def run(inputs: Mapping[str, Path], params: Crawl, out: Path) -> Manifest:
    """Crawl until the frontier is empty or `max_pages` pages are kept.

    Writes `pages-*.warc.gz`, `urls.jsonl` (every URL and what became of it) and `robots.jsonl`. Raises UserError where
    no seed can be fetched or no page is kept.
    """
    seeds = [seed_url(seed) for seed in params.seeds]
    patterns = params.hosts or sorted({host_of(seed) for seed in seeds})
    work = out / WORK
    work.mkdir(exist_ok=True)
    frontier = Frontier(work / "frontier.db")
    crawl = Crawler(params, patterns, frontier, out)
    if not frontier.round:
        frontier.remember(earlier_pages(params.previous))
        frontier.post(0, "", crawl.sorted_by_host([Found(seed, 0, 0, "page") for seed in seeds]))
    try:
        asyncio.run(crawl.run())
    except BaseException:
        with suppress(sqlite3.Error, OSError):  # what ended the crawl is told, not what that leads to
            frontier.close()
        raise
    counts = frontier.counts()
    if not counts.get("page") and not counts.get("unchanged"):
        error = nothing_kept(frontier)
        frontier.close()
        shutil.rmtree(work)  # what failed now may work the next time
        raise error
    write_jsonl(out / "urls.jsonl", frontier.log())
    write_jsonl(out / "robots.jsonl", frontier.robots_log())
    if faults := counts.get(FAULT):
        warn(f"crawl: on {faults:,} URLs code of gristmill's fails; urls.jsonl has the tracebacks: please report them")
    left, _ = frontier.queues()
    metrics: dict[str, float] = {"late_hosts": frontier.late(), "fruitless_hosts": tell_limits(frontier, params, left)}
    frontier.close()
    (out / STATUS).unlink(missing_ok=True)
    return Manifest(
        counts={
            "urls": sum(counts.values()),
            "pages": counts.get("page", 0) + counts.get("copy", 0),
            "copies": counts.get("copy", 0),  # among them: a revisit record in place of the same payload
            "requests": frontier.requests,
            "bytes": sum(path.stat().st_size for path in out.glob("*.warc.gz")),
            "urls_left": left,
        },
        dropped={name: count for name, count in counts.items() if name not in ("page", "copy")},
        metrics=metrics,
    )


def most_asked(pages: int) -> int:
    """How many URLs may be asked for where so many pages may be kept: pages that are not kept must end too."""
    return max(LEAST_ASKED, ASKED_A_PAGE * pages)


def tell_limits(frontier: Frontier, params: Crawl, left: int) -> int:
    """Say which limits left URLs out that were still to be asked for; returns how many hosts were left."""
    hosts = frontier.fruitless(FRUITLESS)
    if hosts:
        warn(f"crawl: left after {FRUITLESS:,} requests in a row without a new page: {', '.join(hosts[:5])}")
    if left and (asked := frontier.asked()) >= most_asked(params.max_pages):
        warn(f"crawl: {asked:,} URLs were asked for: all that max_pages = {params.max_pages:,} allows")
    return len(hosts)


def seed_url(seed: str) -> str:
    """A seed's normalised URL. Raises UserError where it is none."""
    url = normalise(seed)
    if url is None:
        raise UserError(f"seed {seed!r} is no http or https URL", "write it as https://example.org/")
    return url


class Crawler:
    """Runs the rounds."""

    def __init__(self, params: Crawl, patterns: list[str], frontier: Frontier, out: Path) -> None:
        self.params, self.frontier, self.out = params, frontier, out
        self.names = {pattern for pattern in patterns if not WILD.search(pattern)}
        self.patterns = [pattern for pattern in patterns if WILD.search(pattern)]
        self.hosts: dict[str, Host] = {}
        self.wanted: dict[str, bool] = {}  # hosts met lately → whether they may be crawled
        self.running: dict[int, tuple[Turn, float, asyncio.Task[None]]] = {}  # host → turn, when begun, task
        self.pages = frontier.pages()
        self.outcomes = Counter(frontier.counts())
        self.committed = self.told = time.monotonic()
        # URLs in the frontier, and of the host that has most, as counted last, and when to count again
        self.waiting, self.longest, self.count_again = 0, 0, 0.0
        for path in out.glob("pages-*.warc.gz"):
            if path.name > warc_name(frontier.file):  # begun by a round that a kill undid
                path.unlink()
        self.file = open_at(out / warc_name(frontier.file), frontier.offset)

    async def run(self) -> None:
        """Rounds, until nobody has a turn."""
        given = self.params
        networks = parse_networks(given.allow_networks)
        client = Client(given.user_agent, given.timeout, networks, given.connect_to, given.concurrency)
        with Progress("crawl", None, "pages") as bar:
            bar.resume(self.pages)
            self.bar = bar
            async with client as self.client:
                self.throttle = Throttle(client, self.params, self.frontier)
                try:
                    await self.rounds()
                finally:
                    for _, _, task in self.running.values():  # nothing may be noted after what has ended the crawl
                        task.cancel()
        self.file.close()

    async def rounds(self) -> None:
        """One after the other; a run that was killed at the end of a round begins with that end."""
        begun = False
        while True:
            for turn in self.frontier.turns():
                if turn.host not in self.running:
                    self.running[turn.host] = turn, time.monotonic(), asyncio.create_task(self.turn(turn))
            if begun and not self.running:
                return
            await self.wait()
            self.end_round()
            begun = True

    async def wait(self) -> None:
        """Wait for the turns of this round, but not for late hosts while there are others."""
        while self.running:
            prompt = [task for turn, _, task in self.running.values() if not turn.late]
            tasks = prompt or [task for _, _, task in self.running.values()]
            until = asyncio.FIRST_EXCEPTION if prompt else asyncio.FIRST_COMPLETED
            await asyncio.wait(tasks, timeout=1.0 if prompt else LATE_SECONDS, return_when=until)
            self.show()
            if not prompt:
                await asyncio.sleep(GATHER_SECONDS)  # a round for every late host that ends would cost too much
            for host, (turn, begun, task) in list(self.running.items()):
                if task.done():
                    task.result()
                    del self.running[host]
                elif time.monotonic() - begun > LATE_SECONDS:
                    turn.late = True
            if not any(not turn.late for turn, _, _ in self.running.values()):
                return

    async def turn(self, turn: Turn) -> None:
        """Crawl one host up to its share, settling URLs strictly in their order."""
        host = self.hosts.setdefault(turn.name, Host(self.params.delay))
        waiting = deque(self.frontier.pending(turn.host, 0, LANES))
        if waiting:
            await self.throttle.rules(host, waiting[0].url)  # the pace is known before the first visit
        share = min(turn.asks, max(1, int(TURN_SECONDS / host.delay)) if host.delay else SHARE)
        lanes = 1 if host.delay else LANES
        window: deque[tuple[Visit, asyncio.Task[tuple[Response, Rules | None]]]] = deque()
        last = 0
        while True:
            while len(window) < min(lanes, turn.left, share - turn.spent):
                if turn.fruitless >= FRUITLESS:
                    break
                if not waiting:
                    waiting.extend(self.frontier.pending(turn.host, last, 4 * lanes))
                if not waiting:
                    break
                visit = waiting.popleft()
                last = visit.id
                window.append((visit, asyncio.create_task(self.attempt(host, turn, visit))))
            if not window:
                return
            visit, task = window.popleft()
            await self.finish(turn, visit, task)

    async def finish(self, turn: Turn, visit: Visit, task: asyncio.Task[tuple[Response, Rules | None]]) -> None:
        """Settle a URL when it has been fetched. What fails in that is the outcome of this URL, not of the crawl."""
        try:
            response, rules = await task
            if error := hopeless(turn, visit, self.frontier):  # asked for before that was known
                response, rules = Response(visit.url, error=error, requests=0), None
            with self.frontier.undoing():
                outcome = self.settle(turn, visit, response, rules)
        except Exception as error:
            if concerns_all(error):
                raise
            response, outcome = Response(visit.url), FAULT
            self.frontier.settle(visit, FAULT, 0, "", date_now(), fault_notes(error))
        self.count(turn, response, outcome)
        if time.monotonic() - self.committed > COMMIT_SECONDS:
            self.commit()

    async def attempt(self, host: Host, turn: Turn, visit: Visit) -> tuple[Response, Rules | None]:
        """Fetch one URL, unless a rule of ours forbids it."""
        if error := hopeless(turn, visit, self.frontier):
            return Response(visit.url, error=error, requests=0), None
        rules = await self.throttle.rules(host, visit.url)
        if rules.robots is None:
            error = rules.answer.error if rules.answer.error == "private_address" else "robots_unreachable"
            detail = rules.answer.detail or f"robots.txt answered {rules.answer.status}"
            return Response(visit.url, error=error, detail=detail, requests=0), rules
        allowed, line = rules.robots.decide(target_of(visit.url))
        if not allowed:
            return Response(visit.url, error="robots", detail=line, requests=0), rules
        return await self.throttle.get_page(host, rules, visit.url, conditions(self.frontier, visit.url)), rules

    def settle(self, turn: Turn, visit: Visit, response: Response, rules: Rules | None) -> str:
        """Note the outcome and return it, keep the records, and queue what was named."""
        date = date_now()
        outcome = outcome_of(visit, response, rules, self.params, self.frontier)
        if response.status == 304 and outcome.name == "unchanged":
            outcome.links = earlier_links(self.frontier, self.params.previous, visit)
        found = list(outcome.links)
        if rules and rules.robots and self.frontier.first_of(origin_of(visit.url)):
            named = [url for url in (normalise(item, visit.url) for item in rules.robots.sitemaps) if url]
            named = named or [f"{origin_of(visit.url)}/sitemap.xml"]
            found = [Found(url, visit.depth, 0, "sitemap") for url in named] + found
        if outcome.name in STORED:
            notes = [("hopsFromSeed", str(visit.depth)), *([("via", visit.via)] if visit.via else [])]
            notes += [("outlink", f"{link.url} L a/@href") for link in outcome.links]
            request = self.client.request_block(visit.url, conditions(self.frontier, visit.url) | response.cookie)
            data = exchange(response, date, request, notes, outcome.decisions, outcome.digest, outcome.original)
            self.frontier.keep(visit, data)
        self.queue(turn, visit.url, found)
        self.frontier.settle(visit, outcome.name, response.status, outcome.digest, date, outcome.note)
        return outcome.name

    def count(self, turn: Turn, response: Response, outcome: str) -> None:
        """Keep the books of a settled URL."""
        kept = outcome == "page"
        failed = response.error in ("unreachable", "timeout") or response.status in BUSY or response.status >= 500
        if response.requests:
            turn.failures = turn.failures + 1 if failed else 0
            turn.spent += 1
            turn.fruitless = 0 if outcome in ("page", "unchanged") else turn.fruitless + 1
        turn.left -= kept
        self.pages += kept
        self.outcomes[outcome] += 1
        self.frontier.bytes += len(response.body)
        self.frontier.save(turn, kept, response.requests > 0)
        self.bar.advance(kept)

    def queue(self, turn: Turn, via: str, found: list[Found]) -> None:
        """Queue what a page named: the host's own at once, others' by mail."""
        own, others = [], []
        for host, item in self.sorted_by_host(found):
            if item.depth > self.params.max_depth:
                item = replace(item, outcome="depth")
            elif item.hops > self.params.max_redirects:
                item = replace(item, outcome="redirects")
            if host == turn.name:
                own.append(item)
            else:
                others.append((host, item))
        self.frontier.add(turn.host, via, own)
        self.frontier.post(turn.host, via, others)

    def sorted_by_host(self, found: list[Found]) -> Iterator[tuple[str, Found]]:
        """Each URL with its host, and the outcome `host` where that may not be crawled."""
        for item in found:
            host = host_of(item.url)
            if host not in self.wanted:
                if len(self.wanted) > HOSTS_KNOWN:
                    self.wanted.clear()
                self.wanted[host] = host in self.names or any(fnmatch(host, pattern) for pattern in self.patterns)
            if self.wanted[host]:
                yield host, item
            elif item.kind == "page":
                yield host, replace(item, outcome="host")

    def end_round(self) -> None:
        """Write the round's records, deliver the mail, and deal the next round's shares.

        The WARC comes first, then the frontier that speaks of it: after a kill between the two, the file is cut back.
        """
        places = []
        for number, data in self.frontier.records():
            if self.file.tell() > WARC_BYTES:
                sync(self.file)
                self.file.close()
                self.frontier.file, self.frontier.offset = self.frontier.file + 1, 0
                self.file = open_at(self.out / warc_name(self.frontier.file), 0)
            if not self.file.tell():
                self.file.write(info(date_now(), self.params.user_agent, warc_name(self.frontier.file)))
            places.append((self.frontier.file, self.file.tell(), number))
            self.file.write(data)
        sync(self.file)
        self.frontier.offset = self.file.tell()
        self.frontier.written(places)
        self.frontier.deliver()
        self.frontier.round += 1
        busy = list(self.running)
        at_most = min(HOSTS_AT_ONCE, max(0, 2 * HOSTS_AT_ONCE - len(busy)))
        share = min(SHARE, max(1, int(TURN_SECONDS / self.params.delay))) if self.params.delay else SHARE
        most, of_host = self.params.max_pages, self.params.max_pages_per_host
        budget = Budget(most - self.pages, most_asked(most), share, of_host, most_asked(of_host), FRUITLESS)
        self.frontier.deal(budget, at_most, busy)
        self.commit()
        moment = time.monotonic()
        self.hosts = {name: host for name, host in self.hosts.items() if host.lock.locked() or host.ready > moment}

    def commit(self) -> None:
        """Make what is settled durable, and tell how it goes."""
        self.frontier.requests += self.throttle.requests
        self.throttle.requests = 0
        self.frontier.commit()
        self.committed = time.monotonic()
        self.show()
        if self.committed - self.told > STATUS_SECONDS:
            self.told = self.committed
            write_text(self.out / STATUS, json.dumps(self.status(), indent=1) + "\n")

    def show(self) -> None:
        """Have the progress line say how it is now; every URL in the frontier counts as a page still to come."""
        began = time.monotonic()
        if began >= self.count_again:
            self.waiting, self.longest = self.frontier.queues()
            ended = time.monotonic()
            self.count_again = ended + 50 * (ended - began)  # a large frontier takes its time to be counted
        self.bar.total = min(self.params.max_pages, self.pages + self.waiting)
        pause = min((host.delay for host in self.hosts.values()), default=self.params.delay)
        self.bar.least = pause * min(self.longest, self.params.max_pages - self.pages)
        self.bar.refresh(self.note())

    def note(self) -> str:
        """The state of the crawl, in a few words."""
        late = sum(turn.late for turn, _, _ in self.running.values())
        parts = [f"round {self.frontier.round}", f"{len(self.running)} hosts", f"{self.throttle.in_flight} in flight"]
        return ", ".join([*parts, f"{late} late"] if late else parts)

    def status(self) -> dict[str, Any]:
        """The state of the crawl, for programs."""
        return {
            "time": date_now(),
            "round": self.frontier.round,
            "pages": self.pages,
            "urls": self.frontier.seen(),
            "requests": self.frontier.requests,
            "bytes": self.frontier.bytes,
            "in_flight": self.throttle.in_flight,
            "outcomes": dict(self.outcomes),
            "hosts": {turn.name: {"left": turn.left, "late": turn.late} for turn, _, _ in self.running.values()},
        }
