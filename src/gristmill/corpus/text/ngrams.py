"""Hashes of words and of runs of words: what decontamination and learned scores look texts up by."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from gristmill import native
from gristmill.corpus.text.words import fold_table
from gristmill.native import BYTES, SIZE, U32, U64

SIEVE_BITS = 22  # of a table that says at once that a hash is not looked for
HASHES = native.Function("gm_word_hashes", SIZE, BYTES, SIZE, U32, U64)


def word_hashes(text: str) -> np.ndarray:
    """A hash of each word of a text (words.py), in order, uint64: equal words have equal hashes."""
    data = text.encode("utf-8", "replace")
    hashes = np.empty(len(data) + 1, np.uint64)
    count = HASHES(data, len(data), fold_table(), hashes)
    return hashes[:count].copy()


def ngram_hashes(hashes: np.ndarray, lengths: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """For each of the lengths n, from the shortest: n, and a hash of every run of n words, uint64."""
    rolled = np.zeros(len(hashes), np.uint64)
    for n in range(1, max(lengths, default=0) + 1):
        count = max(0, len(hashes) - n + 1)
        rolled = rolled[:count] * np.uint64(0x9E3779B97F4A7C15) + hashes[n - 1 :]  # a polynomial modulo 2⁶⁴
        if n in lengths:
            yield n, (rolled ^ rolled >> np.uint64(32)) * np.uint64(0xD6E8FEB86659FD93)


class SortedHashes:
    """Different hashes in order, uint64, and which of others are among them. Most are not, and a table of their first
    bits says so at once."""

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = hashes
        self.sieve = np.zeros(1 << SIEVE_BITS, bool)
        self.sieve[hashes >> np.uint64(64 - SIEVE_BITS)] = True

    def find(self, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places in `others` of those that are among these, in order, and for each its place here, int64."""
        places = np.flatnonzero(self.sieve[others >> np.uint64(64 - SIEVE_BITS)])
        wanted = others[places]
        at = np.searchsorted(self.hashes, wanted)
        found = at < len(self.hashes)
        found[found] = self.hashes[at[found]] == wanted[found]
        return places[found], at[found]
