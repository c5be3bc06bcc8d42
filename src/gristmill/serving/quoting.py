"""The assistant over a run's passages: it quotes pages, or says that they do not say, and shows where it has it from.

Text of a page is only ever quoted: nothing reads it as an instruction, and no turn is opened or closed by it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gristmill.chat.template import in_turns
from gristmill.generation.engine import Engine
from gristmill.passages.extractive import Quoted, answer
from gristmill.passages.follow_up import taken_up
from gristmill.passages.reader import Reader
from gristmill.passages.search import Search
from gristmill.passages.sentence_encoder import SentenceEncoder
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


class QuotingAssistant(Assistant):
    """Answers the last question of a conversation from a folder of passages, which an encoder may put in order and a
    model read; earlier questions say what it is about."""

    def __init__(
        self, folder: Path, name: str, model: Engine | None = None, encoder: SentenceEncoder | None = None
    ) -> None:
        self.search, self.name = Search(folder, encoder), name
        self.answer = Reader(self.search, model).answer if model else partial(answer, self.search)
        self.examples = self.search.questions()

    def reply(self, messages: Messages, *, stop: Sequence[str] = (), **_: Any) -> QuotedReply:
        """The answer to the user's last message. Raises UserError where messages have no text or none is the user's."""
        asked = [one["content"] for one in in_turns(messages) if one["role"] == "user"]
        return QuotedReply(self.answer(asked[-1], taken_up(asked)), stop)

    def find(self, questions: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """The passages to show with the answer to the last of a person's questions, each with the places of the
        questions' words in it."""
        found = self.search.find(questions[-1], limit, taken_up(questions))
        by = self.search.ranked_by
        return [{**one.record(), "ranked_by": by, "headings": one.headings, "marks": one.marks} for one in found]
