"""Finding passages: candidates by FTS5's BM25, put in order by what a passage says of the whole question.

A question is a list of concepts: its terms, each with the words that people use for it (`everyday.txt`) and, where the
pages do not have it, the terms that are one slip of the finger away. A concept weighs as much as it is rare. With a
sentence encoder the best are put in order again, by words and meaning; scores are of words all the same.

How sure a passage is to answer is judged apart: by concepts that weigh less where they come evenly, and as a share of
the heaviest few, for a question in everyday words is never on a page as a whole.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from gristmill.passages.cut import size_of
from gristmill.passages.passage_index import FILE, VECTORS, any_of, as_read, connect
from gristmill.passages.sentence_encoder import NAME, SentenceEncoder
from gristmill.passages.terms import chunk_terms, folded, small_words, terms

NUMBERED = re.compile(r"^\d+\.(?:\d+\.?)*\s+")  # the number of a section before its heading
CANDIDATES = 150  # passages that are looked at, for the words of the question and again for those that stand for them
NEAREST = 100  # and by the cosines of the vectors of all
TAKEN_UP = 0.5  # how much a word counts that is only in the earlier question that a question takes up
PLAIN = 0.75  # how much a word counts that others may stand for: it names less than others do
HEAVIEST = 4  # concepts of a question of whose weight a score is a share
EVENLY = 0.2  # how much of its weight a word has in a score that comes once in each passage that has it
REPEATED = 1.6  # times a passage has a word, in the mean, from which on it has all its weight
SEEN = 2  # passages with `REPEATED` of it that are added to those with a word, for few tell little
FEW = 3_000  # passages: a word that is in all of fewer may still be a rare one
ENOUGH, TOO_MUCH = 180, 260  # words up to which a passage that was found grows, and that it never has then
WINDOW = 25  # terms within which words count as said together
K1, B = 1.2, 0.75  # BM25's
SHORT = 100  # terms of a passage: where they have fewer in the mean all are short, as notes that say a thing once
# weights of what a passage and its page have of the question, chosen on the development sets of benchmarks/own_text.py
BODY, HEADINGS, TITLE, TOGETHER, PAGE, OTHERS = 0.6, 0.35, 0.4, 0.2, 0.1, 0.05
STANDS_FOR = {BODY: 0.75, HEADINGS: 0.4}  # of that for a word that stands for the question's own
READ_AGAIN = 25  # passages that an encoder reads where there are no vectors of all
MEANING = 2.5  # how much the cosine with the question counts beside the score, chosen as the weights were
KEPT = 20_000  # vectors of passages, 1.5 kB each
MOST_TERMS = 40  # of a question
LETTERS, SLIPS = "abcdefghijklmnopqrstuvwxyz", range(5, 41)  # SLIPS: letters of a word in which slips are looked for


@dataclass(frozen=True)
class Concept:
    """A term of a question, what stands for it, and how much it weighs (nats)."""

    term: str
    weight: float
    others: dict[str, float] = field(default_factory=dict)  # term → its weight


@dataclass(frozen=True)
class Found:
    """A passage that was found."""

    url: str  # of its page; that of a file is empty
    source: str
    title: str
    headings: tuple[str, ...]
    text: str
    start: int  # in characters of the document's text
    score: float  # how sure it is to answer: a share of what is asked, about 1 where it does
    best: float  # the best score of all that were looked at
    page: int
    marks: tuple[tuple[int, int], ...] = ()  # words of the question in the text

    @property
    def place(self) -> str:
        """Its page's URL, or its file."""
        return self.url or self.source

    def record(self) -> dict[str, object]:
        """What `gristmill find --json` says of it."""
        place = {"url": self.url} if self.url else {"source": self.source}
        return {**place, "title": self.title, "text": self.text, "score": round(self.score, 4)}


@dataclass
class Candidate:
    """A passage by its terms, and what it has of a question."""

    number: int
    page: int
    score: float = 0.0
    has: frozenset[int] = frozenset()  # concepts by their own terms


class Search:
    """The passages of a stage's folder, to be searched; with an `encoder` by their meaning, too."""

    def __init__(self, folder: Path, encoder: SentenceEncoder | None = None) -> None:
        self.base = connect(folder / FILE)
        self.base.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, words, 'row')")
        self.passages, average = self.base.execute("SELECT passages, terms / passages FROM facts").fetchone()
        self.length = max(average, SHORT)
        self.occurrences = cache(self.counted)
        self.encoder, self.vector = encoder, lru_cache(KEPT)(self.encoded)
        self.encode = lru_cache(1)(encoder.vector) if encoder else None  # a question, which is asked for twice
        stored = folder / VECTORS if encoder else None
        self.vectors_ND = np.load(stored).astype(np.float32) if stored and stored.exists() else None
        self.lock = Lock()

    @property
    def ranked_by(self) -> str:
        """What passages are put in order by."""
        return f"words and {NAME}" if self.encoder else "words"

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
        asked = list(dict.fromkeys(terms(question)))[:MOST_TERMS]
        earlier = list(dict.fromkeys(terms(before)))
        small, small_before = small_words(asked), small_words(earlier)
        earlier = [term for term in earlier if term not in small_before][:MOST_TERMS]
        own = [term for term in asked if term not in small] or asked * (not earlier)
        found = self.weighted(own)
        known = {term for one in found for term in (one.term, *one.others)}
        return found + [
            replace(one, weight=TAKEN_UP * one.weight) for one in self.weighted(earlier) if one.term not in known
        ]

    def weighted(self, asked: Iterable[str]) -> list[Concept]:
        """Terms as concepts."""
        found = []
        for term in asked:
            if not self.frequency(term):
                term = max(slips(term), key=self.frequency, default=term)
            near = {other: self.weight(other) for other in everyday().get(term, ()) if self.frequency(other)}
            found.append(Concept(term, self.weight(term) * (PLAIN if term in everyday() else 1.0), near))
        return found

    def find(self, question: str, limit: int = 5, before: str = "") -> list[Found]:
        """The passages that say most of what a question is about, the best first: one of a page, and where it is short
        those next to it, too. `before`: an earlier question that it takes up."""
        with self.lock:
            asked = self.concepts(question, before)
            asked_D = self.encode(f"{question} {before}".strip()) if self.encode else None
            rows = list(self.candidates(asked, asked_D))
            ranked = sorted(self.ranked(rows, asked), key=lambda one: (-one.score, one.number))
            if asked_D is not None:
                ranked = self.by_meaning(ranked, asked_D)
            scores = {one.number: one.score for one in ranked}
            best: dict[int, Candidate] = {}
            for one in ranked:
                best.setdefault(one.page, one)
            pages = list(best)[:limit]
            sure = self.sureness(rows, asked)
            top = max(sure.values(), default=0.0)
            return [
                self.grown(replace(best[page], score=sure[best[page].number]), top, scores, asked) for page in pages
            ]

    def sureness(self, rows: Sequence[Any], asked: Sequence[Concept]) -> dict[int, float]:
        """How sure passages are to answer, by their numbers; `rows` are all candidates of their pages."""
        told = [
            replace(
                one,
                weight=one.weight * self.telling(one.term),
                others={term: weight * self.telling(term) for term, weight in one.others.items()},
            )
            for one in asked
        ]
        heaviest = sum(sorted((one.weight for one in told), reverse=True)[:HEAVIEST])
        # in English: as "hi", which is the stem of "his"
        greeting = len(told) < 3 and {one.term for one in told} <= small_words()
        share = 0.0 if greeting else sum(one.weight for one in told) / (heaviest or 1.0)
        return {one.number: one.score * share for one in self.ranked(rows, told)}

    def by_meaning(self, ranked: list[Candidate], asked_D: np.ndarray) -> list[Candidate]:
        """The candidates, of which the first (all where their vectors are there) are in order of score and cosine with
        the question."""
        first = READ_AGAIN if self.vectors_ND is None else len(ranked)
        read = [(one.score + MEANING * float(self.vector(one.number) @ asked_D), one) for one in ranked[:first]]
        return [one for _, one in sorted(read, key=lambda pair: (-pair[0], pair[1].number))] + ranked[first:]

    def likeness(self, question: str, before: str = "") -> Callable[[str], float] | None:
        """The cosine of a text with a question; nothing without an encoder."""
        if not (self.encoder and self.encode):
            return None
        encoder, asked_D = self.encoder, self.encode(f"{question} {before}".strip())
        return lambda text: float(encoder.vector(text) @ asked_D)

    def encoded(self, number: int) -> np.ndarray:
        """The vector of a passage below its page's title and its headings."""
        if self.vectors_ND is not None:
            stored_D: np.ndarray = self.vectors_ND[number - 1]
            return stored_D
        assert self.encoder
        _, _, _, title, headings, *_, text = self.row(number)
        return self.encoder.vector(as_read(title, headings, text))

    def questions(self, count: int = 3) -> list[str]:
        """Headings that are questions, without the numbers of their sections, to begin with."""
        query = """SELECT DISTINCT json_extract(headings, '$[#-1]') AS asked FROM passages
            WHERE asked LIKE '%_ _% _%?' AND length(asked) < 80 LIMIT ?"""
        return [NUMBERED.sub("", row[0]) for row in self.base.execute(query, (count,))]

    def ranked(self, rows: Iterable[Any], asked: Sequence[Concept]) -> list[Candidate]:
        """Candidates with their scores, each a share of the question's weight: 0, to somewhat above 1."""
        total = sum(concept.weight for concept in asked) or 1.0
        found = [self.judged(row, asked) for row in rows]
        pages: dict[int, list[Candidate]] = defaultdict(list)
        for one in found:
            pages[one.page].append(one)
        for group in pages.values():
            group.sort(key=lambda one: -one.score)
            has = frozenset[int]().union(*(one.has for one in group))
            best = [one.score for one in group[:4]]
            for one in group:
                others = sum(best) - one.score if one.score in best else sum(best[:3])
                more = PAGE * sum(asked[place].weight for place in has) + OTHERS * others / 3
                one.score = (one.score + more) / total
        return found

    def candidates(self, asked: Sequence[Concept], asked_D: np.ndarray | None) -> Iterator[sqlite3.Row]:
        """Rows of number, page, title, headings and body, as terms."""
        own = [concept.term for concept in asked]
        others = [other for concept in asked for other in concept.others]
        numbers = dict.fromkeys([*self.match(own), *(self.match([*own, *others]) if others else ())])
        if asked_D is not None and self.vectors_ND is not None:
            nearest = np.argsort(-(self.vectors_ND @ asked_D), kind="stable")[:NEAREST]
            numbers |= dict.fromkeys(int(place) + 1 for place in nearest)
        query = "SELECT p.id, p.page, w.title, w.headings, w.body FROM words w JOIN passages p ON p.id = w.rowid"
        for number in numbers:
            yield self.base.execute(f"{query} WHERE w.rowid = ?", (number,)).fetchone()

    def match(self, wanted: Iterable[str]) -> list[int]:
        """The passages with the best BM25 for some terms."""
        query = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, 2, 2, 1), rowid LIMIT ?"
        asked = any_of(wanted)
        return [row[0] for row in self.base.execute(query, (asked, CANDIDATES))] if asked else []

    def judged(self, row: Sequence[object], asked: Sequence[Concept]) -> Candidate:
        """A candidate by itself."""
        number, page, *columns = row
        title, headings, body = (str(column).split() for column in columns)
        length = K1 * (1 - B + B * len(body) / self.length)
        score, has = 0.0, []
        titled, headed = set(title), set(headings)
        places: dict[str, list[int]] = defaultdict(list)
        for place, term in enumerate(body):
            places[term].append(place)
        for place, concept in enumerate(asked):
            own = saturated(len(places.get(concept.term, ())), length) * concept.weight
            near = max(
                (
                    saturated(len(places.get(other, ())), length) * min(weight, concept.weight)
                    for other, weight in concept.others.items()
                ),
                default=0.0,
            )
            score += BODY * (own + STANDS_FOR[BODY] * max(0.0, near - own))
            if concept.term in headed:
                score += HEADINGS * concept.weight
            elif inside := [weight for other, weight in concept.others.items() if other in headed]:
                score += HEADINGS * STANDS_FOR[HEADINGS] * min(concept.weight, max(inside))
            score += TITLE * concept.weight * (concept.term in titled)
            if own or concept.term in headed or concept.term in titled:
                has.append(place)
        score += TOGETHER * said_together(places, asked)
        return Candidate(int(str(number)), int(str(page)), score, frozenset(has))

    def grown(self, one: Candidate, top: float, scores: Mapping[int, float], asked: Sequence[Concept]) -> Found:
        """A candidate with what lies next to it on its page, the better side first, up to about `ENOUGH` words."""
        row = self.row(one.number)
        url, source, title, headings, start, _, before, text = row[1:]
        ends = {-1: (one.number, row), 1: (one.number, row)}
        while size_of(text) < ENOUGH:
            options = {side: (at + side, self.row(at + side)) for side, (at, _) in ends.items()}
            fits = [
                (scores.get(number, 0.0), side)
                for side, (number, next_to) in options.items()
                if next_to and adjoins(*sorted((ends[side][1], next_to), key=lambda row: row[5]))
                if size_of(text) + size_of(next_to[-1]) <= TOO_MUCH
            ]
            if not fits:
                break
            side = max(fits)[1]
            number, next_to = options[side]
            ends[side] = number, next_to
            text = text + next_to[-2] + next_to[-1] if side > 0 else next_to[-1] + before + text
            if side < 0:
                start, before = next_to[5], next_to[-2]
        url = url if "://" in url else ""
        marks = tuple(marked(text, asked))
        return Found(url, source, title, tuple(json.loads(headings)), text, start, one.score, top, one.page, marks)

    def row(self, number: int) -> Any:
        """Page, its URL, source and title; the passage's headings, start, end, what is before it, and its text."""
        query = "SELECT page, url, source, title, headings, start, end, before, text FROM passages"
        return self.base.execute(f"{query} JOIN pages ON pages.id = page WHERE passages.id = ?", (number,)).fetchone()


def adjoins(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether a passage follows another one in the same document."""
    return bool(first[0] == second[0] and first[6] + len(second[7]) == second[5])


def saturated(count: int, length: float) -> float:
    """How much so many occurrences count (BM25)."""
    return count * (K1 + 1) / (count + length) if count else 0.0


def said_together(places: dict[str, list[int]], asked: Sequence[Concept]) -> float:
    """The most weight of concepts whose terms lie within a window of the text."""
    events = sorted(
        (at, place)
        for place, concept in enumerate(asked)
        for term in (concept.term, *concept.others)
        for at in places.get(term, ())
    )
    best = weight = 0.0
    inside: dict[int, int] = defaultdict(int)
    first = 0
    for at, place in events:
        weight += asked[place].weight if not inside[place] else 0.0
        inside[place] += 1
        while at - events[first][0] > WINDOW:
            gone = events[first][1]
            inside[gone] -= 1
            weight -= asked[gone].weight if not inside[gone] else 0.0
            first += 1
        best = max(best, weight)
    return best


def marked(text: str, asked: Sequence[Concept]) -> Iterator[tuple[int, int]]:
    """Where the words of a question, or those that stand for them, are in a text, in characters."""
    wanted = {term for concept in asked for term in (concept.term, *concept.others)}
    at = 0
    for chunk in text.split():
        at = text.index(chunk, at)
        if not wanted.isdisjoint(chunk_terms(chunk)):
            inner = chunk.strip("\"'“”‘’.,;:!?()[]|")
            begin = at + chunk.index(inner)
            yield begin, begin + len(inner)
        at += len(chunk)


def slips(term: str) -> Iterator[str]:
    """The term itself, and those from which a word of at least five letters is one slip away (Damerau): a letter more,
    less, another, or two swapped, but the first, where slips are rare (Yannakoudakis, Fawthrop, 1983, IPM 19(2))."""
    yield term
    if len(term) not in SLIPS or not term.isalpha():
        return
    for at in range(1, len(term) + 1):
        head, tail = term[:at], term[at:]
        yield from (head + letter + tail for letter in LETTERS)
        if tail:
            yield head + tail[1:]
            yield from (head + letter + tail[1:] for letter in LETTERS)
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]


@cache
def everyday() -> dict[str, list[str]]:
    """Stem → the stems of words that people use for it."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in resources.files("gristmill.passages").joinpath("everyday.txt").read_text(encoding="utf-8").split("\n"):
        group = list(dict.fromkeys(map(folded, line.split())))
        for word in group:
            found[word] += [other for other in group if other != word and other not in found[word]]
    return dict(found)
