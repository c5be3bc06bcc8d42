"""The assistant over a run's passages: it quotes pages, or says that they do not say, and shows where it has it from.

Text of a page is only ever quoted: nothing reads it as an instruction, and no turn is opened or closed by it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from gristmill.chat.template import in_turns
from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.passages.extractive import Quoted, answer, small_talk
from gristmill.passages.follow_up import taken_up
from gristmill.passages.passage_index import FILE
from gristmill.passages.phrasebook import replies, ungreeted
from gristmill.passages.reader import Reader
from gristmill.passages.search import Search
from gristmill.passages.sentence_encoder import SentenceEncoder
from gristmill.progress import console, warn
from gristmill.serving.assistant import Assistant, Messages, Reply


class QuotedReply(Reply):
    """An answer that is complete before its first piece is asked for."""

    def __init__(self, made: Quoted, stop: Sequence[str]) -> None:
        self.prompt_tokens = self.completion_tokens = 0  # of no model
        self.finish = "stop"
        ends = [at for text in stop if text and (at := made.text.find(text)) >= 0]
        self.content = made.text[: min(ends, default=len(made.text))]
        self.passages, self.quoted = made.passages, [one.passage for one in made.citations]
        self.annotations = [
            {
                "type": "url_citation",
                "url_citation": {
                    "url": one.passage.place,
                    "title": one.passage.title or one.passage.place,
                    "start_index": one.start,
                    "end_index": one.end,
                },
            }
            for one in made.citations
            if one.end <= len(self.content)
        ]

    def supplement(self, known: str) -> None:
        """Put before the text what is known otherwise, if anything: then no passages are shown."""
        if known:
            self.content, self.passages = "\n\n".join(filter(None, (known, self.content))), ()

    def __iter__(self) -> Generator[str, None, None]:
        """The text, in one piece."""
        yield self.content

    def text(self) -> str:
        """The same."""
        return self.content


class QuotingAssistant(Assistant):
    """Answers the last question of a conversation from a folder of passages, which an encoder may put in order and a
    model read; earlier questions say what it is about."""

    def __init__(
        self,
        folder: Path,
        name: str,
        model: Engine | None = None,
        encoder: SentenceEncoder | None = None,
        where: Callable[[], Path | None] | None = None,
        watched: Sequence[Path] = (),
    ) -> None:
        """`where` tells which folder it is by now; it is asked when one of the files `watched` has changed."""
        self.name, self.model, self.encoder = name, model, encoder
        self.where, self.watched, self.lock = where, watched, Lock()
        self.seen: list[Any] = []  # the first question looks: models may have been loaded since the folder was named
        self.read(folder)

    def read(self, folder: Path) -> None:
        """Open a folder of passages. Raises UserError where it cannot be."""
        opened = folder, stamp(folder / FILE)
        search = Search(folder, self.encoder)
        self.examples = search.questions()
        self.search, self.opened = search, opened
        self.answer = Reader(self.search, self.model).answer if self.model else partial(answer, self.search)

    def look(self) -> None:
        """Read the passages that are there by now, where others are; those of before stay where that fails."""
        with self.lock:
            now = list(map(stamp, self.watched))
            if now == self.seen or self.where is None:
                return
            self.seen = now
            try:
                folder = self.where()
                if folder and self.opened != (folder, stamp(folder / FILE)):
                    self.read(folder)
                    console.print(f"passages: {folder} is read, which is new")
            except (UserError, OSError, sqlite3.Error) as error:
                warn(f"caution: the passages have changed, and those of before are quoted: {error}")

    def offered(self) -> list[str]:
        """Questions that headings of the pages ask, as they are by now."""
        self.look()
        return self.examples

    def reply(self, messages: Messages, *, stop: Sequence[str] = (), **_: Any) -> QuotedReply:
        """The answer to the user's last message. Raises UserError where messages have no text or none is the user's."""
        self.look()
        asked = questions_of([one["content"] for one in in_turns(messages) if one["role"] == "user"])
        made = small_talk(self.search, asked[-1]) or self.answer(asked[-1], taken_up(self.search, asked))
        return QuotedReply(made, stop)

    def find(self, questions: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """The passages to show with the answer to the last of a person's questions, each with the places of the
        questions' words in it."""
        self.look()
        search, asked = self.search, questions_of(questions)
        found = [] if replies(asked[-1]) else search.find(asked[-1], limit, taken_up(search, asked))
        by = search.ranked_by
        return [{**one.record(), "ranked_by": by, "headings": one.headings, "marks": one.marks} for one in found]


def questions_of(messages: Sequence[str]) -> list[str]:
    """A person's messages without greetings and thanks, but for the last where it is nothing else."""
    asked = [ungreeted(one) for one in messages]
    return [one for one in asked[:-1] if not replies(one)] + asked[-1:]


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What another file at the same place would have otherwise: inode, size and time; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns
