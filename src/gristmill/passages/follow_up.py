"""What the last of a person's questions takes up from an earlier one: "and how do I undo it?" """

from __future__ import annotations

import re
from collections.abc import Sequence

from gristmill.passages.terms import QUESTION, WORD, folded, terms

EARLIER = 4  # questions that are looked back at
OF_ITS_OWN = 3  # words beside a pronoun with which a question says itself what it is about
PRONOUN = re.compile(r"\b(?:it|its|that|this|them|they|their|these|those)\b", re.IGNORECASE)
SMALL = frozenset(map(folded, QUESTION))


def taken_up(questions: Sequence[str]) -> str:
    """The question that the last one takes up: the nearest before it that says what it is about; empty where the last
    one does so itself."""
    if not questions or not follows(questions[-1]):
        return ""
    return next((one for one in reversed(questions[-1 - EARLIER : -1]) if not follows(one)), "")


def follows(question: str) -> bool:
    """Whether a question does not say what it is about: no word of its own, or few beside a pronoun."""
    own = set(terms(question)) - SMALL
    return bool(WORD.search(question)) and (not own or (len(own) <= OF_ITS_OWN and bool(PRONOUN.search(question))))
