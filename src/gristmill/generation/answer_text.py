"""The text of an answer while its tokens come, apart from what was thought before it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import OVER, THOUGHT


def said(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[int]:
    """The tokens of an answer behind what was thought before it: none where a thought comes to no end."""
    opens, over = (tokenizer.shown.get(mark) for mark in (THOUGHT, OVER))
    if over in tokens:
        return list(tokens[tokens.index(over) + 1 :])
    return [] if opens in tokens else list(tokens)


def answer_of(tokenizer: Tokenizer, tokens: Iterable[int]) -> str:
    """The text of an answer, without what was thought before it."""
    if THOUGHT not in tokenizer.shown:
        return tokenizer.decode(tokens)
    text = AnswerText(tokenizer)
    return "".join([*map(text.add, tokens), text.end()])


class AnswerText:
    """Tokens in, valid text out: bytes that are no whole character yet, or may begin a stop string, wait. A thought
    with which the answer begins is no part of it; it is kept in `thought`."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = (), raw: bool = False) -> None:
        """`raw`: thoughts are text like all else."""
        self.piece, self.stop = tokenizer.token_bytes, [text for text in stop if text]
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.held = max((len(text) - 1 for text in self.stop), default=0)
        self.waiting = ""
        self.opens, self.closes = (tokenizer.shown.get(mark) for mark in (THOUGHT, OVER))
        if raw or self.closes is None:
            self.opens = None
        self.thinking = self.thought_over = self.begun = False  # begun: whether anything was said
        self.thought = ""  # as far as it has come
        self.stopped = False  # whether a stop string ended it: it is left out

    def add(self, token: int) -> str:
        """What is certain now; it may be empty."""
        if token == self.opens and not self.begun:
            self.thinking = True
            return ""
        if token == self.closes and self.thinking:
            self.end()  # half a character, if any, is still the thought's
            self.thinking, self.thought_over, self.thought = False, True, self.thought.rstrip()
            return ""
        new = self.decode(self.piece(token))
        if self.thinking:
            self.thought += new if self.thought else new.lstrip()
            return ""
        if self.thought_over and not self.begun:
            new = new.lstrip()
        self.begun = self.begun or bool(new.strip())
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
        rest = self.decode(b"", final=True)
        if self.thinking:
            self.thought += rest
            return ""
        return self.waiting + rest
