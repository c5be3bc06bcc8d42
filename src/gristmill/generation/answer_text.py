"""The text of an answer while its tokens come."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from gristmill.tokenizer.encode import Tokenizer


class AnswerText:
    """Tokens in, valid text out: bytes that are no whole character yet, or may begin a stop string, wait."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self.piece, self.stop = tokenizer.token_bytes, [text for text in stop if text]
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.held = max((len(text) - 1 for text in self.stop), default=0)
        self.waiting = ""
        self.stopped = False  # whether a stop string ended it: it is left out

    def add(self, token: int) -> str:
        """What is certain now; it may be empty."""
        new = self.decode(self.piece(token))
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
        return self.waiting + self.decode(b"", final=True)
