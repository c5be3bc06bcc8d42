"""What a text is found by: stems of its words, pairs of characters of what has no spaces, names with their symbols.

`os.path.join`, `--amend`, `max_connections` and `:=` are found whole as well as by their words, which a tokenizer that
drops symbols cannot do. Accents are folded; the endings of English words go (`stemmer.py`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from gristmill.passages.stemmer import stem

# vowels and tones of Indic scripts and Thai, accents by themselves
VOWELS = "".join(chr(code) for code in range(0x300, 0x1B00) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
WORD = re.compile(rf"[^\W_]+(?:[{VOWELS}]+[^\W_]*)*")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# written without spaces, or with words put to each other: Thai to Burmese, Khmer, kana, Han, Hangul
WIDE = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
MEANS = re.compile(r"[\u3400-\u9fff\uac00-\ud7af]")  # characters that may be a word by themselves
QUOTES = "\"'“”‘’«»`"
OPERATOR = re.compile(r"[-+*/%=<>!&|^~@:.$#?\\]{1,3}$")
MARKS = frozenset(
    ("-", "|", "*", "#", "##", "###", "---", "...", ".", ":", "?", "!", "\\")
)  # of Markdown and of sentences
BREAKS = re.compile(rf"[()\[\]{{}}<>,;|…=¿¡{QUOTES}]+")
LONGEST_NAME = 40
BRITISH = (  # endings as in synchronise, behaviour and catalogue, and what Americans write; exercise and wise are left
    (re.compile(r"(?<=[a-z]{3}[iy])(?<![cvw]i)s(?=(?:e[drs]?|ers|ing|ations?)$)"), "z"),
    (re.compile(r"(?<=[a-z]{3}o)u(?=r(?:s|ed|ing|able|al|ful|ite|ites)?$)"), ""),
    (re.compile(r"(?<=[a-z]log)ue(?=s?$)"), ""),
)


def terms(text: str) -> list[str]:
    """The terms of a text in order; after the words of a name with symbols the name itself."""
    return [term for chunk in text.split() for term in chunk_terms(chunk)]


@lru_cache(1 << 16)
def chunk_terms(chunk: str) -> tuple[str, ...]:
    """The terms of what stands between two spaces."""
    if not chunk.isascii():
        chunk = unicodedata.normalize("NFC", chunk.encode("utf-8", "replace").decode())  # halves of characters go
    words = WORD.findall(chunk)
    if not words:
        plain = chunk.strip(QUOTES + ",;()")
        return (plain,) if OPERATOR.match(plain) and plain not in MARKS else ()
    found: list[str] = []
    for word in words:
        if WIDE.search(word):
            found += wide(word)
            continue
        parts = CAMEL.split(word)
        found += [folded(part) for part in parts if len(parts) > 1] + [folded(word)]
    return (*found, *names(chunk))


def folded(word: str) -> str:
    """The stem of a word, without accents, as it is spelt in America."""
    word = word.lower()
    if not word.isascii():
        word = "".join(one for one in unicodedata.normalize("NFKD", word) if not unicodedata.combining(one))
    for ending, american in BRITISH:
        word = ending.sub(american, word)
    return stem(word)


def wide(word: str) -> list[str]:
    """Pairs of characters of what is written without spaces, and those that may be a word; other words whole."""
    found, at = [], 0
    for run in WIDE.finditer(word):
        found += [folded(word[at : run.start()])] * (run.start() > at)
        for place, one in enumerate(run[0]):
            pair = run[0][place : place + 2]
            found += [pair] * (len(pair) == 2 or len(run[0]) == 1) + [one] * (
                len(run[0]) > 1 and bool(MEANS.match(one))
            )
        at = run.end()
    return found + [folded(word[at:])] * (at < len(word))


def names(chunk: str) -> list[str]:
    """The names with symbols in a piece of text without spaces."""
    parts = [part.rstrip(".:!?*/").lower() for part in BREAKS.split(chunk)]
    return [
        part
        for part in parts
        if 1 < len(part) <= LONGEST_NAME and WORD.sub("", part) and WORD.search(part) and not WIDE.search(part)
    ]
