"""Split patterns: how text is cut into the pieces within which BPE merges."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from gristmill import native
from gristmill.native import INT, SIZE, U8, U64

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CAPITALS, SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
WORD = r"[^\r\n\p{L}\p{N}]?"  # what may stand before a word: a space, a sign
END = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
# By the names under which llama.cpp knows them; each is the published pattern of that model family. `split.c` matches
# them by hand and numbers them in this order.
PATTERNS = {
    "qwen2": CONTRACTION + "|" + WORD + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + END,
    "llama-bpe": CONTRACTION + "|" + WORD + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + END,
    "gpt-4o": f"{WORD}{CAPITALS}*{SMALL}+{CONTRACTION}?|{WORD}{CAPITALS}+{SMALL}*{CONTRACTION}?"
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    + END,
    "gpt-2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # llama.cpp and Hugging Face cut digits out first, and what is between them by GPT-2's
    "smollm": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+",
}
INDEX = {name: number for number, name in enumerate(PATTERNS)}
SPLIT = native.Function("gm_split", SIZE, U8, INT, U8, SIZE, U64)


@cache
def classes() -> np.ndarray:
    """The class of every code point, uint8 [0x110000], numbered as in `split.h`.

    From `unicode_classes.txt`: one run a line, its first code point in hex and its class. Unicode 16, as tiktoken and
    Hugging Face's tokenizers have it (a test asks them).
    """
    lines = Path(__file__).with_name("unicode_classes.txt").read_text().split()
    starts = np.array([int(start, 16) for start in lines[::2]] + [0x110000])
    return np.repeat(np.array(lines[1::2], np.uint8), np.diff(starts))


def split(text: bytes, pattern: str) -> list[bytes]:
    """The pieces of a UTF-8 text. Bytes that are no UTF-8 count as signs."""
    source, ends = np.frombuffer(text, np.uint8), np.empty(len(text), np.uint64)
    count = SPLIT(classes(), INDEX[pattern], source, len(source), ends)
    bounds = [0, *ends[:count].tolist()]
    return [text[start:end] for start, end in pairwise(bounds)]
