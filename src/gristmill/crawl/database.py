"""An SQLite database that is written as a whole: after a statement that could not be carried out there is no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any


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
