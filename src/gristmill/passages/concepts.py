"""What the pages know of a question's words: how many passages have them, other forms of them, how much each weighs.

A question is a list of concepts: its terms, each with the words that people use for it (`everyday.txt`) and, where the
pages do not have it, the terms that are one slip of the finger away. A concept weighs as much as it is rare.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from gristmill.passages.small_words import asked_terms, endings, languages_of, small_words
from gristmill.passages.stand_ins import everyday, slips
from gristmill.passages.terms import MEANS, WIDE, terms

TAKEN_UP = 0.5  # how much a word counts that is only in the earlier question that a question takes up
PLAIN = 0.75  # how much a word counts that others may stand for: it names less than others do
EVENLY = 0.2  # how much of its weight a word has in a score that comes once in each passage that has it
REPEATED = 1.6  # times a passage has a word, in the mean, from which on it has all its weight
SEEN = 2  # passages with `REPEATED` of it that are added to those with a word, for few tell little
FEW = 3_000  # passages: a word that is in all of fewer may still be a rare one
MOST_TERMS = 40  # of a question
STEM = 4  # letters that two forms of a word have in common, and more


@dataclass(frozen=True)
class Concept:
    """A term of a question, what stands for it, and how much it weighs (nats)."""

    term: str
    weight: float
    others: dict[str, float] = field(default_factory=dict)  # term → its weight


class Vocabulary:
    """The terms of an index of passages."""

    def __init__(self, base: sqlite3.Connection, passages: int) -> None:
        self.base, self.passages = base, passages
        self.base.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, words, 'row')")
        self.occurrences = cache(self.counted)

    def counted(self, term: str) -> tuple[int, int]:
        """How many passages have a term, and how often all of them have it."""
        found = self.base.execute("SELECT doc, cnt FROM temp.vocabulary WHERE term = ?", (term,)).fetchone()
        return (int(found[0]), int(found[1])) if found else (0, 0)

    def frequency(self, term: str) -> int:
        """How many passages have a term."""
        return self.occurrences(term)[0]

    def telling(self, term: str) -> float:
        """How much a term tells of what a text is about, `EVENLY` to 1: such words are repeated where they are (Church
        and Gale, Poisson mixtures, Natural Language Engineering 1(2), 1995), others come evenly."""
        passages, times = self.occurrences(term)
        mean = (times + SEEN * REPEATED) / (passages + SEEN)
        return EVENLY + (1 - EVENLY) * min(1.0, (mean - 1) / (REPEATED - 1))

    def weight(self, term: str) -> float:
        """BM25's inverse document frequency of a term."""
        count = self.frequency(term)
        return math.log(1 + (max(self.passages, FEW) - count + 0.5) / (count + 0.5))

    def concepts(self, question: str, before: str = "") -> list[Concept]:
        """What a question is about, and with less weight the one `before` that it takes up. Small words count only
        where there is nothing else."""
        asked = list(dict.fromkeys(asked_terms(question)))[:MOST_TERMS]
        earlier = list(dict.fromkeys(asked_terms(before)))
        small, small_before = small_words([*asked, *earlier]), small_words(earlier)
        earlier = [term for term in earlier if term not in small_before][:MOST_TERMS]
        own = [term for term in asked if term not in small]
        if not own and not earlier:
            own = asked or list(dict.fromkeys(terms(question)))[:MOST_TERMS]
        foreign = bool(languages_of([*asked, *terms(before)]))
        found = self.weighted(own, foreign)
        known = {term for one in found for term in (one.term, *one.others)}
        return found + [
            replace(one, weight=TAKEN_UP * one.weight)
            for one in self.weighted(earlier, foreign)
            if one.term not in known
        ]

    def weighted(self, asked: Iterable[str], foreign: bool = False) -> list[Concept]:
        """Terms as concepts; those of another language than English with their other forms."""
        found = []
        for term in self.covered(asked):
            forms = self.forms(term) if foreign or not term.isascii() else []
            others = [*everyday().get(term, ()), *forms]
            if not self.frequency(term):
                term = max(forms or slips(term), key=self.frequency, default=term)
            near = {other: self.weight(other) for other in others if other != term and self.frequency(other)}
            found.append(Concept(term, self.weight(term) * (PLAIN if term in everyday() else 1.0), near))
        return found

    def covered(self, asked: Iterable[str]) -> Iterator[str]:
        """Terms of a question. Of a pair of characters that no page has, which may be of two words or of one and its
        ending, what is in no other pair counts."""
        asked = list(asked)
        there = {one for term in asked if len(term) == 2 and self.frequency(term) for one in term}
        for term in asked:
            left = [one for one in term if one not in there and one not in endings()]
            if len(term) != 2 or not WIDE.fullmatch(term) or self.frequency(term):
                yield term
            elif len(left) == 1 and MEANS.match(left[0]):
                yield left[0]
            elif left:
                yield term

    def forms(self, term: str) -> list[str]:
        """Words of the pages that are a term with another ending: letters in common from the first on are four or more,
        and two of three."""
        least = max(STEM, -(-2 * len(term) // 3))
        if len(term) < least or not term.isalpha() or WIDE.search(term):
            return []
        query = "SELECT term FROM temp.vocabulary WHERE term >= ? AND term < ? LIMIT 1000"
        rows = self.base.execute(query, (term[:least], term[:least] + "\U0010ffff"))
        alike = [(common(term, other), other) for (other,) in rows if other.isalpha() and other != term]
        return [other for count, other in alike if 3 * count >= 2 * len(other)]


def common(first: str, second: str) -> int:
    """How many letters two words have in common, from the first on."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(first), len(second)))
