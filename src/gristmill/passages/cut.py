"""Cuts a document's Markdown into passages along its headings, terms and paragraphs.

A passage is a stretch of the text: whole blocks (paragraphs, items, code, rows) of one section, about `LONG` words. A
block that only names what comes after it (a signature, an option, "Note") stays with that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gristmill.passages.terms import WIDE

LONG = 180  # words that a passage is filled up to
LONGEST = 260  # words beyond which a block is cut itself
SHORT = 100  # words after which the next term begins a passage of its own
TINY = 40  # words of a section that is put together with the next one
TERM_WORDS = 30  # of a block that names what comes after it

HEADING = re.compile(r"(#{1,6}) +(.*)")  # which may end in spaces and `#`
ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)]) +\S")
FENCE = "```"
LINE, SPACE = re.compile(r"\n"), re.compile(r"\s+")
# not where a small letter follows: `or "amend!" commits`, "e.g. this"
SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"”’)\]]*\s+(?![a-z\s])|(?<=[。！？])")


@dataclass(frozen=True)
class Block:
    """A piece of a text that is not taken apart where it need not be."""

    kind: str  # heading, code, row, item, text
    start: int
    end: int


@dataclass(frozen=True)
class Passage:
    """A stretch of a document's text, and the headings above it, the outermost first."""

    start: int  # in characters
    end: int
    headings: tuple[str, ...] = ()


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a text, in order; blank lines are in none."""
    at, begun, kind = 0, -1, ""
    for line in text.splitlines(keepends=True):
        end = at + len(line)
        if kind == "code":
            if line.startswith(FENCE):
                yield Block(kind, begun, at + len(line.rstrip()))
                begun, kind = -1, ""
            at = end
            continue
        found = kind_of(line)
        if begun >= 0 and (found != "text" or kind in ("row", "heading")):
            yield Block(kind, begun, end_of(text, begun, at))
            begun = -1
        if found and begun < 0:
            begun, kind = at, found
        at = end
    if begun >= 0:
        yield Block(kind, begun, end_of(text, begun, at))


def end_of(text: str, start: int, end: int) -> int:
    """Where text[start:end] ends without the white space at its end."""
    return start + len(text[start:end].rstrip())


def kind_of(line: str) -> str:
    """What a line begins; nothing where it is blank."""
    if not line.strip():
        return ""
    if line.startswith(FENCE):
        return "code"
    if HEADING.match(line):
        return "heading"
    return "row" if line.startswith("|") else "item" if ITEM.match(line) else "text"


def is_term(text: str, block: Block) -> bool:
    """Whether a block only names what comes after it."""
    body = text[block.start : block.end]
    return (
        block.kind == "text" and body[-1] not in ".?!;,。" and body.count("\n") < 3 and len(body.split()) <= TERM_WORDS
    )


def cut(text: str) -> Iterator[Passage]:
    """The passages of a document, in order. Together they hold all of its blocks but the headings, once each."""
    path: list[tuple[int, str]] = []  # (level, heading); a term is below all headings
    gathered: list[Block] = []
    words = 0
    for block in (piece for whole in blocks(text) for piece in pieces(text, whole)):
        body = text[block.start : block.end]
        if block.kind == "heading" and (found := HEADING.match(body)):
            if words >= TINY:
                yield from made(gathered, path)
                gathered, words = [], 0
            path = [one for one in path if one[0] < len(found[1])] + [(len(found[1]), found[2].rstrip(" #"))]
            if gathered:
                gathered.append(block)
            continue
        size = size_of(body)
        named = is_term(text, block)
        if gathered and (words + size > LONG if not named else words >= SHORT):
            kept: list[Block] = []
            while len(gathered) > 1 and not named and is_term(text, gathered[-1]):
                kept.insert(0, gathered.pop())
            yield from made(gathered, path)
            gathered, words = kept, sum(size_of(text[one.start : one.end]) for one in kept)
        gathered.append(block)
        words += size
    yield from made(gathered, path)


def made(gathered: list[Block], path: list[tuple[int, str]]) -> Iterator[Passage]:
    """The passage of some blocks."""
    while gathered and gathered[-1].kind == "heading":
        gathered.pop()
    if gathered:
        yield Passage(gathered[0].start, gathered[-1].end, tuple(name for _, name in path))


def pieces(text: str, block: Block) -> Iterator[Block]:
    """A block, or where it is too long for a passage its lines, sentences or words, put together up to `LONG` words."""
    body = text[block.start : block.end]
    if size_of(body) <= LONGEST:
        yield block
        return
    start, words = 0, 0
    for piece in parts(body, (SENTENCE, SPACE) if block.kind != "code" else (LINE, SPACE)):
        size = size_of(body[piece[0] : piece[1]])
        if words and words + size > LONG:
            yield Block(block.kind, block.start + start, end_of(text, block.start + start, block.start + piece[0]))
            start, words = piece[0], 0
        words += size
    yield Block(block.kind, block.start + start, block.end)


def parts(body: str, borders: Sequence[re.Pattern[str]]) -> Iterator[tuple[int, int]]:
    """Where the parts of a text begin and end, each as large as a border of the first kind that makes it short enough
    allows."""
    start = 0
    for end in [*(found.end() for found in borders[0].finditer(body)), len(body)]:
        if len(borders) > 1 and size_of(body[start:end]) > LONG:
            yield from ((start + a, start + b) for a, b in parts(body[start:end], borders[1:]))
        elif end > start:
            yield start, end
        start = end


def size_of(text: str) -> int:
    """How many words a text has; of what is written without spaces, two characters are one."""
    return len(text.split()) + sum(len(run[0]) for run in WIDE.finditer(text)) // 2
