"""The frontier's database. It is written as a whole: after a statement that could not be carried out, none is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE IF NOT EXISTS hosts (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, pages INTEGER NOT NULL DEFAULT 0,
    turns INTEGER NOT NULL DEFAULT 0, left INTEGER NOT NULL DEFAULT 0, spent INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0, late INTEGER NOT NULL DEFAULT 0, asks INTEGER NOT NULL DEFAULT 0,
    asked INTEGER NOT NULL DEFAULT 0, fruitless INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS urls (
    id INTEGER PRIMARY KEY, host INTEGER NOT NULL, url TEXT UNIQUE NOT NULL, depth INTEGER NOT NULL,
    hops INTEGER NOT NULL, kind TEXT NOT NULL, via TEXT NOT NULL, outcome TEXT, status INTEGER NOT NULL DEFAULT 0,
    round INTEGER, digest TEXT, date TEXT, note TEXT, file INTEGER, offset INTEGER);
CREATE INDEX IF NOT EXISTS waiting ON urls (host, id) WHERE outcome IS NULL;
CREATE INDEX IF NOT EXISTS digests ON urls (digest, round, host, id) WHERE digest IS NOT NULL;
CREATE TABLE IF NOT EXISTS records (url INTEGER PRIMARY KEY, host INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS mail (
    id INTEGER PRIMARY KEY, sender INTEGER NOT NULL, host TEXT NOT NULL, url TEXT NOT NULL, depth INTEGER NOT NULL,
    hops INTEGER NOT NULL, kind TEXT NOT NULL, via TEXT NOT NULL, outcome TEXT);
CREATE TABLE IF NOT EXISTS shapes (
    host INTEGER, shape TEXT, pages INTEGER NOT NULL, fresh INTEGER NOT NULL, PRIMARY KEY (host, shape)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS skeletons (host INTEGER, skeleton BLOB, PRIMARY KEY (host, skeleton)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS robots (
    origin TEXT PRIMARY KEY, at REAL NOT NULL, date TEXT NOT NULL, status INTEGER NOT NULL, error TEXT NOT NULL,
    detail TEXT NOT NULL, text TEXT NOT NULL, tdm TEXT NOT NULL, mapped INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS previous (
    url TEXT PRIMARY KEY, date TEXT NOT NULL, digest TEXT NOT NULL, etag TEXT NOT NULL, modified TEXT NOT NULL,
    original TEXT NOT NULL, source TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (
    round INTEGER NOT NULL, file INTEGER NOT NULL, offset INTEGER NOT NULL, requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL);
"""
# a checkpoint waits for the disk, and everybody for it: one for every 128 MB of 4 kB pages; memory for 64 MB
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=32768", "cache_size=-64000")


class Database(sqlite3.Connection):
    """A connection whose every statement raises what the first that failed has raised.

    Where the disk is full, SQLite may undo the whole transaction (https://www.sqlite.org/lang_transaction.html §3).
    Of several tasks that share a connection, the others would go on as if what they wrote before were still there, and
    each of their statements would be kept at once.
    """

    failure: sqlite3.OperationalError | None = None

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As `sqlite3.Connection.execute`."""
        return self.unless_failed(super().execute, *arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """As `sqlite3.Connection.executemany`."""
        return self.unless_failed(super().executemany, *arguments)

    def unless_failed(self, work: Callable[..., sqlite3.Cursor], *arguments: Any) -> sqlite3.Cursor:
        """Carry out a statement. Raises sqlite3.OperationalError."""
        if self.failure:
            raise self.failure
        try:
            return work(*arguments)
        except sqlite3.OperationalError as error:
            self.failure = error
            raise


def open_database(path: Path) -> Database:
    """The database in a file, with its tables, at the beginning of a transaction."""
    database = sqlite3.connect(path, isolation_level=None, factory=Database)
    database.executescript("".join(f"PRAGMA {pragma};" for pragma in PRAGMAS) + TABLES)
    database.execute("BEGIN")
    return database
