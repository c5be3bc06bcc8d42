"""Every way in which a text may stand in tokens, as what is next to it changes which tokens its first and last words
are part of: `Good`, ` Good` and `"Good` begin with three different ones, `it.` and `it.` before a line break end so.

A form is the tokens from the one that holds the text's first byte to the one that holds its last. Each occurrence of
the text in a document has exactly one, and so counts over all forms are those of a search through the documents.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

import numpy as np

from gristmill.corpus.text.words import UNSPACED

JOINED = re.compile(rf"[^\W_{UNSPACED}]")  # characters that make one word with those next to them
UNITS = re.compile(rf"[^\W_{UNSPACED}]+|\S")  # words, and all else character by character


class Form(NamedTuple):
    """Tokens that hold a text."""

    tokens: tuple[int, ...]
    before: int  # bytes of the first one that are in front of the text
    after: int  # bytes of the last one that follow it


def joined(left: bytes, right: bytes) -> bool:
    """Whether the end of one and the beginning of the other are parts of one word."""
    ends, begins = left[-4:].decode(errors="replace")[-1:], right[:4].decode(errors="replace")[:1]
    return bool(JOINED.match(ends) and JOINED.match(begins))


class Pieces:
    """The bytes of all tokens of a vocabulary, by what they begin with and what they hold."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.sorted = sorted((piece, token) for token, piece in enumerate(pieces) if piece)
        self.known = dict(reversed(self.sorted))
        self.longest = max(map(len, pieces), default=0)
        lengths = np.array([*map(len, pieces)], np.int64)
        self.all = np.frombuffer(b"".join(pieces), np.uint8)
        self.owner = np.repeat(np.arange(len(pieces)), lengths)
        self.begins = np.cumsum(lengths) - lengths
        self.ends = np.cumsum(lengths)

    def forms(self, text: str, stands: Callable[[tuple[int, ...]], bool]) -> Iterator[Form]:
        """The forms of a text in which it is no part of a longer word, as far as `stands` says that the training text
        has tokens in a row."""
        data = text.encode("utf-8", "surrogatepass")
        for token, before in self.first(data):
            yield from self.completed(data, (token,), before, len(self.pieces[token]) - before, stands)

    def first(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Tokens whose end, or middle, agrees with the beginning of some bytes, and from which of their bytes on."""
        at = np.flatnonzero(self.all == data[0])
        for length in count(1):
            over = self.ends[self.owner[at]] - at <= length  # the token ends here
            for place in at if length == len(data) else at[over]:
                token = int(self.owner[place])
                before = int(place - self.begins[token])
                if not joined(self.pieces[token][:before], data):
                    yield token, before
            at = at[~over]
            if length == len(data) or not len(at):
                return
            at = at[self.all[at + length] == data[length]]

    def completed(
        self, data: bytes, tokens: tuple[int, ...], before: int, reached: int, stands: Callable[[tuple[int, ...]], bool]
    ) -> Iterator[Form]:
        """The forms that begin with some tokens, which reach to a place in the data or beyond its end."""
        waiting = [(tokens, reached)]
        while waiting:
            tokens, reached = waiting.pop()
            if not stands(tokens):
                continue
            if reached >= len(data):
                piece = self.pieces[tokens[-1]]
                after = reached - len(data)
                if not joined(data, piece[len(piece) - after :]):
                    yield Form(tokens, before, after)
                continue
            rest = data[reached : reached + self.longest]
            following = [self.known[rest[:length]] for length in range(1, len(rest) + 1) if rest[:length] in self.known]
            if reached + self.longest > len(data):
                following += self.beyond(rest)
            waiting += [((*tokens, token), reached + len(self.pieces[token])) for token in following]

    def beyond(self, rest: bytes) -> Iterator[int]:
        """Tokens that begin with some bytes and go on."""
        for place in range(bisect_left(self.sorted, (rest, -1)), len(self.sorted)):
            piece, token = self.sorted[place]
            if not piece.startswith(rest):
                return
            if len(piece) > len(rest):
                yield token
