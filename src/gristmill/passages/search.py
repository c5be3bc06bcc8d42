"""Finding passages: candidates by FTS5's BM25, put in order by what a passage says of the whole question.

A question is a list of concepts (`concepts.py`). With a sentence encoder the best are put in order again, by words
and meaning; scores are of words all the same.

How sure a passage is to answer is judged apart: by concepts that weigh less where they come evenly, and as a share of
the heaviest few, for a question in everyday words is never on a page as a whole.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from gristmill.passages.concepts import Concept, Vocabulary
from gristmill.passages.cut import size_of
from gristmill.passages.passage_index import FILE, VECTORS, any_of, as_read, connect
from gristmill.passages.sentence_encoder import NAME, SentenceEncoder
from gristmill.passages.small_words import small_words
from gristmill.passages.terms import WIDE, chunk_terms

NUMBERED = re.compile(r"^\d+\.(?:\d+\.?)*\s+")  # the number of a section before its heading
CANDIDATES = 150  # passages that are looked at, for the words of the question and again for those that stand for them
NEAREST = 100  # and by the cosines of the vectors of all
OF_BOTH = 0.5  # score for the later of two questions from which on a passage answers both
HEAVIEST = 4  # concepts of a question of whose weight a score is a share
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
        passages, average = self.base.execute("SELECT passages, terms / passages FROM facts").fetchone()
        self.length = max(average, SHORT)
        self.vocabulary = Vocabulary(self.base, passages)
        self.encoder, self.vector = encoder, lru_cache(KEPT)(self.encoded)
        self.encode = lru_cache(1)(encoder.vector) if encoder else None  # a question, which is asked for twice
        stored = folder / VECTORS if encoder else None
        self.vectors_ND = np.load(stored).astype(np.float32) if stored and stored.exists() else None
        self.lock = Lock()

    @property
    def ranked_by(self) -> str:
        """What passages are put in order by."""
        return f"words and {NAME}" if self.encoder else "words"

    def concepts(self, question: str, before: str = "") -> list[Concept]:
        """What a question is about, and the one `before` that it takes up."""
        return self.vocabulary.concepts(question, before)

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

    def surest(self, question: str, before: str = "") -> float:
        """The best score of all passages; where a question takes up the one `before`, of those that have `OF_BOTH` of
        the question itself."""
        with self.lock:
            asked = self.concepts(question, before)
            rows = list(self.candidates(asked, None))
            own = self.sureness(rows, self.concepts(question))
            found = self.sureness(rows, asked).items()
            return max((score for number, score in found if own[number] >= OF_BOTH * bool(before)), default=0.0)

    @cached_property
    def language(self) -> str:
        """The ISO 639-1 code of most of the first passages."""
        from gristmill.corpus.extract.language import detect  # which loads a model

        rows = self.base.execute("SELECT text FROM passages LIMIT 20")
        return Counter(detect(text)[0] for (text,) in rows).most_common(1)[0][0]

    def sureness(self, rows: Sequence[Any], asked: Sequence[Concept]) -> dict[int, float]:
        """How sure passages are to answer, by their numbers; `rows` are all candidates of their pages."""
        told = [
            replace(
                one,
                weight=one.weight * self.vocabulary.telling(one.term),
                others={term: weight * self.vocabulary.telling(term) for term, weight in one.others.items()},
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
    unspaced = "|".join(map(re.escape, sorted(filter(WIDE.fullmatch, wanted))))
    at = 0
    for chunk in text.split():
        at = text.index(chunk, at)
        if WIDE.search(chunk):  # a whole sentence: its pairs of characters that overlap are one word
            found = re.finditer(rf"(?:(?=({unspaced})).)+", chunk) if unspaced else ()
            yield from ((at + one.start(), at + one.end(1)) for one in found)
        elif not wanted.isdisjoint(chunk_terms(chunk)):
            inner = chunk.strip("\"'“”‘’.,;:!?()[]|")
            begin = at + chunk.index(inner)
            yield begin, begin + len(inner)
        at += len(chunk)
