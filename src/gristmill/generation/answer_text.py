"""The text of an answer while its tokens come."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence

from gristmill.tokenizer.encode import Tokenizer

THOUGHT = "<think>"  # what a model thinks begins with it, where that is a token: Qwen3, DeepSeek
EMPTY = re.compile(r"\s*<think>\s*</think>\s*")  # in Qwen3's template, before an answer without one


def answer_of(tokenizer: Tokenizer, tokens: Iterable[int]) -> str:
    """The text of an answer, without an empty thought before it."""
    text = tokenizer.decode(tokens)
    return EMPTY.sub("", text, count=1) if THOUGHT in tokenizer.shown and EMPTY.match(text) else text


class AnswerText:
    """Tokens in, valid text out: bytes that are no whole character yet, or may begin a stop string, wait. An empty
    thought is left out."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self.piece, self.stop = tokenizer.token_bytes, [text for text in stop if text]
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.held = max((len(text) - 1 for text in self.stop), default=0)
        self.waiting = ""
        self.thought: str | None = "" if THOUGHT in tokenizer.shown else None  # what may be an empty one, so far
        self.stopped = False  # whether a stop string ended it: it is left out

    def add(self, token: int) -> str:
        """What is certain now; it may be empty."""
        new = self.spoken(self.decode(self.piece(token)))
        if not self.stop:
            return new
        self.waiting += new
        ends = [at for text in self.stop if (at := self.waiting.find(text)) >= 0]
        self.stopped = bool(ends)
        cut = min(ends) if ends else max(0, len(self.waiting) - self.held)
        certain, self.waiting = self.waiting[:cut], "" if ends else self.waiting[cut:]
        return certain

    def end(self) -> str:
        """What waits when no more tokens come."""
        thought, self.thought = EMPTY.sub("", self.thought or "", count=1), None
        return thought + self.waiting + self.decode(b"", final=True)

    def spoken(self, new: str) -> str:
        """What is added to an answer that may begin with an empty thought."""
        if self.thought is None or not new:
            return new
        said = self.thought + new
        begun = said.lstrip()
        inside = begun.removeprefix(THOUGHT).lstrip()
        over = inside.removeprefix("</think>").strip()
        if THOUGHT.startswith(begun) or (begun.startswith(THOUGHT) and ("</think>".startswith(inside) or not over)):
            self.thought = said
            return ""
        self.thought = None
        return EMPTY.sub("", said, count=1) if EMPTY.match(said) else said
