"""What a word is, wherever the corpus room counts, compares or hashes words.

A word is a run of letters, digits and underscores (Python's `\\w`) in lower case; in scripts that are written without
spaces every character is one. C code (words.h) reads the same rule from `fold_table`.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

# Thai, Lao, Myanmar, Khmer, Hiragana, Katakana, Han
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
WORD = re.compile(rf"(?!\W)[{UNSPACED}]|[^\W{UNSPACED}]+")
CODE_POINTS = 0x110000
ALONE = 0x80000000


def lower(text: str) -> str:
    """Lower case, character by character: İ has no dot of its own and every sigma is the same."""
    return text.replace("İ", "i").lower().replace("ς", "σ")


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(lower(text))


@cache
def fold_table() -> np.ndarray:
    """The rule as C reads it, uint32 [0x110000]: of each character its lower case, with the high bit where it is a word
    of its own; 0 where it is no part of a word. Follows the Unicode version of the running Python; takes 0.1 s.
    """
    points = np.arange(CODE_POINTS, dtype="<u4")
    points[0xD800:0xE000] = 0  # surrogates are no characters
    everything = points.tobytes().decode("utf-32-le")
    small = np.frombuffer(lower(everything).encode("utf-32-le"), "<u4")
    table = np.zeros(CODE_POINTS, np.uint32)
    for run in re.finditer(r"\w+", everything):
        table[run.start() : run.end()] = small[run.start() : run.end()]
    for run in re.finditer(rf"[{UNSPACED}]+", everything):
        table[run.start() : run.end()] |= np.where(table[run.start() : run.end()], np.uint32(ALONE), np.uint32(0))
    return table
