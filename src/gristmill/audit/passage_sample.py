"""Passages of the training text, found by content: equal passages are sampled together or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gristmill.tokenizer.shards import Split

CHUNK = 1 << 20  # positions hashed at once: bounds the memory, whatever the corpus
KEPT = 200_000  # about as many positions are kept for counting
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2**64


@dataclass(frozen=True)
class Passage:
    """A run of tokens inside one document."""

    start: int  # first token, in the split as a whole
    copies: int  # occurrences in the split


def powers(base: int, count: int) -> np.ndarray:
    """base**0 … base**(count - 1) modulo 2**64."""
    result = np.full(count, base, np.uint64)
    result[0] = 1
    return np.multiply.accumulate(result)


def window_hashes(tokens: np.ndarray, length: int) -> np.ndarray:
    """A 64-bit hash of every window of `length` tokens: polynomial prefix sums, brought to a common power."""
    base = int(FACTOR)
    terms = (tokens.astype(np.uint64) + np.uint64(1)) * powers(base, len(tokens))
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    count = len(tokens) - length + 1
    hashes: np.ndarray = (sums[length:] - sums[:count]) * powers(pow(base, -1, 1 << 64), count)
    hashes ^= hashes >> np.uint64(31)  # the low bits of a polynomial are poor: mix them
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(29)
    return hashes


def find_passages(split: Split, length: int, kept: int = KEPT) -> list[Passage]:
    """A sample of the distinct passages of `length` tokens, each with how often it occurs; in text order.

    Whether a passage is in the sample depends on its tokens alone, so that all its copies are counted. Passages lie
    inside documents and leave out their end token. One pass, in memory for CHUNK positions and the sample.
    """
    ends = split.starts[1:] - 1  # the end token of each document
    rooms = np.maximum(0, ends - split.starts[:-1] - length + 1)
    divisor = np.uint64(max(1, int(rooms.sum()) // kept))
    found_hashes: list[np.ndarray] = []
    found_starts: list[np.ndarray] = []
    for at in range(0, len(split.tokens), CHUNK):
        tokens = np.asarray(split.tokens[at : at + CHUNK + length - 1])
        if len(tokens) < length:
            break
        hashes = window_hashes(tokens, length)
        starts = at + np.flatnonzero(hashes % divisor == 0)
        document = np.searchsorted(split.starts, starts, side="right") - 1
        starts = starts[starts + length <= ends[document]]
        found_hashes.append(hashes[starts - at])
        found_starts.append(starts)
    if not found_starts:
        return []
    hashes, starts = np.concatenate(found_hashes), np.concatenate(found_starts)
    _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    return [Passage(int(starts[i]), int(count)) for i, count in sorted(zip(first, counts, strict=True))]
