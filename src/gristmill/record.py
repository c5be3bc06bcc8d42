"""A record: one page or text as it was found, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Record:
    """One page or text; `fault` names the rule that drops it where it could not even be read."""

    body: bytes  # without content and transfer encodings
    content_type: str  # without parameters, lower case
    url: str
    source: str  # file and record in it
    charset: str = ""  # as a header names it
    title: str = ""
    fetched_at: datetime | None = None
    licence: str = ""
    fault: str = ""
    why: str = ""  # what was wrong, where there is a fault
    whole: bool = False  # HTML that is all main text, as a book's chapter
    headers: tuple[tuple[str, str], ...] | None = None  # of the HTTP response that a WARC file keeps
    decisions: dict[str, Any] = field(default_factory=dict)  # what the crawl noted: robots, signals, licence


def unread(source: str, fault: str, why: str = "", url: str | None = None) -> Record:
    """In place of what cannot be read: the rule that drops it, and why; what has no `url` goes by its source."""
    return Record(b"", "", source if url is None else url, source, fault=fault, why=why)
