"""A record: one page or text as it was found, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Record:
    """One page or text; `fault` names the rule that drops it where it could not even be read."""

    body: bytes
    content_type: str
    url: str
    source: str  # file and record in it
    charset: str = ""
    title: str = ""
    fetched_at: datetime | None = None
    licence: str = ""
    fault: str = ""
    why: str = ""  # what was wrong, where there is a fault
    whole: bool = False  # HTML that is all main text, as a book's chapter
