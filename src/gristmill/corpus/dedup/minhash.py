"""MinHash signatures and the keys of locality-sensitive hashing (Broder 1997; bands and rows as in FineWeb,
arXiv:2406.17557), from Arrow columns and in one pass of C over the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from gristmill import native
from gristmill.corpus.text.words import fold_table
from gristmill.native import I64, INT, SIZE, U8, U16, U32, U64, utf8

SIGNATURES = native.Function("gm_signatures", INT, U8, I64, SIZE, U32, SIZE, U32, U32, SIZE, SIZE, U64, U64, U16)
DIGEST = native.Function("gm_digest", None, U8, I64, SIZE, U64)
LANES = 16


@dataclass(frozen=True)
class MinHash:
    """`bands · rows` random permutations h(x) = (a·x + b) mod 2³² of word n-grams; the smallest value of each."""

    ngram: int
    bands: int
    rows: int
    seed: int

    @property
    def threshold(self) -> float:
        """The similarity at which half the pairs share a band, about: (1/bands)^(1/rows)."""
        return float((1 / self.bands) ** (1 / self.rows))

    def __call__(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of large strings: band keys uint64 [n, bands], digests of all words uint64 [n, 2], and signatures uint16
        [n, bands · rows], of which two agree in a share of positions that estimates the Jaccard similarity.
        """
        text, offsets = utf8(texts)
        a, b = permutations(self.bands * self.rows, self.seed)
        keys = np.empty((len(texts), self.bands), np.uint64)
        digests = np.empty((len(texts), 2), np.uint64)
        signatures = np.empty((len(texts), self.bands * self.rows), np.uint16)
        sizes = self.bands, self.rows
        if not SIGNATURES(text, offsets, len(texts), fold_table(), self.ngram, a, b, *sizes, keys, digests, signatures):
            raise MemoryError
        return keys, digests, signatures


def digests(strings: pa.Array) -> np.ndarray:
    """128-bit digests of large strings, uint64 [n, 2]. Not against an adversary: who wants a page to count as the copy
    of another need only copy it.
    """
    text, offsets = utf8(strings)
    made = np.empty((len(strings), 2), np.uint64)
    DIGEST(text, offsets, len(strings), made)
    return made


@cache
def permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers a (odd) and b of each permutation, uint32, padded to whole lanes."""
    random = np.random.default_rng(seed)
    a = random.integers(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    b = random.integers(0, 1 << 32, count, dtype=np.uint32)
    padding = (0, -count % LANES)
    return np.pad(a, padding), np.pad(b, padding)
