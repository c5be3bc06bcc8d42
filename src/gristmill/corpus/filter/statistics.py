"""What the quality rules count in a text: one call of C for a document, whatever the number of rules.

A word is a run of letters, digits and underscores; one of `.,:'’` between two of these belongs to it (`don't`, `3.14`).
In scripts without spaces a word is two or four characters in a row (text/words.py; vowel signs and tones count there).
A token is a word or a run of one other character that is no white space (`...`, `=====`). Lines are those that hold
anything; they are compared after white space is evened out. Paragraphs are parted by blank lines. A sentence ends with
the line, or where white space follows a full stop (of any script) and the quotes and brackets that close it; after the
full stops of East Asia (`。`) there need be none.

Characters are Unicode code points; what is a letter or white space is what Python's `str` says.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np

from gristmill import native
from gristmill.corpus.text.words import EAST, SOUTHEAST
from gristmill.native import BYTES, I64, INT, SIZE, U16

CLASSES = 0x40000  # code points that have a class: no letter or white space lies beyond the third plane
# from Unicode's property Sentence_Terminal, and the ellipsis
TERMINAL = ".!?…。！？．｡؟۔।॥‼‽⁇⁈⁉﹒﹖﹗\u1362\u1367\u1368\u0589\u17d4\u17d5\u104a\u104b"
CLOSING = "\"'’”»›)]}）］」』*`"  # Markdown's emphasis too
JOINING = ".,:'’"
BULLETS = "•‣▪-*·●◦"
MARKS = "|#-*>"  # of tables, headings and lists, as extraction writes them
MEASURE = native.Function("gm_measure", INT, BYTES, SIZE, U16, I64)
BITS = {"terminal": 8, "closing": 16, "joining": 32, "bullet": 64, "mark": 128, "east": 256, "southeast": 512}


class Measures(NamedTuple):
    """Counts of one text; the C code fills them in this order."""

    characters: int
    tokens: int
    words: int
    word_characters: int
    unspaced_words: int  # in scripts without spaces
    stop_words: int  # how many different ones of Gopher's eight
    hashes: int  # `#`, but for the marks of headings
    ellipses: int  # `...` or `…`
    chunks: int  # between white space, of more than marks
    alphabetic_chunks: int  # with a letter
    longest_chunk: int  # characters
    sentences: int
    lines: int
    line_characters: int  # without white space at their ends
    bullet_lines: int
    ellipsis_lines: int
    terminal_lines: int  # that end like a sentence
    short_lines: int  # under 30 characters; those of East Asia are twice as broad as others
    repeated_lines: int  # equal to an earlier one
    repeated_line_characters: int
    paragraphs: int
    repeated_paragraphs: int
    repeated_paragraph_characters: int
    top_2gram: int  # characters in all copies of the commonest (the first of several), if it has any
    top_3gram: int
    top_4gram: int
    repeated_5grams: int  # characters of n-grams met before, none counted twice
    repeated_6grams: int
    repeated_7grams: int
    repeated_8grams: int
    repeated_9grams: int
    repeated_10grams: int

    @property
    def unspaced(self) -> bool:
        """Whether most words are of scripts without spaces."""
        return 2 * self.unspaced_words > self.words


@cache
def character_classes() -> np.ndarray:
    """What each character is, as bits, uint16 [CLASSES]: 1 letter, 2 part of a word, 4 white space, and BITS."""
    everything = "".join(map(chr, range(CLASSES)))
    southeast = re.findall(f"[{SOUTHEAST}]", everything)
    kinds = {"terminal": TERMINAL, "closing": CLOSING, "joining": JOINING, "bullet": BULLETS, "mark": MARKS}
    kinds |= {"east": "".join(re.findall(f"[{EAST}]", everything)), "southeast": "".join(southeast)}
    letter = np.fromiter(map(str.isalpha, everything), np.uint16, CLASSES)
    word = np.fromiter(map(str.isalnum, everything), np.uint16, CLASSES)
    space = np.fromiter(map(str.isspace, everything), np.uint16, CLASSES)
    word[[ord(sign) for sign in southeast if unicodedata.category(sign).startswith("M")]] = 1
    classes = letter | word << 1 | space << 2
    classes[ord("_")] |= 2
    for name, members in kinds.items():
        classes[[ord(character) for character in members]] |= BITS[name]
    return classes.astype(np.uint16)


def measure(text: str) -> Measures:
    """Count everything in a text. Time grows with its length; raises MemoryError for more than 2 GiB of UTF-8."""
    data = text.encode("utf-8", "replace")
    counts = np.empty(len(Measures._fields), np.int64)
    if MEASURE(data, len(data), character_classes(), counts):
        raise MemoryError(f"a text of {len(data):,} bytes is too long to be measured")
    return Measures(*counts.tolist())
