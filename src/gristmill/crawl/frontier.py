"""The frontier: every URL seen, host by host, on disk. It survives a kill at any moment.

Everything since the last whole round, fetched records included, is in one SQLite file; a transaction is kept whole or
not at all. Within a host, URLs are in the order in which that host's own pages named them, with those that other
hosts named (`mail`) let in between rounds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.crawl.database import open_database
from gristmill.crawl.warc import warc_name
from gristmill.errors import Damaged
from gristmill.files import sha256_file, write_text

RECENT = 200_000  # URLs known to be in the table, to spare the look


@dataclass(frozen=True)
class Visit:
    """One URL to fetch."""

    id: int
    host: int
    url: str
    depth: int  # links away from a seed
    hops: int  # redirects that led here
    kind: str  # `page`, `sitemap` or `feed`
    via: str  # the URL that named it


@dataclass
class Turn:
    """A host's share of a round."""

    host: int
    name: str
    left: int  # pages that it may still keep
    spent: int  # URLs settled
    failures: int  # in a row
    asks: int  # URLs that it may ask for, spent ones included
    fruitless: int  # URLs asked for since the last page that is new
    late: bool  # known to be slow: nobody waits for it


@dataclass(frozen=True)
class Budget:
    """What may still be kept and asked for, in all and of one host (0: no limit of its own)."""

    pages: int
    asks: int
    share: int  # of pages and of requests, a turn
    host_pages: int
    host_asks: int
    fruitless: int  # URLs asked for in a row without a new page, after which a host is left


@dataclass(frozen=True)
class Found:
    """A URL that a page named."""

    url: str
    depth: int
    hops: int
    kind: str
    outcome: str | None = None  # where it is settled from the start


class Frontier:
    """Nothing is kept until `commit`."""

    def __init__(self, path: Path) -> None:
        """Raises Damaged where the file is not as a crawl that was stopped left it."""
        self.path, self.checksum = path, path.with_name(f"{path.name}.sha256")
        if self.checksum.exists() and self.checksum.read_text() != sha256_file(path):
            raise Damaged(f"{path} is damaged", f"remove {path.parent}, and give the command again: it begins anew")
        self.checksum.unlink(missing_ok=True)
        self.db = open_database(path)
        row = self.db.execute("SELECT round, file, offset, requests, bytes FROM progress").fetchone()
        self.round, self.file, self.offset, self.requests, self.bytes = map(int, row or (0, 0, 0, 0, 0))
        self.recent: set[str] = set()
        self.posted: set[tuple[int, str]] = set()  # senders and URLs of this round's mail

    def commit(self) -> None:
        """Make all so far durable."""
        self.db.execute("DELETE FROM progress")
        row = (self.round, self.file, self.offset, self.requests, self.bytes)
        self.db.execute("INSERT INTO progress VALUES (?, ?, ?, ?, ?)", row)
        self.db.execute("COMMIT")
        self.db.execute("BEGIN")

    @contextmanager
    def undoing(self) -> Iterator[None]:
        """Undo all that is done within, where it raises."""
        self.db.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.OperationalError):  # after a full disk there is nothing to go on with
                self.db.execute("ROLLBACK TO one")
                self.db.execute("RELEASE one")
            self.recent.clear()  # they name URLs that are there no longer
            self.posted.clear()
            raise
        self.db.execute("RELEASE one")

    def add(self, host: int, via: str, found: Iterable[Found]) -> None:
        """Queue a host's own URLs, those not seen before."""
        self.insert((host, item.url, item.depth, item.hops, item.kind, via, item.outcome) for item in found)

    def insert(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows of one host to the URLs unless they are there."""
        new = [row for row in rows if row[1] not in self.recent]
        if not new:
            return
        self.db.executemany(
            "INSERT OR IGNORE INTO urls (host, url, depth, hops, kind, via, outcome) VALUES (?, ?, ?, ?, ?, ?, ?)", new
        )
        if len(self.recent) > RECENT:
            self.recent.clear()
        self.recent.update(row[1] for row in new)

    def post(self, sender: int, via: str, found: Iterable[tuple[str, Found]]) -> None:
        """Keep URLs of other hosts, by host name, until the round ends."""
        new = [(host, item) for host, item in found if (sender, item.url) not in self.posted]
        if len(self.posted) > RECENT:
            self.posted.clear()
        self.posted.update((sender, item.url) for _, item in new)
        self.db.executemany(
            "INSERT INTO mail (sender, host, url, depth, hops, kind, via, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(sender, host, item.url, item.depth, item.hops, item.kind, via, item.outcome) for host, item in new],
        )

    def deliver(self) -> None:
        """Let in what hosts named of each other: in the order of the senders, so that timing has no say."""
        letters = self.db.execute(
            "SELECT sender, host, url, depth, hops, kind, via, outcome FROM mail ORDER BY sender, id"
        )
        hosts: dict[str, int] = {}
        for _, name, url, *rest in letters:
            if name not in hosts:
                self.db.execute("INSERT OR IGNORE INTO hosts (name) VALUES (?)", (name,))
                hosts[name] = self.db.execute("SELECT id FROM hosts WHERE name = ?", (name,)).fetchone()[0]
            self.insert([(hosts[name], url, *rest)])
        self.db.execute("DELETE FROM mail")
        self.posted.clear()

    def pending(self, host: int, after: int, limit: int) -> list[Visit]:
        """A host's next URLs without an outcome, in order."""
        rows = self.db.execute(
            "SELECT id, host, url, depth, hops, kind, via FROM urls WHERE host = ? AND outcome IS NULL AND id > ?"
            " ORDER BY id LIMIT ?",
            (host, after, limit),
        )
        return [Visit(*row) for row in rows]

    def settle(self, visit: Visit, outcome: str, status: int, digest: str, date: str, note: dict[str, Any]) -> None:
        """Note what became of a URL."""
        told = json.dumps(note, ensure_ascii=False) if note else None
        self.db.execute(
            "UPDATE urls SET outcome = ?, status = ?, round = ?, digest = ?, date = ?, note = ? WHERE id = ?",
            (outcome, status, self.round, digest if outcome == "page" else None, date, told, visit.id),
        )

    def keep(self, visit: Visit, data: bytes) -> None:
        """Hold the WARC records of a fetch until the round ends."""
        self.db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (visit.id, visit.host, data))

    def records(self) -> Iterator[tuple[int, bytes]]:
        """The records held, host by host, each host's in its order."""
        for (number,) in self.db.execute("SELECT url FROM records ORDER BY host, url").fetchall():
            yield number, self.db.execute("SELECT data FROM records WHERE url = ?", (number,)).fetchone()[0]

    def written(self, places: Iterable[tuple[int, int, int]]) -> None:
        """Note where records went, as (file, offset, URL), and let go of them."""
        self.db.executemany("UPDATE urls SET file = ?, offset = ? WHERE id = ?", places)
        self.db.execute("DELETE FROM records")

    def same_payload(self, digest: str, host: int) -> tuple[str, str] | None:
        """URL and date of a page with that payload: an earlier one of the host, or any of an earlier round."""
        select = "SELECT url, date FROM urls WHERE digest = ? AND"
        earlier = self.db.execute(
            f"{select} round < ? ORDER BY round, host, id LIMIT 1", (digest, self.round)
        ).fetchone()
        own = f"{select} round = ? AND host = ? ORDER BY id LIMIT 1"
        page: tuple[str, str] | None = earlier or self.db.execute(own, (digest, self.round, host)).fetchone()
        return page

    def outcome_of(self, url: str) -> str | None:
        """What became of a URL, or None."""
        row = self.db.execute("SELECT outcome FROM urls WHERE url = ?", (url,)).fetchone()
        return row[0] if row else None

    def count_shape(self, host: int, shape: str, skeleton: bytes) -> None:
        """Count a page under its URL's shape, and whether its text is one that the host has not shown yet."""
        fresh = self.db.execute("INSERT OR IGNORE INTO skeletons VALUES (?, ?)", (host, skeleton)).rowcount
        self.db.execute(
            "INSERT INTO shapes VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET pages = pages + 1, fresh = fresh + ?",
            (host, shape, fresh, fresh),
        )

    def shape(self, host: int, shape: str) -> tuple[int, int]:
        """Pages of that shape, and how many of them were fresh."""
        row = self.db.execute("SELECT pages, fresh FROM shapes WHERE host = ? AND shape = ?", (host, shape)).fetchone()
        return row or (0, 0)

    # turns

    def pages(self) -> int:
        """Pages kept so far."""
        return self.number("SELECT coalesce(sum(pages), 0) FROM hosts")

    def number(self, query: str) -> int:
        """The one number that a query gives."""
        return int(self.db.execute(query).fetchone()[0])

    def turns(self) -> list[Turn]:
        """The turns of this round that are not over, in the order of hosts."""
        rows = self.db.execute(
            "SELECT id, name, left, spent, failures, asks, fruitless, late FROM hosts WHERE left > 0 AND EXISTS"
            " (SELECT 1 FROM urls WHERE host = hosts.id AND outcome IS NULL) ORDER BY id"
        )
        return [Turn(*most, late=bool(late)) for *most, late in rows]  # type: ignore[misc]  # mypy cannot count them

    def deal(self, budget: Budget, at_most: int, busy: Sequence[int]) -> None:
        """Give every host with URLs a share of the budget; the least served hosts first.

        `busy` hosts are still at their last turn, and keep what they were given.
        """
        held = f"id IN ({','.join(map(str, busy))})" if busy else "0"
        given = f"SELECT coalesce(sum(left), 0), coalesce(sum(asks - spent), 0) FROM hosts WHERE {held}"
        held_pages, held_asks = self.db.execute(given).fetchone()
        pages, asks = budget.pages - int(held_pages), budget.asks - self.asked() - int(held_asks)
        self.db.execute(f"UPDATE hosts SET left = 0, spent = 0, asks = 0 WHERE NOT {held}")
        rows = self.db.execute(
            f"SELECT id, pages, asked FROM hosts WHERE NOT {held} AND fruitless < ? AND EXISTS"
            " (SELECT 1 FROM urls WHERE host = hosts.id AND outcome IS NULL)"
            " AND (? = 0 OR (pages < ? AND asked < ?)) ORDER BY turns, id LIMIT ?",
            (budget.fruitless, budget.host_pages, budget.host_pages, budget.host_asks, at_most),
        ).fetchall()
        for place, (host, kept, asked) in enumerate(rows):
            hosts_left = len(rows) - place  # what is left is dealt evenly; early hosts get the odd ones
            own_pages, own_asks = budget.share, budget.share
            if budget.host_pages:
                own_pages, own_asks = min(own_pages, budget.host_pages - kept), min(own_asks, budget.host_asks - asked)
            may_ask = max(0, min(own_asks, -(-asks // hosts_left)))
            left = max(0, min(own_pages, -(-pages // hosts_left))) if may_ask else 0
            pages, asks = pages - left, asks - may_ask
            self.db.execute(
                "UPDATE hosts SET left = ?, asks = ?, turns = turns + ? WHERE id = ?", (left, may_ask, left > 0, host)
            )

    def asked(self) -> int:
        """URLs asked for so far, each robots.txt counted as one."""
        return self.number("SELECT coalesce(sum(asked), 0) + (SELECT count(*) FROM robots) FROM hosts")

    def fruitless(self, limit: int) -> list[str]:
        """The hosts that were left because they yielded nothing new, while they had more URLs."""
        rows = self.db.execute(
            "SELECT name FROM hosts WHERE fruitless >= ? AND EXISTS"
            " (SELECT 1 FROM urls WHERE host = hosts.id AND outcome IS NULL) ORDER BY id",
            (limit,),
        )
        return [name for (name,) in rows]

    def save(self, turn: Turn, pages: int, asked: int) -> None:
        """Note how far a turn has come; `pages` more were kept, `asked` more asked for."""
        self.db.execute(
            "UPDATE hosts SET left = ?, spent = ?, failures = ?, late = ?, fruitless = ?, pages = pages + ?,"
            " asked = asked + ? WHERE id = ?",
            (turn.left, turn.spent, turn.failures, turn.late, turn.fruitless, pages, asked, turn.host),
        )

    # robots.txt and earlier crawls

    def robots(self, origin: str, since: float) -> tuple[Any, ...] | None:
        """An origin's robots.txt fetched since then: date, status, error, detail, text, tdm; or None."""
        row: tuple[Any, ...] | None = self.db.execute(
            "SELECT date, status, error, detail, text, tdm FROM robots WHERE origin = ? AND at >= ?", (origin, since)
        ).fetchone()
        return row

    def save_robots(self, origin: str, at: float, row: Sequence[Any]) -> None:
        """Store a robots.txt: date, status, error, detail, text, tdm."""
        self.db.execute(
            "INSERT INTO robots (origin, at, date, status, error, detail, text, tdm) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (origin) DO UPDATE SET at = excluded.at, date = excluded.date, status = excluded.status,"
            " error = excluded.error, detail = excluded.detail, text = excluded.text, tdm = excluded.tdm",
            (origin, at, *row),
        )

    def first_of(self, origin: str) -> bool:
        """Whether an origin's sitemaps have not been queued yet; they count as queued from now on."""
        return self.db.execute("UPDATE robots SET mapped = 1 WHERE origin = ? AND mapped = 0", (origin,)).rowcount == 1

    def robots_log(self) -> Iterator[dict[str, Any]]:
        """Every robots.txt that was asked for, by origin."""
        names = ("origin", "date", "status", "error", "detail", "text")
        for row in self.db.execute(f"SELECT {', '.join(names)} FROM robots ORDER BY origin"):
            told = dict(zip(names, row, strict=True))
            yield told if told["error"] else {name: told[name] for name in names if name not in ("error", "detail")}

    def remember(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take in what an earlier crawl knows of its pages."""
        self.db.executemany("INSERT OR IGNORE INTO previous VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def previous(self, url: str) -> tuple[str, ...] | None:
        """What the earlier crawl knows of a URL: date, digest, etag, modified, original, source."""
        row: tuple[str, ...] | None = self.db.execute(
            "SELECT date, digest, etag, modified, original, source FROM previous WHERE url = ?", (url,)
        ).fetchone()
        return row

    # results

    def counts(self) -> dict[str, int]:
        """URLs by outcome."""
        rows = self.db.execute("SELECT outcome, count(*) FROM urls WHERE outcome IS NOT NULL GROUP BY 1 ORDER BY 1")
        return dict(rows.fetchall())

    def seen(self) -> int:
        """URLs ever named, at once."""
        return self.number("SELECT coalesce(max(id), 0) FROM urls")

    def queues(self) -> tuple[int, int]:
        """URLs without an outcome: of all hosts, and of the host that has most of them."""
        by_host = "SELECT count(*) AS waiting FROM urls WHERE outcome IS NULL GROUP BY host"
        together, longest = self.db.execute(f"SELECT sum(waiting), max(waiting) FROM ({by_host})").fetchone()
        return together or 0, longest or 0

    def late(self) -> int:
        """Hosts that were too slow for their share."""
        return self.number("SELECT count(*) FROM hosts WHERE late")

    def log(self) -> Iterator[dict[str, Any]]:
        """Every URL that has an outcome: what became of it, when, why, and where its records are."""
        names = ("url", "depth", "via", "outcome", "status", "date", "digest")
        rows = self.db.execute(
            f"SELECT file, offset, note, {', '.join(names)} FROM urls WHERE outcome IS NOT NULL ORDER BY host, id"
        )
        for file, offset, note, *values in rows:
            row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            place = {} if file is None else {"source": f"{warc_name(file)}:{offset}"}
            yield row | place | json.loads(note or "{}")

    def close(self) -> None:
        """Close the file without committing, and leave its checksum."""
        self.db.close()
        write_text(self.checksum, sha256_file(self.path))
