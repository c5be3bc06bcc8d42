"""Learning the merges of byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from gristmill import native
from gristmill.native import I64, POINTER, SIZE, U8, U64
from gristmill.tokenizer.pretokens import PretokenList

NEW = native.Function("gm_merger_new", POINTER, U8, I64, U64, SIZE, ctypes.c_uint32)
RUN = native.Function("gm_merger_run", ctypes.c_int64, POINTER, SIZE, U64)
FREE = native.Function("gm_merger_free", None, POINTER)
ALPHABET = 256  # symbols below are bytes
AT_ONCE = 256  # merges between two looks at the progress


def learn_merges(words: PretokenList, size: int, advance: Callable[[int], None] | None = None) -> np.ndarray:
    """The merges that bring the vocabulary to `size` tokens (fewer where no pair is left), uint32 [merges, 2].

    Merge i makes token 256 + i of the tokens left and right of it. At every step the pair that occurs most often is
    merged, of equally frequent ones the one with the smaller left, then the smaller right token; so do rustbpe and,
    but for its numbering of the bytes, Hugging Face's trainer. Time grows with the symbols of the distinct words times
    the logarithm of the vocabulary, memory with `words.cost()`.
    """
    merges = np.empty(max(0, size - ALPHABET), np.uint64)
    merger = native.Owned(NEW(words.data, words.offsets, words.counts, len(words), max(size, ALPHABET)), FREE)
    done = 0
    while done < len(merges):
        made = RUN(merger.handle, min(AT_ONCE, len(merges) - done), merges[done:])
        if made < 0:
            raise MemoryError
        if not made:
            break
        done += made
        if advance:
            advance(made)
    return np.stack((merges[:done] >> np.uint64(32), merges[:done] & np.uint64(0xFFFFFFFF)), 1).astype(np.uint32)


def pieces_of(merges: np.ndarray) -> list[bytes]:
    """The bytes of every token: the 256 bytes, then what each merge makes."""
    pieces = [bytes([value]) for value in range(ALPHABET)]
    for left, right in merges.tolist():
        pieces.append(pieces[left] + pieces[right])
    return pieces
