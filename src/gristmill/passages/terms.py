"""What a text is found by: stems of its words, pairs of characters of what has no spaces, names with their symbols.

`os.path.join`, `--amend`, `max_connections` and `:=` are found whole as well as by their words, which a tokenizer that
drops symbols cannot do. Accents are folded; the endings of English words go (`stemmer.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import cache, lru_cache
from importlib import resources

from gristmill.passages.stemmer import stem

WORD = re.compile(r"[^\W_]+")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")  # written without spaces
QUOTES = "\"'“”‘’«»`"
OPERATOR = re.compile(r"[-+*/%=<>!&|^~@:.$#?\\]{1,3}$")
MARKS = frozenset(
    ("-", "|", "*", "#", "##", "###", "---", "...", ".", ":", "?", "!", "\\")
)  # of Markdown and of sentences
BREAKS = re.compile(rf"[()\[\]{{}}<>,;|…=¿¡{QUOTES}]+")
LONGEST_NAME = 40
OF_A_LANGUAGE = 2  # small words from which on a question may be in another language than English
BRITISH = (  # endings as in synchronise, behaviour and catalogue, and what Americans write; exercise and wise are left
    (re.compile(r"(?<=[a-z]{3}[iy])(?<![cvw]i)s(?=(?:e[drs]?|ers|ing|ations?)$)"), "z"),
    (re.compile(r"(?<=[a-z]{3}o)u(?=r(?:s|ed|ing|able|al|ful|ite|ites)?$)"), ""),
    (re.compile(r"(?<=[a-z]log)ue(?=s?$)"), ""),
)
# words of a question that are not what it is about
QUESTION = frozenset(
    "a about after all am an and any are as at be because been being but by can could did do does doing done for from "
    "get give given go had has have having he her here him his how i if in into is it its itself just know let like "
    "make many may me mean might most much must my need no nor not of on one only or other our out please see shall "
    "she should so some somebody someone something such take tell than that the their them then there these they thing "
    "this those through to too use used using very want was way we were what when where whether which while who whom "
    "whose why will with without would you your".split()
)


def terms(text: str) -> list[str]:
    """The terms of a text in order; after the words of a name with symbols the name itself."""
    return [term for chunk in text.split() for term in chunk_terms(chunk)]


@lru_cache(1 << 16)
def chunk_terms(chunk: str) -> tuple[str, ...]:
    """The terms of what stands between two spaces."""
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
    """Pairs of characters of what is written without spaces, other words whole."""
    found, at = [], 0
    for run in WIDE.finditer(word):
        found += [folded(word[at : run.start()])] * (run.start() > at)
        found += [run[0][i : i + 2] for i in range(max(1, len(run[0]) - 1))]
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


def small_words(asked: Collection[str] = ()) -> frozenset[str]:
    """The terms that say what is asked for, and not about what: English ones, and those of the languages that the terms
    of a question are in. A language is one that has more of them than English has."""
    english = english_words()
    least = max(OF_A_LANGUAGE, len(english.intersection(asked)) + 1)
    own = [small for small, telling in other_languages() if telling & set(asked) and shared(small, asked) >= least]
    found = english.union(*own)
    turned = (term for term in asked if own and "-" in term[1:-1])  # as "faut-il", which is no name
    return found.union(term for term in turned if found.issuperset(map(folded, term.split("-"))))


def shared(small: frozenset[str], asked: Collection[str]) -> int:
    """How many terms of a question are among the small words; letters are not counted, which commands have as well."""
    return sum(len(term) > 1 for term in small.intersection(asked))


@cache
def english_words() -> frozenset[str]:
    """The small words of English, as terms."""
    return frozenset(map(folded, QUESTION))


@cache
def other_languages() -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    """Of each language but English the small words, and those that tell it, as terms: not what is English as well (in
    `small_words.txt` after the bar: as a word for something else)."""
    found = []
    for line in resources.files("gristmill.passages").joinpath("small_words.txt").read_text("utf-8").splitlines():
        own, alike = (frozenset(map(folded, part.split())) for part in line.partition(" ")[2].split("|"))
        found.append((own | alike, frozenset(term for term in own if len(term) > 1) - alike - english_words()))
    return tuple(found)
