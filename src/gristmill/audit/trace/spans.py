"""What of a text stands word for word in the training text, and where (OLMoTrace, Liu et al. 2025, arXiv:2504.07096).

A span is as long as it can be: any longer, and no training text holds it. It begins and ends with whole words.
"""

from __future__ import annotations

import codecs
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gristmill.audit.trace.corpus_index import CorpusIndex, Place
from gristmill.audit.trace.forms import UNITS, Form
from gristmill.corpus.text.words import characters_a_word, words
from gristmill.document import document_files
from gristmill.tokenizer.encode import Tokenizer

LEAST_WORDS = 3  # of a span: shorter ones stand everywhere
BESIDE = 16  # tokens shown before and after a span
FACTS = ("id", "url", "title", "fetched_at", "licence", "source")


@dataclass
class Source:
    """A document that holds a span."""

    document: str  # id
    url: str
    before: str
    text: str
    after: str
    facts: dict[str, str] = field(default_factory=dict)  # title, date, licence, source, as far as they are known


@dataclass
class Span:
    """A run of a text that stands in the training text."""

    start: int  # characters
    end: int
    text: str
    count: int  # occurrences
    rarity: float  # bits: how unlikely its tokens would be in a row if each came by itself
    sources: list[Source] = field(default_factory=list)


def trace(
    index: CorpusIndex, tokenizer: Tokenizer, text: str, *, corpus: Path | None = None, documents: int = 5
) -> list[Span]:
    """The longest spans of a text that the training text holds, in its order, none within another; each with at most
    so many `documents` that hold it, and of them what the `corpus` (a folder of documents) knows.
    """
    spans = []
    for low, high in verbatim(index, tokenizer, text):
        forms = [*index.forms(text[low:high], tokenizer)]
        commonest = max(forms, key=lambda form: index.count([*form.tokens]))
        rarity = sum(-math.log2(index.count([token]) / index.total) for token in commonest.tokens)
        span = Span(low, high, text[low:high], index.count_words(forms, tokenizer), round(rarity, 1))
        span.sources = sources(index, tokenizer, forms, documents)
        spans.append(span)
    describe([source for span in spans for source in span.sources], corpus)
    return spans


def covered(spans: Iterable[Span]) -> int:
    """How many characters lie in any of some spans, which are in the text's order."""
    reached = total = 0
    for span in spans:
        total += max(0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return total


def verbatim(index: CorpusIndex, tokenizer: Tokenizer, text: str) -> Iterator[tuple[int, int]]:
    """The longest runs of whole words that the training text holds, from every word on, none within an earlier one:
    characters of the text, from and to."""
    units = [unit.span() for unit in UNITS.finditer(text)]
    ends, tokens = [end for _, end in units], tokenizer.encode(text)
    decode = codecs.getincrementaldecoder("utf-8")("ignore").decode
    lengths = (len(decode(tokenizer.token_bytes(token))) for token in tokens)
    begins = {start: at for at, start in enumerate(accumulate(lengths, initial=0))}
    standing = [*index.longest(tokens), 0]

    def likely(low: int) -> int:  # how far a run from a character on goes in these very tokens
        found = [(start, begins[start]) for start in (low, low - 1) if start in begins]
        return max([low, *(start + len(tokenizer.decode(tokens[at : at + standing[at]])) for start, at in found)])

    def holds(first: int, last: int) -> bool:
        return index.holds(text[units[first][0] : ends[last]], tokenizer)

    number = reached = 0  # units: where a run begins, and what the runs before it have reached
    while number < len(units):
        found = max(reached, number)
        jump = bisect_right(ends, likely(units[number][0]))
        if jump > found and holds(number, jump - 1):
            found = jump
        while found < len(units) and holds(number, found):
            found += 1
        if found > max(number, reached) and word_count(text[units[number][0] : ends[found - 1]]) >= LEAST_WORDS:
            yield units[number][0], ends[found - 1]
        reached = max(found, number + 1)
        number = earliest(holds, number + 1, reached) if reached < len(units) else reached


def earliest(holds: Callable[[int, int], bool], lowest: int, last: int) -> int:
    """The first unit, from `lowest` on, from which all up to the `last` stand in the training text; the one after it,
    where it does not even stand alone. Near ones are tried first, as a run that goes on is mostly short."""
    if not holds(last, last):
        return last + 1
    first, step = last, 1
    while first - step >= lowest and holds(first - step, last):
        first, step = first - step, 2 * step
    low = max(lowest, first - step + 1)
    while low < first:
        middle = (low + first) // 2
        low, first = (low, middle) if holds(middle, last) else (middle + 1, first)
    return first


def word_count(text: str) -> float:
    """How many words a text has; of characters that no space parts, as many as make a word count as one."""
    found = len(words(text))
    return found / characters_a_word(text, found)


def sources(index: CorpusIndex, tokenizer: Tokenizer, forms: Iterable[Form], most: int) -> list[Source]:
    """The first documents that hold a text, in one of some forms, with what is next to it there."""
    places = [(place, form) for form in forms for place in index.places(form, tokenizer, most)]
    first = dict[int, tuple[Place, Form]]()
    for place, form in sorted(places, key=lambda found: (found[0].document, found[0].token)):
        first.setdefault(place.document, (place, form))
    found = []
    for number, (place, form) in [*first.items()][:most]:
        around = index.around(place, len(form.tokens), BESIDE)
        before, run, after = map(tokenizer.decode_bytes, around)
        end = len(run) - form.after
        parts = before + run[: form.before], run[form.before : end], run[end:] + after
        left, text, right = (part.decode(errors="ignore") for part in parts)
        row = index.documents.slice(number, 1).to_pylist()[0]
        found.append(Source(row["id"], row["url"], left, text, right))
    return found


def describe(sources: Sequence[Source], corpus: Path | None) -> None:
    """Add what a corpus knows of the documents."""
    wanted = {source.document for source in sources}
    known: dict[str, dict[str, Any]] = {}
    for path in document_files(corpus) if corpus and wanted else ():
        rows = pq.read_table(path, columns=list(FACTS), filters=[("id", "in", wanted)]).to_pylist()
        known |= {row["id"]: row for row in rows}
    for source in sources:
        row = known.get(source.document, {})
        told = {name: row.get(name) for name in FACTS[2:]}
        if told["fetched_at"]:
            told["fetched_at"] = told["fetched_at"].date().isoformat()
        source.facts = {name: str(value) for name, value in told.items() if value}
