"""The frontier: every URL seen, in the order found, on disk. It survives a kill at any moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TABLES = """
CREATE TABLE IF NOT EXISTS urls (
    seq INTEGER PRIMARY KEY, url TEXT UNIQUE NOT NULL, depth INTEGER NOT NULL, hops INTEGER NOT NULL,
    sitemap INTEGER NOT NULL, via TEXT NOT NULL, outcome TEXT, status INTEGER);
CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS progress (offset INTEGER NOT NULL, requests INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Visit:
    """One URL to fetch."""

    seq: int
    url: str
    depth: int  # links away from a seed
    hops: int  # redirects that led here
    sitemap: bool
    via: str  # the URL that named it


class Frontier:
    """URLs in discovery order, which is breadth first. Nothing is kept until `commit`."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + TABLES)
        self.db.execute("BEGIN")
        row = self.db.execute("SELECT offset, requests FROM progress").fetchone()
        self.offset, self.requests = (int(row[0]), int(row[1])) if row else (0, 0)

    def add(self, url: str, depth: int, via: str, *, hops: int = 0, sitemap: bool = False) -> None:
        """Queue a URL unless it was seen before."""
        self.db.execute(
            "INSERT OR IGNORE INTO urls (url, depth, hops, sitemap, via) VALUES (?, ?, ?, ?, ?)",
            (url, depth, hops, sitemap, via),
        )

    def first_of_host(self, host: str) -> bool:
        """Whether this host is met for the first time."""
        return self.db.execute("INSERT OR IGNORE INTO hosts VALUES (?)", (host,)).rowcount == 1

    def pending(self, after: int, limit: int) -> list[Visit]:
        """The next URLs without an outcome, in order."""
        rows = self.db.execute(
            "SELECT seq, url, depth, hops, sitemap, via FROM urls WHERE outcome IS NULL AND seq > ?"
            " ORDER BY seq LIMIT ?",
            (after, limit),
        )
        return [Visit(seq, url, depth, hops, bool(sitemap), via) for seq, url, depth, hops, sitemap, via in rows]

    def settle(self, visit: Visit, outcome: str, status: int) -> None:
        """Note what became of a URL."""
        self.db.execute("UPDATE urls SET outcome = ?, status = ? WHERE seq = ?", (outcome, status, visit.seq))

    def commit(self, offset: int, requests: int) -> None:
        """Make all so far durable, together with the length of the WARC that it belongs to."""
        self.db.execute("DELETE FROM progress")
        self.db.execute("INSERT INTO progress VALUES (?, ?)", (offset, requests))
        self.db.execute("COMMIT")
        self.db.execute("BEGIN")

    def counts(self) -> dict[str, int]:
        """URLs by outcome."""
        rows = self.db.execute("SELECT outcome, count(*) FROM urls WHERE outcome IS NOT NULL GROUP BY 1 ORDER BY 1")
        return dict(rows.fetchall())

    def log(self) -> Iterator[dict[str, object]]:
        """Every URL with its outcome, in order."""
        names = ("url", "depth", "via", "outcome", "status")
        for row in self.db.execute(f"SELECT {', '.join(names)} FROM urls ORDER BY seq"):
            yield dict(zip(names, row, strict=True))

    def close(self) -> None:
        """Close the file without committing."""
        self.db.execute("ROLLBACK")
        self.db.close()
