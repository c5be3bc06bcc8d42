"""What of a text stands word for word in the training text, and where (OLMoTrace, Liu et al. 2025, arXiv:2504.07096).

A span is as long as it can be: any longer, and no training text holds it. It begins and ends with whole words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gristmill.audit.trace.corpus_index import CorpusIndex
from gristmill.document import document_files
from gristmill.tokenizer.encode import Tokenizer

LEAST_WORDS = 3  # of a span: shorter ones stand everywhere
LONGEST = 4096  # tokens of a span
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
    for low, high, tokens in verbatim(index, tokenizer, text):
        rarity = sum(-math.log2(index.count([token]) / index.total) for token in tokens)
        forms = {tuple(tokens), *map(tuple, with_and_without_space(tokenizer, text[low:high]))}
        span = Span(
            low, high, text[low:high], sum(index.count_words(list(form), tokenizer) for form in forms), round(rarity, 1)
        )
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


def with_and_without_space(tokenizer: Tokenizer, words: str) -> list[list[int]]:
    """The tokens of some words at the beginning of a text or after a quotation mark, and after a space."""
    return tokenizer.encode_batch([words, f" {words}"])


def verbatim(index: CorpusIndex, tokenizer: Tokenizer, text: str) -> Iterator[tuple[int, int, list[int]]]:
    """The longest runs of whole words that the training text holds, from every token on, none within an earlier one:
    characters of the text, from and to, and tokens."""
    tokens = tokenizer.encode(text)
    begins = accumulate(map(len, map(tokenizer.token_bytes, tokens)), initial=0)
    reached, data = 0, text.encode("utf-8", "surrogatepass")
    for start, byte in enumerate(begins):
        low = len(data[:byte].decode(errors="ignore"))
        options = [(low, low, tokens[start : start + LONGEST])]
        # where a document begins, its first word is another token than after a space
        if text[low : low + 1].isspace() and not text[low + 1 : low + 2].isspace():
            options.append((low + 1, low + 1, tokenizer.encode(text[low + 1 : low + LONGEST])))
        elif not start:
            options.append((0, -1, tokenizer.encode(f" {text[:LONGEST]}")))
        runs = [(first, *whole_words(index, tokenizer, text, origin, option)) for first, origin, option in options]
        first, high, run = max(runs, key=lambda found: found[1])
        if high > reached:
            reached, inside = high, text[first:high]
            if len(inside.split()) >= LEAST_WORDS:
                yield first + len(inside) - len(inside.lstrip()), high, run


def whole_words(
    index: CorpusIndex, tokenizer: Tokenizer, text: str, origin: int, tokens: list[int]
) -> tuple[int, list[int]]:
    """The most of some tokens, which stand at a character of the text, that the training text holds and that cuts no
    word in two: where it ends, and its tokens."""
    run = tokens[: index.longest(tokens)]
    low = max(0, origin)
    if low and text[low - 1].isalnum() and text[low : low + 1].isalnum():
        return 0, []
    while run:
        high = origin + len(tokenizer.decode(run))
        if high == len(text) or not (text[high - 1].isalnum() and text[high].isalnum()):
            return high, run
        run = run[:-1]
    return 0, []


def sources(index: CorpusIndex, tokenizer: Tokenizer, forms: Iterable[Sequence[int]], most: int) -> list[Source]:
    """The first documents that hold tokens in a row, in one of some forms, with what is next to them there."""
    places = {
        place.document: (place, len(form)) for form in forms for place in index.places(list(form), tokenizer, most)
    }
    found = []
    for number, (place, length) in sorted(places.items())[:most]:
        before, run, after = map(tokenizer.decode, index.around(place, length, BESIDE))
        row = index.documents.slice(number, 1).to_pylist()[0]
        found.append(Source(row["id"], row["url"], before, run, after))
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
