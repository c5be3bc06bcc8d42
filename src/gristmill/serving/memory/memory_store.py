"""Facts and conversations of each user in one SQLite file: seen, found, edited and deleted by that user alone.

What is deleted is overwritten. Nothing here is read by training.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

from gristmill.errors import UserError
from gristmill.passages.passage_index import SYMBOLS, any_of
from gristmill.passages.terms import terms
from gristmill.serving.memory.said import LONGEST_FACT, subject

MOST_FACTS, MOST_CONVERSATIONS, MOST_ITEMS = 1_000, 10_000, 2_000  # of a user, of a user, of a conversation
MOST_CHARACTERS = 50_000_000  # of all that a user's conversations hold
VERSION = 1  # of the tables
MATCHES = 50  # items that a search looks at
ITEM = "number, id, conversation, role, text, status, created_at"
TABLES = f"""
CREATE TABLE IF NOT EXISTS facts(id TEXT PRIMARY KEY, user TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS facts_of ON facts(user, updated_at);
CREATE TABLE IF NOT EXISTS conversations(id TEXT PRIMARY KEY, user TEXT NOT NULL, created_at REAL NOT NULL,
    updated_at REAL NOT NULL, metadata TEXT NOT NULL, characters INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS conversations_of ON conversations(user, updated_at);
CREATE TABLE IF NOT EXISTS items(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL,
    conversation TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE, role TEXT NOT NULL, text TEXT NOT NULL,
    status TEXT NOT NULL, created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS items_of ON items(conversation, number);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(terms, tokenize="unicode61 tokenchars '{SYMBOLS}'");
CREATE TRIGGER IF NOT EXISTS item_gone AFTER DELETE ON items BEGIN DELETE FROM words WHERE rowid = old.number; END;
"""


class Missing(LookupError):
    """A user has nothing of that id."""


class Fact(NamedTuple):
    """What a user wants remembered; superseded where a newer fact has the same subject."""

    id: str
    text: str
    created_at: float  # seconds since 1970
    updated_at: float
    superseded: bool


class Conversation(NamedTuple):
    """What is known of a conversation besides its items."""

    id: str
    created_at: float
    updated_at: float
    metadata: dict[str, str]  # OpenAI's; `title` is its name


class KeptItem(NamedTuple):
    """One message of a conversation."""

    number: int  # grows in time
    id: str
    conversation: str
    role: str
    text: str
    status: str  # "completed", "incomplete" where an answer was cut, or "memory": answered from here by rule
    created_at: float


class MemoryStore:
    """The file. It is made when something is first kept; threads may share it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self.clock, self.lock = path, clock, RLock()
        self.base: sqlite3.Connection | None = None

    def connect(self) -> sqlite3.Connection:
        """The database. Raises UserError where it cannot be had."""
        if self.base:
            return self.base
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # nobody else's to read
            base = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON", "foreign_keys = ON"):
                base.execute(f"PRAGMA {pragma}")
            (version,) = base.execute("PRAGMA user_version").fetchone()
            if version != VERSION and base.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise sqlite3.DatabaseError("it is another program's, or another version's")
            base.executescript(f"{TABLES} PRAGMA user_version = {VERSION};")
        except (OSError, sqlite3.Error) as error:
            remedy = "name another file with --memory, or give --no-memory"
            why = getattr(error, "strerror", None) or error
            raise UserError(f"{self.path} cannot be used as memory: {why}", remedy) from error
        self.base = base
        return base

    @contextmanager
    def changed(self, *, erase: bool = False) -> Iterator[sqlite3.Connection]:
        """The database in a transaction; `erase`: afterwards no copy of what was deleted is left in its files."""
        with self.lock:
            base = self.connect()
            base.execute("BEGIN IMMEDIATE")
            try:
                yield base
                if erase:
                    base.execute("INSERT INTO words(words) VALUES ('optimize')")
            except BaseException:
                base.execute("ROLLBACK")
                raise
            base.execute("COMMIT")
            if erase:
                base.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What a query finds."""
        with self.lock:
            return self.connect().execute(query, values).fetchall() if self.base or self.path.exists() else []

    def facts(self, user: str) -> list[Fact]:
        """All that a user wants remembered, the newest first."""
        query = "SELECT id, text, created_at, updated_at, subject FROM facts WHERE user = ?"
        found, subjects = [], set[str]()
        for fact, text, created, updated, about in self.rows(f"{query} ORDER BY updated_at DESC, rowid DESC", user):
            found.append(Fact(fact, text, created, updated, about in subjects))
            subjects.add(about)
        return found

    def remember(self, user: str, text: str, fact: str | None = None) -> Fact:
        """Keep a fact; in place of another where `fact` is its id, and once where it is known already.

        Raises Missing where there is no such fact; UserError for a text that is none, or one too many.
        """
        text = " ".join(text.split())
        if not 0 < len(text) <= LONGEST_FACT:
            raise UserError(f"a fact has 1 to {LONGEST_FACT} characters", "say it in fewer words")
        now = self.clock()
        with self.changed(erase=fact is not None) as base:
            if fact is None:
                known = base.execute("SELECT id FROM facts WHERE user = ? AND text = ?", (user, text)).fetchone()
                fact = known[0] if known else None
            if fact is not None:
                change = "UPDATE facts SET text = ?, subject = ?, updated_at = ? WHERE id = ? AND user = ?"
                if not base.execute(change, (text, subject(text), now, fact, user)).rowcount:
                    raise Missing(fact)
            else:
                fact = f"fact_{uuid.uuid4().hex}"
                self.bound(MOST_FACTS, "facts", 1, "SELECT count(*) FROM facts WHERE user = ?", user)
                base.execute("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?)", (fact, user, subject(text), text, now, now))
        return next(one for one in self.facts(user) if one.id == fact)

    def forget(self, user: str, facts: Iterable[str]) -> None:
        """Delete facts. Raises Missing where one is not there."""
        with self.changed(erase=True) as base:
            for fact in facts:
                if not base.execute("DELETE FROM facts WHERE id = ? AND user = ?", (fact, user)).rowcount:
                    raise Missing(fact)

    def conversations(self, user: str, limit: int = MOST_CONVERSATIONS, after: str | None = None) -> list[Conversation]:
        """A user's conversations, those last used first, from the one after `after` on."""
        last = [] if after is None else [self.conversation(user, after).updated_at, after]
        older = "AND (updated_at, id) < (?, ?)" if last else ""
        return self.matching(f"user = ? {older} ORDER BY updated_at DESC, id DESC LIMIT ?", user, *last, limit)

    def conversation(self, user: str, conversation: str) -> Conversation:
        """One of them. Raises Missing."""
        found = self.matching("id = ? AND user = ?", conversation, user)
        if not found:
            raise Missing(conversation)
        return found[0]

    def matching(self, condition: str, *values: Any) -> list[Conversation]:
        """The conversations for which an SQL condition holds."""
        rows = self.rows(f"SELECT id, created_at, updated_at, metadata FROM conversations WHERE {condition}", *values)
        return [Conversation(one, made, used, json.loads(about)) for one, made, used, about in rows]

    def begin(self, user: str, metadata: Mapping[str, str]) -> Conversation:
        """A new conversation. Raises UserError for one too many."""
        made = Conversation(f"conv_{uuid.uuid4().hex}", self.clock(), self.clock(), dict(metadata))
        with self.changed() as base:
            held = "SELECT count(*) FROM conversations WHERE user = ?"
            self.bound(MOST_CONVERSATIONS, "conversations", 1, held, user)
            row = made.id, user, made.created_at, made.updated_at, json.dumps(made.metadata)
            base.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?, 0)", row)
        return made

    def describe(self, user: str, conversation: str, metadata: Mapping[str, str]) -> Conversation:
        """Give a conversation other metadata. Raises Missing."""
        found = self.conversation(user, conversation)._replace(metadata=dict(metadata))
        with self.changed(erase=True) as base:
            change = "UPDATE conversations SET metadata = ? WHERE id = ?"
            base.execute(change, (json.dumps(found.metadata), conversation))
        return found

    def end(self, user: str, conversations: Iterable[str]) -> None:
        """Delete conversations with all their items. Raises Missing."""
        with self.changed(erase=True) as base:
            for one in conversations:
                if not base.execute("DELETE FROM conversations WHERE id = ? AND user = ?", (one, user)).rowcount:
                    raise Missing(one)

    def add(self, user: str, conversation: str, said: Sequence[tuple[str, str, str]]) -> list[KeptItem]:
        """Append messages (role, text, status). Raises Missing, and UserError before anything is added."""
        self.conversation(user, conversation)
        now, found = self.clock(), list[KeptItem]()
        with self.changed() as base:
            self.check_room(user, conversation, len(said), sum(len(text) for _, text, _ in said))
            for role, text, status in said:
                row = f"msg_{uuid.uuid4().hex}", conversation, role, text, status, now
                columns = "id, conversation, role, text, status, created_at"
                number = base.execute(f"INSERT INTO items({columns}) VALUES (?, ?, ?, ?, ?, ?)", row).lastrowid or 0
                base.execute("INSERT INTO words(rowid, terms) VALUES (?, ?)", (number, " ".join(terms(text))))
                found.append(KeptItem(number, *row))
            used = "UPDATE conversations SET updated_at = ?, characters = characters + ? WHERE id = ?"
            base.execute(used, (now, sum(len(text) for _, text, _ in said), conversation))
        return found

    def check_room(self, user: str, conversation: str, items: int, characters: int) -> None:
        """Raise UserError where a conversation has no room for so many more messages, of so many characters."""
        held = "SELECT count(*) FROM items WHERE conversation = ?"
        self.bound(MOST_ITEMS, "messages of a conversation", items, held, conversation)
        held = "SELECT total(characters) FROM conversations WHERE user = ?"
        self.bound(MOST_CHARACTERS, "characters of conversations", characters, held, user)

    def bound(self, most: int, what: str, more: int, held: str, whose: str) -> None:
        """Raise UserError where there would be more than `most` of something; the query `held` tells how many are."""
        ((count,),) = self.rows(held, whose)
        if count + more > most:
            raise UserError(f"at most {most:,} {what} are kept", "delete some")

    def items(self, user: str, conversation: str, most: int = MOST_CHARACTERS) -> list[KeptItem]:
        """The messages of a conversation in order: the last ones, of at most so many characters. Raises Missing."""
        self.conversation(user, conversation)
        query = f"""SELECT {ITEM} FROM (SELECT *, sum(length(text)) OVER (ORDER BY number DESC) AS so_far FROM items
            WHERE conversation = ?) WHERE so_far <= ? ORDER BY number"""
        return [KeptItem(*row) for row in self.rows(query, conversation, most)]

    def drop(self, user: str, conversation: str, item: str) -> None:
        """Delete one message. Raises Missing."""
        self.conversation(user, conversation)
        with self.changed(erase=True) as base:
            size = base.execute("SELECT length(text) FROM items WHERE id = ?", (item,)).fetchone()
            if not base.execute("DELETE FROM items WHERE id = ? AND conversation = ?", (item, conversation)).rowcount:
                raise Missing(item)
            base.execute("UPDATE conversations SET characters = characters - ? WHERE id = ?", (*size, conversation))

    def search(self, user: str, asked: Sequence[str]) -> list[KeptItem]:
        """The messages of a user's conversations that say most of some terms, by BM25 (FTS5)."""
        query = f"""SELECT {ITEM} FROM words JOIN items ON number = words.rowid
            WHERE words MATCH ? AND conversation IN (SELECT id FROM conversations WHERE user = ?)
            ORDER BY bm25(words), number DESC LIMIT ?"""
        words = any_of(asked)
        return [KeptItem(*row) for row in self.rows(query, words, user, MATCHES)] if words else []
