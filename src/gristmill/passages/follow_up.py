"""What the last of a person's questions takes up from an earlier one: "and how do I undo it?" """

from __future__ import annotations

import re
from collections.abc import Sequence

from gristmill.passages.extractive import SURE
from gristmill.passages.search import Search
from gristmill.passages.small_words import asked_terms, says_nothing, small_words
from gristmill.passages.terms import WORD

EARLIER = 4  # questions that are looked back at
OF_ITS_OWN = 3  # words with which a question may leave out what it is about
PRONOUN = re.compile(r"\b(?:it|its|that|this|them|they|their|these|those)\b", re.IGNORECASE)  # of English


def taken_up(search: Search, questions: Sequence[str]) -> str:
    """The question that the last one takes up, the nearest before it that says what it is about; empty where the last
    one does so itself."""
    earlier = before = ""
    for question in questions[-1 - EARLIER :]:
        before = earlier if follows(search, question, earlier) else ""
        if not leaves_out(question):
            earlier = f"{question} {before}".strip()
    return before


def follows(search: Search, question: str, earlier: str) -> bool:
    """Whether a question takes up an earlier one: where it does not say what it is about, and where it is short and
    pages answer both together. They must not answer it alone, unless it has a single word, which comes evenly."""
    if not earlier or not WORD.search(question):
        return False
    if leaves_out(question):
        return True
    own = own_terms(question)
    if len(own) > OF_ITS_OWN or search.surest(question, earlier) < SURE:
        return False
    return (len(own) == 1 and search.vocabulary.telling(*own) < 1) or search.surest(question) < SURE


def own_terms(question: str) -> set[str]:
    """What a question says that it is about."""
    asked = asked_terms(question)
    return set() if says_nothing(asked) else set(asked) - small_words(asked)


def leaves_out(question: str) -> bool:
    """Whether a question does not say what it is about: no word of its own, or few beside a pronoun."""
    own = own_terms(question)
    return not own or (len(own) <= OF_ITS_OWN and bool(PRONOUN.search(question)))
