"""English words without their endings (M. F. Porter, An algorithm for suffix stripping, Program 14(3), 1980)."""

from __future__ import annotations

import re
from functools import lru_cache

STEP_2 = (
    "ational ate|tional tion|enci ence|anci ance|izer ize|bli ble|logi log|alli al|entli ent|eli e|ousli ous|"
    "ization ize|ation ate|ator ate|alism al|iveness ive|fulness ful|ousness ous|aliti al|iviti ive|biliti ble"
)
STEP_3 = "icate ic|ative |alize al|iciti ic|ical ic|ful |ness "
STEP_4 = "al ance ence er ic able ible ant ement ment ent sion tion ou ism ate iti ous ive ize"


def pairs(text: str) -> list[tuple[str, str]]:
    """Endings and what takes their place, the longest first."""
    found = [(ending, new) for ending, _, new in (rule.partition(" ") for rule in text.split("|"))]
    return sorted(found, key=lambda rule: -len(rule[0]))


RULES = (pairs(STEP_2), pairs(STEP_3))
LAST = sorted(STEP_4.split(), key=len, reverse=True)  # of sion and tion only ion goes


def shape(word: str) -> str:
    """The word as runs of consonants (c) and vowels (v): y is a vowel after a consonant."""
    kinds = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and kinds.endswith("c"))
        kinds += "v" if vowel else "c"
    return kinds


def measure(word: str) -> int:
    """How often a consonant follows a vowel: Porter's m."""
    return shape(word).count("vc")


def short_end(word: str) -> bool:
    """Whether it ends as `hop` does: consonant, vowel, consonant other than w, x and y."""
    return shape(word).endswith("cvc") and word[-1] not in "wxy"


@lru_cache(1 << 16)
def stem(word: str) -> str:
    """The stem of a word in lower case; words of other letters than a to z, and of one or two, are their own."""
    if len(word) < 3 or not re.fullmatch("[a-z]+", word):
        return word
    word = plurals(word)
    word = past(word)
    if word.endswith("y") and "v" in shape(word[:-1]):
        word = word[:-1] + "i"
    for rules in RULES:
        for ending, new in rules:
            if word.endswith(ending):
                if measure(word[: -len(ending)]) > 0:
                    word = word[: -len(ending)] + new
                break
    for ending in LAST:
        if word.endswith(ending):
            cut = 3 if ending in ("sion", "tion") else len(ending)
            if measure(word[:-cut]) > 1:
                word = word[:-cut]
            break
    if word.endswith("e") and (measure(word[:-1]) > 1 or (measure(word[:-1]) == 1 and not short_end(word[:-1]))):
        word = word[:-1]
    return word[:-1] if word.endswith("ll") and measure(word) > 1 else word


def plurals(word: str) -> str:
    """Step 1a."""
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def past(word: str) -> str:
    """Step 1b."""
    if word.endswith("eed"):
        return word[:-1] if measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        base = word[: -len(ending)]
        if word.endswith(ending) and "v" in shape(base):
            if base.endswith(("at", "bl", "iz")):
                return base + "e"
            if len(base) > 1 and base[-1] == base[-2] and shape(base[-1]) == "c" and base[-1] not in "lsz":
                return base[:-1]
            return base + "e" if measure(base) == 1 and short_end(base) else base
    return word
