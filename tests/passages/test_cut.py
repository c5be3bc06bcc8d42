"""Passages hold all of a text but its headings, once, in order, in pieces of bounded length."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gristmill.passages.cut import LONG, LONGEST, cut

WORDS = st.lists(st.sampled_from("the a miller river --amend os.path.join | word. end: x".split()), max_size=80)
PIECES = st.one_of(
    WORDS.map(" ".join),
    st.sampled_from(
        ["# One", "## Two", "### Three ##", "```\ncode {\n\n# no heading\n```", "| a | b |\n| --- | --- |"]
    ),
    st.sampled_from(
        ["- item one\n- item two", "1. first\n\n   more", "```\nnever closed", "word " * 700, "長い文章。" * 90]
    ),
)
TEXTS = st.lists(PIECES, max_size=12).map("\n\n".join)


def held(text: str) -> str:
    return "".join(text.split())


def without_headings(text: str) -> str:
    return held("\n".join(line for line in text.splitlines() if not line.startswith("#")))


@given(TEXTS)
def test_all_of_a_text_is_in_its_passages_once(text: str) -> None:
    found = list(cut(text))
    assert all(0 <= a.start < a.end <= b.start for a, b in pairwise(found))
    whole = "".join(without_headings(text[one.start : one.end]) for one in found)
    assert whole == without_headings(text)


@given(TEXTS)
def test_a_passage_is_no_longer_than_its_longest_block_allows(text: str) -> None:
    assert all(len(text[one.start : one.end].split()) <= LONG + LONGEST for one in cut(text))


def test_sections_terms_and_code() -> None:
    many = "It does this and that for whoever asks. " * 14
    text = f"Intro {many}\n\n## One\n\n{many}\n\nname(arg)\n\n{many}\n\n### Deep\n\n```\n# code\n\nmore\n```\n\n{many}"
    found = list(cut(text))
    assert [one.headings for one in found] == [(), ("One",), ("One",), ("One", "Deep")]
    assert text[found[2].start :].startswith("name(arg)"), "a term begins the passage of what it names"
    assert "# code\n\nmore\n```" in text[found[3].start : found[3].end]


def test_a_tiny_section_joins_the_next() -> None:
    text = "## One\n\nShort.\n\n## Two\n\n" + "Long enough to stand alone. " * 20
    assert [text[one.start : one.end][:6] for one in cut(text)] == ["Short."]
