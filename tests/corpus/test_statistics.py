"""The C pass over a text against a slow, plain version of every count."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gristmill.corpus.filter.statistics import BULLETS, CLOSING, MARKS, TERMINAL, Measures, measure
from gristmill.corpus.text.words import EAST, SOUTHEAST, UNSPACED

MARKED = "".join(chr(c) for c in range(0xE00, 0x1800) if unicodedata.category(chr(c)).startswith("M"))
VOWELS = "".join(re.findall(f"[{SOUTHEAST}]", MARKED))  # and tones: signs that Python's \w leaves out
LETTER = rf"(?:(?![{UNSPACED}])\w)"
TOKEN = re.compile(
    rf"(?:(?=[{EAST}])\w){{1,2}}|(?:(?=[{SOUTHEAST}])[\w{VOWELS}]){{1,4}}"
    rf"|{LETTER}+(?:[.,:'’]{LETTER}+)*|([^\w\s{VOWELS}])\1*"
)
WIDE = "".join(sign for sign in TERMINAL if sign >= "\u3000")
PIECE = re.compile(f"[^{WIDE}]*[{WIDE}][{re.escape(TERMINAL)}{re.escape(CLOSING)}]*|.+")
SENTENCE_END = re.compile(f"[{re.escape(TERMINAL)}][{re.escape(CLOSING)}]*$")
STOPS = {"the", "be", "to", "of", "and", "that", "have", "with"}
STORY = (
    "“Who’s there?” asked the miller... Nobody (it was 3.14 o’clock) answered!\n"
    "- He waited…\n\n"
    "#tag: the   miller asked again, and again, and again.\n"
    "- He waited…\n\n\n"
    "Die Mühle steht in 東京。\tΌλα καλά; _yes_ C# foo...bar"
)
PIECES = st.sampled_from(
    [
        *"|->#aA1é中ア々กี่ມ。？｡」_.,:'’-…#•?!\"”)( \n\t\u00a0\u3000\U0001f600\U00010400",
        "the ",
        "of ",
        "…\n",
        "...",
        "\n\n",
        ". ",
        "a b c ",
    ]
)


def repeated(parts: Sequence[object], lengths: Sequence[int]) -> tuple[int, int]:
    seen: set[object] = set()
    count = characters = 0
    for part, length in zip(parts, lengths, strict=True):
        count, characters = count + (part in seen), characters + length * (part in seen)
        seen.add(part)
    return count, characters


def top(tokens: Sequence[str], n: int) -> int:
    counts = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    ngram, times = counts.most_common(1)[0] if counts else ((), 0)
    return times * len(" ".join(ngram)) if times > 1 else 0


def repeated_ngrams(tokens: Sequence[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    total = at = 0
    while at + n <= len(tokens):
        ngram = tuple(tokens[at : at + n])
        total, step = (total + sum(map(len, ngram)), n) if ngram in seen else (total, 1)
        seen.add(ngram)
        at += step
    return total


def plain(text: str) -> Measures:
    """Every count as its definition says."""
    tokens = [found.group() for found in TOKEN.finditer(text)]
    words = [token for token in tokens if re.match(rf"[\w{VOWELS}]", token)]
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    even = [" ".join(line.split()) for line in lines]
    chunks = [[bool(SENTENCE_END.search(p)) for chunk in line.split() for p in PIECE.findall(chunk)] for line in lines]
    paragraphs: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            paragraphs[-1].append(line.strip())
        elif paragraphs[-1]:
            paragraphs.append([])
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    even_paragraphs = [tuple(" ".join(line.split()) for line in paragraph) for paragraph in paragraphs]
    return Measures(
        len(text),
        len(tokens),
        len(words),
        sum(map(len, words)),
        sum(re.match(f"[{UNSPACED}]", word) is not None for word in words),
        len(STOPS & {word.lower() for word in words if word.isascii()}),
        text.count("#") - sum(len(mark) for mark in re.findall(r"(?m)^[^\S\n]*(#+)(?= )", text)),
        text.count("...") + text.count("…"),
        sum(bool(chunk.strip(MARKS)) for chunk in text.split()),
        sum(any(map(str.isalpha, chunk)) for chunk in text.split()),
        max(map(len, text.split()), default=0),
        sum(sum(ends) + (not ends[-1]) for ends in chunks),
        len(lines),
        sum(map(len, lines)),
        sum(line.startswith(tuple(BULLETS)) for line in lines),
        sum(line.endswith(("...", "…")) for line in lines),
        sum(ends[-1] for ends in chunks),
        sum(len(line) + len(re.findall(rf"(?!\W)[{EAST}]", line)) < 30 for line in lines),
        *repeated(even, list(map(len, lines))),
        len(paragraphs),
        *repeated(even_paragraphs, [len("\n".join(paragraph)) for paragraph in paragraphs]),
        *(top(tokens, n) for n in (2, 3, 4)),
        *(repeated_ngrams(tokens, n) for n in range(5, 11)),
    )


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=80).map("".join))
@example(STORY)
@example("a. ) b.\n . . .\n...")
@example("")
def test_counts_are_their_definitions(text: str) -> None:
    assert measure(text)._asdict() == plain(text)._asdict()


@settings(max_examples=200)
@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=200))
def test_any_unicode(text: str) -> None:
    assert measure(text)._asdict() == plain(text)._asdict()


@settings(max_examples=100)
@given(st.lists(st.sampled_from("abc"), max_size=300))
def test_repetition_in_long_runs_of_few_words(words: list[str]) -> None:
    text = " ".join(words)
    assert measure(text) == plain(text)


def test_every_character_is_what_python_says() -> None:
    for start in range(0, 0x110000, 64):
        text = " ".join(chr(code) for code in range(start, start + 64) if not 0xD800 <= code < 0xE000)
        found = measure(text)
        assert (found.characters, found.tokens) == (len(text), len(TOKEN.findall(text))), hex(start)


@pytest.mark.parametrize("text", ["\ud800 lone surrogates are no UTF-8 \udfff", "\x00", "a\x00b c"])
def test_what_no_text_should_hold_is_counted_all_the_same(text: str) -> None:
    assert measure(text).characters == len(text)
