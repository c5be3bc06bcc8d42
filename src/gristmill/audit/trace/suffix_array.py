"""Suffix arrays of tokens: every place of a text in the order of what follows it, so that any run of tokens is found by
halving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gristmill.native import BYTES, I32, INT, SIZE, U8, U32, U64, Function

SORT = Function("gm_suffix_sort", INT, U32, SIZE, SIZE, I32, I32)
FIND = Function("gm_suffix_find", None, U8, SIZE, U8, SIZE, SIZE, BYTES, SIZE, U64)
LONGEST = Function("gm_suffix_longest", None, U8, SIZE, U8, SIZE, SIZE, BYTES, SIZE, SIZE, U64)


def suffix_table(numbers: np.ndarray) -> np.ndarray:
    """Places of `numbers` (uint32 [n], n below 2**31) in the order of the suffixes that begin there, int32 [n].

    Raises MemoryError.
    """
    table, rank = np.empty(len(numbers), np.int32), np.empty(len(numbers), np.int32)
    if len(numbers) and not SORT(numbers, len(numbers), int(numbers.max()), table, rank):
        raise MemoryError
    return table


@dataclass(frozen=True)
class SuffixArray:
    """Bytes and the sorted pointers into them, in memory or mapped."""

    text: np.ndarray  # uint8 [size]
    table: np.ndarray  # uint8 [n · width]: pointers, little-endian
    width: int  # bytes of a pointer

    def find(self, pattern: bytes) -> range:
        """The places in the table of all that begins with a pattern."""
        found = np.zeros(2, np.uint64)
        count = len(self.table) // self.width
        FIND(self.text, len(self.text), self.table, count, self.width, pattern, len(pattern), found)
        return range(int(found[0]), int(found[1]))

    def longest(self, pattern: bytes, step: int) -> np.ndarray:
        """In how many bytes, at most, the pattern from every `step`-th byte on agrees with any text, uint64."""
        found = np.zeros(len(pattern) // step, np.uint64)
        count = len(self.table) // self.width
        LONGEST(self.text, len(self.text), self.table, count, self.width, pattern, len(pattern), step, found)
        return found

    def pointers(self, places: range) -> np.ndarray:
        """Where in the text those begin, int64."""
        rows = self.table[places.start * self.width : places.stop * self.width].reshape(-1, self.width)
        wide = np.zeros((len(rows), 8), np.uint8)
        wide[:, : self.width] = rows
        return wide.view("<i8")[:, 0]
