"""Which words of a question say what it is about, and which language it is in.

Words as "where" and "is" say what is asked for, and not about what. `small_words.txt` has those of English and what
says the same in other languages; of Korean also particles and endings, after a hyphen. Where words are put to each
other they are cut out of a question, so pairs of characters are of one word: 暖房の点検はいつですか is 暖房 and 点検.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from importlib import resources
from typing import NamedTuple

from gristmill.passages.terms import WIDE, chunk_terms, folded, terms

OF_A_LANGUAGE = 2  # small words from which on a question may be in another language than English
SCRIPTS = {  # in this order, for Japanese has Han characters, too
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "zh": re.compile(r"[\u3400-\u9fff]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
}
OTHER_CYRILLIC = re.compile("[іїєґўјљњђћџ]", re.IGNORECASE)  # letters that Russian does not have
# in which Japanese writes endings and particles, and few names of things
HIRAGANA = re.compile(r"[\u3041-\u309f]+")


class Language(NamedTuple):
    """Small words as terms, and those that are of no other meaning in English."""

    code: str
    small: frozenset[str]
    telling: frozenset[str]


def asked_terms(question: str) -> list[str]:
    """The terms of a question; of what is written without spaces only those beside its small words, and a character by
    itself only where it is left alone."""
    found: list[str] = []
    for chunk in bare(question).split():
        inside = chunk_terms(chunk)
        pairs = "".join(term for term in inside if len(term) == 2 and WIDE.search(term))
        found += [term for term in inside if len(term) > 1 or not (term in pairs or HIRAGANA.match(term))]
    return found


def bare(question: str) -> str:
    """A question without the small words of what is written without spaces."""
    code = script_of(question)
    if not code:
        return question
    within, ends = joined(code)
    left = WIDE.sub(lambda run: ends.sub("", within.sub(" ", run[0])), question)
    without = HIRAGANA.sub(" ", left)
    return without if terms(without) else left


def script_of(question: str) -> str:
    """The language by whose letters a question is in it; an empty text for others."""
    return next((code for code, letters in SCRIPTS.items() if letters.search(question)), "")


@cache
def joined(code: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What is cut out of runs of characters of a language: small words wherever they are; endings, of which those of
    one character stay after a single one, for nouns end in them, too."""
    listed_words = sorted(listed()[code][0], key=lambda word: (-len(word), word))
    within = "|".join(word for word in listed_words if not word.startswith("-"))
    ends = [word[1:] for word in listed_words if word.startswith("-")]
    long, short = ("|".join(end for end in ends if (len(end) > 1) == wanted) for wanted in (True, False))
    return re.compile(within), re.compile(rf"(?:{long}|(?:(?<=\w\w)|(?<= ))(?:{short})){{1,4}}$" if ends else "(?!)")


@cache
def endings() -> frozenset[str]:
    """Those of one character."""
    return frozenset(word[1] for code in SCRIPTS for word in listed()[code][0] if word[0] == "-" and len(word) == 2)


def language_of(question: str) -> str:
    """The ISO 639-1 code of a question's language; an empty text where no word tells it."""
    asked = set(terms(question))
    english = len(english_words() & asked)
    likely = [one.code for one in languages_of(asked)]
    likely += ["en"] * (english >= OF_A_LANGUAGE)  # which may ask for a word of another script
    likely += filter(None, [script_of(question)])
    likely += ["en"] * (english > 0) + [one.code for one in other_languages() if one.telling & asked]
    return next((code for code in likely if code != "ru" or not OTHER_CYRILLIC.search(question)), "")


def says_nothing(asked: Collection[str]) -> bool:
    """Whether terms of a question are small words of one language or another."""
    return not set(asked).difference(english_words(), *(one.small for one in other_languages()))


def small_words(asked: Collection[str] = ()) -> frozenset[str]:
    """The terms that say what is asked for, and not about what: English ones, and those of the languages that the terms
    of a question are in."""
    spoken = languages_of(asked)
    found = english_words().union(*(one.small for one in spoken))
    turned = (term for term in asked if spoken and "-" in term[1:-1])  # as "faut-il", which is no name
    return found.union(term for term in turned if found.issuperset(map(folded, term.split("-"))))


def languages_of(asked: Collection[str]) -> list[Language]:
    """The languages but English that the terms of a question are in, the likeliest first: each has more small words of
    them than English has, and two unless they are of other letters."""
    english = len(english_words().intersection(asked))
    found = []
    for one in other_languages():
        telling = one.telling.intersection(asked)
        least = OF_A_LANGUAGE if all(map(str.isascii, telling)) else 1
        # letters are not counted, which commands have as well
        count = sum(len(term) > 1 or not term.isascii() for term in one.small.intersection(asked))
        if telling and count >= max(least, english + 1):
            found.append((count, one))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


@cache
def english_words() -> frozenset[str]:
    """The small words of English, as terms."""
    return frozenset(map(folded, listed()["en"][0]))


@cache
def other_languages() -> tuple[Language, ...]:
    """The languages that are written with spaces, but English. What tells one is not English as well (in
    `small_words.txt` after the bar: as a word for something else)."""
    found = []
    for code in listed().keys() - SCRIPTS.keys() - {"en"}:
        own, alike = (frozenset(map(folded, words)) for words in listed()[code])
        found.append(
            Language(code, own | alike, frozenset(term for term in own if len(term) > 1) - alike - english_words())
        )
    return tuple(sorted(found))


@cache
def listed() -> dict[str, tuple[list[str], list[str]]]:
    """Language → its small words as they are written, and those after the bar."""
    found = {}
    for line in resources.files("gristmill.passages").joinpath("small_words.txt").read_text("utf-8").splitlines():
        code, _, words = line.partition(" ")
        own, _, alike = words.partition("|")
        found[code] = own.split(), alike.split()
    return found
