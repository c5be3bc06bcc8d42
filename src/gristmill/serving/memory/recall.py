"""What is remembered that has to do with a message, quoted as it was said; and as a part of the system's message.

A line of the prompt is one fact or quotation, whatever its text holds: no line break, and its tokens are those of text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from gristmill.passages.concepts import FEW, PLAIN
from gristmill.passages.terms import folded, terms
from gristmill.serving.memory.memory_store import Fact, MemoryStore
from gristmill.serving.memory.said import about, speaker, wish

LEAST, NEAR = 0.5, 0.7  # of a question's weight that a quotation has, and of what the best one has
MOST_QUOTES = 3
LONGEST_QUOTE = 300  # characters
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
# what people say for each other of their own lives, and the past of verbs, which questions ask by "did"
ALIKE = (
    "live home house flat moved address|work job office employer|spend cost paid price|friend mate|doctor gp|"
    "partner husband wife|begin began start|break broke|bring brought|build built|buy bought|catch caught|choose chose|"
    "come came|do did|draw drew|drink drank|drive drove|eat ate|fall fell|feel felt|find found|fly flew|get got|"
    "give gave|go went|grow grew|hear heard|keep kept|know knew|leave left|lend lent|lose lost|make made|meet met|"
    "pay paid|ride rode|run ran|see saw|sell sold|send sent|sing sang|sleep slept|speak spoke|swim swam|take took|"
    "teach taught|think thought|wear wore|win won|write wrote"
)
HEADS = {
    "fact": "What the user asked to remember:",
    "here": "Earlier in this conversation:",
    "before": "From earlier conversations:",
}


class Quote(NamedTuple):
    """Something that was said or asked to be remembered."""

    role: str  # user, assistant; fact
    text: str
    said_at: float  # seconds since 1970
    place: str = ""  # the fact's id, that of another conversation, or "" in this one
    score: float = 0.0  # the share of what is asked for that it has

    @property
    def day(self) -> str:
        """When it was said, where the server is."""
        return datetime.fromtimestamp(self.said_at).date().isoformat()

    def line(self) -> str:
        """As a line of the prompt."""
        text = " ".join(self.text.split())
        return f"- {text} ({self.day})" if self.role == "fact" else f"- {self.day}, the {self.role}: “{text}”"

    def record(self) -> dict[str, Any]:
        """As a response tells it."""
        place = {} if self.role == "fact" or not self.place else {"conversation": self.place}
        return {"role": self.role, "text": self.text, "created_at": int(self.said_at), **place}


def fact_quote(fact: Fact) -> Quote:
    """A fact as what was said."""
    return Quote("fact", fact.text, fact.updated_at, fact.id)


def recall(
    store: MemoryStore, user: str, question: str, here: Sequence[Quote], conversation: str | None
) -> list[Quote]:
    """What says most of a question's terms, of a user's facts, other conversations and what was said `here`: the
    best few, the newest first. Nothing, where nothing has half of them.

    A question that was asked earlier tells nothing, nor does what was said to this memory and what it answered: a fact
    that is forgotten is not found where the user told it to be remembered.
    """
    asked = about(question)
    near = {term: alike().get(term, set()) for term in asked}
    role = speaker(question)
    kept = [fact_quote(fact) for fact in store.facts(user) if not fact.superseded]
    kept += here
    for item in store.search(user, [*asked, *(other for others in near.values() for other in others)]):
        if item.status != "memory" and item.conversation != conversation:
            kept.append(Quote(item.role, item.text, item.created_at, item.conversation))
    kept = [one for one in kept if role in (None, one.role) or (role == "user" and one.role == "fact")]
    has = [set(terms(one.text)) for one in kept]
    counts = {term: sum(term in one for one in has) for term in asked}
    weights = {term: math.log(1 + (FEW - count + 0.5) / (count + 0.5)) for term, count in counts.items()}
    total = sum(weights.values()) or 1.0

    def share(one: set[str]) -> float:
        return sum(
            weight * (1 if term in one else PLAIN * (not one.isdisjoint(near[term])))
            for term, weight in weights.items()
        )

    scored = [one._replace(score=share(own) / total) for one, own in zip(kept, has, strict=True)]
    scored = [one for one in scored if one.score >= LEAST and not idle(one)]
    scored.sort(key=lambda one: (-round(one.score, 3), one.role != "fact", -one.said_at))
    found: dict[str, Quote] = {}
    for one in scored:
        if one.score >= NEAR * scored[0].score:
            text = excerpt(one.text, asked)
            found.setdefault(text.casefold(), one._replace(text=text))
    return sorted([*found.values()][:MOST_QUOTES], key=lambda one: -one.said_at)


def idle(quote: Quote) -> bool:
    """Whether something that was said tells nothing by itself."""
    return quote.text.rstrip().endswith("?") or (quote.role == "user" and wish(quote.text) is not None)


def excerpt(text: str, asked: Sequence[str]) -> str:
    """A text, word for word; of a long one, the part from the sentence on that has most of some terms. What is cut is
    shown."""
    if len(text) <= LONGEST_QUOTE:
        return text
    starts = [0, *(gap.end() for gap in SENTENCE.finditer(text))]
    ends = [*starts[1:], len(text)]
    has = [len({*asked} & {*terms(text[start:end])}) for start, end in zip(starts, ends, strict=True)]
    part = text[starts[has.index(max(has))] :].strip()
    return part if len(part) <= LONGEST_QUOTE else part[: LONGEST_QUOTE - 1].rstrip() + "…"


@cache
def alike() -> dict[str, set[str]]:
    """Stem → the stems of `ALIKE` that stand for it."""
    groups = [[*map(folded, group.split())] for group in ALIKE.split("|")]
    found = {word: set[str]() for group in groups for word in group}
    for group in groups:
        for word in group:
            found[word] |= {*group} - {word}
    return found


def aside(
    quotes: Sequence[Quote], facts: Sequence[Fact], size: Callable[[str], int], room: int
) -> tuple[str, list[Quote]]:
    """What is put into the system's message, of at most `room` tokens, and what it holds: what has to do with the
    question first, then the other facts, the newest first."""
    others = [fact_quote(fact) for fact in facts if not fact.superseded]
    places = {one.place for one in quotes if one.role == "fact"}
    chosen, text = list[Quote](), ""
    for one in [*quotes, *(other for other in others if other.place not in places)]:
        longer = written([*chosen, one])
        if size(longer) <= room:
            chosen, text = [*chosen, one], longer
    return text, chosen


def written(quotes: Sequence[Quote]) -> str:
    """Quotations under their heads."""
    parts = []
    for kind, head in HEADS.items():
        lines = [
            one.line()
            for one in quotes
            if kind == ("fact" if one.role == "fact" else "before" if one.place else "here")
        ]
        parts += ["\n".join([head, *lines])] if lines else []
    return "\n\n".join(parts)
