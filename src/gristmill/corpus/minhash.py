"""MinHash signatures and locality-sensitive hashing (Broder 1997; bands and rows as in FineWeb, arXiv:2406.17557)."""

from __future__ import annotations

import ctypes
import re
import zlib
from collections.abc import Iterator

import numpy as np

from gristmill import native

PRIME = np.uint64((1 << 31) - 1)
WORD = re.compile(r"\w+")
U64, SIZE = np.dtype(np.uint64), ctypes.c_size_t


def shingles(text: str, n: int) -> np.ndarray:
    """Hashes of a text's distinct word n-grams, in lower case, uint64 below 2³¹; of the whole text if it is shorter."""
    words = WORD.findall(text.lower())
    hashes = np.fromiter((zlib.crc32(word.encode("utf-8", "replace")) for word in words), np.uint64, len(words))
    if len(hashes) < n:
        return np.array([zlib.crc32(" ".join(words).encode("utf-8", "replace")) & 0x7FFFFFFF], np.uint64)
    rolled = np.zeros(len(hashes) - n + 1, np.uint64)
    for i in range(n):  # a polynomial over the word hashes, modulo 2⁶⁴
        rolled = rolled * np.uint64(0x9E3779B97F4A7C15) + hashes[i : i + len(rolled)]
    return np.unique(rolled >> np.uint64(33))


class MinHash:
    """`count` random permutations h(x) = (a·x + b) mod (2³¹ - 1), the smallest value of each."""

    def __init__(self, count: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.a = random.integers(1, int(PRIME), count, dtype=np.uint64)
        self.b = random.integers(0, int(PRIME), count, dtype=np.uint64)

    def __call__(self, shingles: np.ndarray) -> np.ndarray:
        """The signature of a set of shingles, uint32 [count]."""
        least = np.empty(len(self.a), np.uint32)
        minhash = native.function("gm_minhash", None, U64, SIZE, U64, U64, SIZE, np.dtype(np.uint32))
        minhash(np.ascontiguousarray(shingles, np.uint64), len(shingles), self.a, self.b, len(self.a), least)
        return least


def band_keys(signature: np.ndarray, bands: int, rows: int) -> Iterator[bytes]:
    """One key a band; documents that share any are candidates."""
    for band in range(bands):
        yield band.to_bytes(2, "big") + signature[band * rows : (band + 1) * rows].tobytes()


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Estimated Jaccard similarity of two signatures: the share of equal positions."""
    return float((first == second).mean())
