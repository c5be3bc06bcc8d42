"""An answer in the pages' own words: the stretches of the best passages that say most of what is asked, with numbers.

Nothing is made up, for nothing is made: an answer quotes, or says that the pages do not say. What a page holds is never
anything but what is quoted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gristmill.passages.concepts import Concept
from gristmill.passages.cut import FENCE, LINE, SENTENCE, blocks, is_term, size_of
from gristmill.passages.phrasebook import Phrases, phrases, replies
from gristmill.passages.search import Found, Search
from gristmill.passages.small_words import language_of
from gristmill.passages.terms import terms

LOOKED_AT = 5  # passages that are shown with an answer
NAMED = 3  # pages that an answer names which declines
QUOTED = (120, 45, 45, 30, 30)  # words of the quotes of an answer, unless the first sentence of one is longer
NEARLY = 0.5  # share of the best score that a passage after the first must have to be quoted, too
SURE = 0.92  # best score of the passages below which the answer is that the pages do not say
STANDS_FOR = 0.6  # how much a word counts that stands for the question's own
AGAIN = 0.1  # how much a concept counts that the stretch has said before
FILLED = 0.002  # what a word more is worth, so that what follows a match is quoted too
MEANT = 2.0  # how much the cosine of its nearest sentence with the question counts beside all that is asked
DECLINED = phrases()["en"].declined
FENCES = re.compile(rf"^{FENCE}", re.MULTILINE)


@dataclass(frozen=True)
class Citation:
    """A quote within an answer's text, and the passage that it is from."""

    start: int  # in characters of the answer
    end: int
    passage: Found


@dataclass(frozen=True)
class Quoted:
    """An answer; without citations it declines. `passages` are those to show with it, the best first."""

    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Found, ...]


def answer(search: Search, question: str, before: str = "") -> Quoted:
    """What the pages say to a question. `before`: an earlier one that it takes up."""
    found = tuple(search.find(question, LOOKED_AT, before))
    if not found or found[0].best < SURE:  # those shown may be so by their meaning
        return declined(found, phrases_for(search, question, before))
    best = max(one.score for one in found)
    asked, likeness = search.concepts(question, before), search.likeness(question, before)
    text, citations = "", []
    for number, (one, most) in enumerate(zip(found, QUOTED, strict=False), 1):
        if number == 1 or one.score >= NEARLY * best:
            begin, end = best_stretch(one.text, asked, most, likeness)
            start = len(text)
            quote = fenced(one.text, begin, end)
            text += quote + ("\n" if quote.endswith((FENCE, "|")) else " ") + f"[{number}]"
            citations.append(Citation(start, len(text), one))
            text += "\n\n"
    return Quoted(text.rstrip(), tuple(citations), found)


def phrases_for(search: Search, question: str, before: str = "") -> Phrases:
    """What is said of one's own in the language of a question, or of the pages where no word tells it."""
    known = phrases()
    code = language_of(question) or language_of(before) or search.language
    return known.get(code, known["en"])


def declined(found: tuple[Found, ...], said: Phrases) -> Quoted:
    """The answer that the pages do not say, with the nearest ones."""
    near = list(dict.fromkeys(f"{one.title} ({one.place})" if one.title else one.place for one in found))
    text = f"{said.declined} {said.nearest.format('; '.join(near[:NAMED]))}" if near else said.declined
    return Quoted(text, (), found)


def small_talk(search: Search, message: str) -> Quoted | None:
    """The answer to a greeting or to thanks, which ask nothing of the pages; None for any other message."""
    said = replies(message)
    code = search.language if len(said) > 1 else ""
    return Quoted(said.get(code, next(iter(said.values()))), (), ()) if said else None


def fenced(text: str, begin: int, end: int) -> str:
    """A stretch of a passage, with the fences of code that begins before it or goes on after it."""
    fences = [found.start() for found in FENCES.finditer(text)]
    last_line = text.rstrip().rfind("\n") + 1
    inside = len(fences) % 2 == 1 and fences[-1] == last_line > 0  # the passage itself begins within code
    before = inside ^ (sum(at < begin for at in fences) % 2 == 1)
    after = inside ^ (sum(at < end for at in fences) % 2 == 1)
    quote = text[begin:end]
    if before and quote.startswith(FENCE):  # the code ends where the stretch begins
        quote, before = quote.partition("\n")[2].lstrip("\n"), False
    if after and quote.rpartition("\n")[2].startswith(FENCE):  # or begins where it ends
        quote, after = quote.rpartition("\n")[0].rstrip(), False
    return f"{FENCE}\n" * before + quote + f"\n{FENCE}" * after if quote else text[begin:end]


def best_stretch(
    text: str, asked: Sequence[Concept], most: int = QUOTED[0], likeness: Callable[[str], float] | None = None
) -> tuple[int, int]:
    """Where the sentences in a row lie, at most `most` words of them, that say most of what is asked, and of which one
    means what is asked (`likeness`). None ends with what only names what comes after it, and one that begins after that
    has it, too, beyond `most`."""
    pieces = list(sentences(text))
    names = {block.end for block in blocks(text) if block.kind == "heading" or is_term(text, block)}
    sizes = [size_of(text[start:end]) for start, end in pieces]
    said = [weights_in(text[start:end], asked) for start, end in pieces]
    means = [likeness(text[start:end]) if likeness else 0.0 for start, end in pieces]
    meant = MEANT * sum(one.weight for one in asked)
    best, begin, end = -math.inf, 0, len(text)
    for first in range(len(pieces)):
        known, words, again = [0.0] * len(asked), 0, 0.0
        for last in range(first, len(pieces)):
            words += sizes[last]
            if words > most and last > first:
                break
            known = [max(pair) for pair in zip(known, said[last], strict=True)]
            again += sum(said[last])
            score = sum(known) + AGAIN * again + FILLED * words + meant * max(means[first : last + 1])
            if pieces[last][1] in names and last + 1 < len(pieces):
                continue
            if score > best + 1e-9:
                best, begin, end = score, first, pieces[last][1]
    while begin and pieces[begin - 1][1] in names:
        begin -= 1
    return (pieces[begin][0] if pieces else 0), end


def weights_in(text: str, asked: Sequence[Concept]) -> list[float]:
    """How much a text says of each concept."""
    there = set(terms(text))
    return [
        one.weight * (1.0 if one.term in there else STANDS_FOR * (not there.isdisjoint(one.others))) for one in asked
    ]


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where the sentences of a passage lie, and its lines of code, rows and items."""
    for block in blocks(text):
        body, start = text[block.start : block.end], 0
        border = LINE if block.kind == "code" else SENTENCE
        for end in [*(found.end() for found in border.finditer(body)), len(body)]:
            if body[start:end].strip():
                yield block.start + start, block.start + len(body[:end].rstrip())
            start = end
