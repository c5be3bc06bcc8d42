"""What a word is, wherever the corpus room counts, compares or hashes words.

A word is a run of letters, digits and underscores (Python's `\\w`) in lower case. In scripts that are written without
spaces, texts are compared character by character, for no two programs part them alike; where words are counted, two
characters make a word in Chinese and Japanese, four in Thai, Lao, Burmese and Khmer, about what their words have on
average. C code (words.h) reads the same rule from `fold_table`.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

SOUTHEAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
# Hiragana, Katakana, Han with its iteration mark and zero
EAST = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
UNSPACED = SOUTHEAST + EAST
EAST_WORD, SOUTHEAST_WORD = 2, 4  # characters
IN_UNSPACED = re.compile(f"[{UNSPACED}]")
WORD = re.compile(rf"(?!\W)[{UNSPACED}]|[^\W{UNSPACED}]+")
IN_EAST, IN_SOUTHEAST = (re.compile(rf"(?!\W)[{script}]") for script in (EAST, SOUTHEAST))
CODE_POINTS = 0x110000
ALONE = 0x80000000


def lower(text: str) -> str:
    """Lower case, character by character: İ has no dot of its own and every sigma is the same."""
    return text.replace("İ", "i").lower().replace("ς", "σ")


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(lower(text))


def characters_a_word(text: str, units: int) -> float:
    """How many of the `units` by which a text is compared (`words`) make a word there: 1 where spaces part words."""
    east, southeast = (0, 0) if text.isascii() else (len(IN_EAST.findall(text)), len(IN_SOUTHEAST.findall(text)))
    counted = units - east * (1 - 1 / EAST_WORD) - southeast * (1 - 1 / SOUTHEAST_WORD)
    return units / counted if units else 1.0


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
