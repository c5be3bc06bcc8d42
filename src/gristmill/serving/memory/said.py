"""What a message asks of the memory, by plain rules for English; and what a fact is about.

A message that no rule names is an ordinary one. `docs/serving.md` shows the forms.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gristmill.passages.small_words import small_words
from gristmill.passages.terms import folded, terms

POLITE = r"(?:(?:please|ok(?:ay)?|can you|could you|hey)[,\s]+)*"


def rule(*parts: str) -> re.Pattern[str]:
    """A form of a message."""
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


REMEMBER = rule(
    POLITE,
    r"(?:remember|keep in mind|don't forget|do not forget)",
    r"(?:\s+that\s+|\s*:\s*|\s+(?=(?:my|i|i'm|we|our)\b))(?P<what>[^?]*[^?\s]\s*\??)",
)
ASKED = rule(r"(?:can|could) you\b")
FORGET = rule(
    POLITE,
    r"forget(?:\s+(?:that|about|what i said about)\s+|\s*:\s*|\s+(?=(?:my|i|i'm|we|our|every|all)))(?P<what>\S.*)",
)
EVERYTHING = rule(r"(?:everything|all)(?: (?:that )?(?:you know|i told you|you remember|about me).*)?\W*")
LIST = rule(
    POLITE,
    r"(?:what (?:do|did) you (?:know|remember)(?: about me)?",
    r"|(?:show|list)(?: me)? (?:your memory|the facts|what you remember))\W*",
)
RECALL = rule(
    r"\b(?:did|have|had) (?:i|we|you) (?:ever )?(?:say|said|tell|told|mention|mentioned|talk|talked|ask|asked|discuss|",
    r"discussed|suggest|suggested|recommend|recommended)\b",
    r"|\b(?:do|can) you (?:still )?(?:remember|recall)\b",
)
PERSONAL = rule(  # which pages may answer, too
    r"^\W*(?:what|who|where|when|which|how old|how)(?:'s|’s| is| are| was| were| does| do| did) my\b",
    r"|^\W*(?:when|where|what|who) (?:did|have|had|was|were) (?:i|we)\b",
    r"|^\W*(?:where do i (?:live|work|study)|how old am i|who am i)\b",
)
LONGEST_FACT = 500  # characters
SAID = rule(
    r"\b(?:did|have|had) (?P<who>i|you) (?:ever )?"
    r"(?:say|said|tell|told|mention|mentioned|ask|asked|suggest|suggested|recommend|recommended)\b"
)
# words of such questions that say nothing of what they are about
EMPTY = frozenset(
    map(
        folded,
        "ask called date day discuss ever fact last mention name now old recall recommend remember said say still "
        "suggest talk tell time told year yesterday".split(),
    )
)
SUBJECTS = (  # a fact → what it is about; a newer one about the same wins
    (rule(r"(?:my name(?: is|'s)|i am called|i'm called|call me)\b"), "my name"),
    (rule(r"(?:i|we) (?:now |just )?(?:live|moved|have moved) (?:in|to)\b"), "i live in"),
    (rule(r"(?:i|we) (?:now )?(?P<about>(?:work|study) (?:at|for|as|in))\b"), None),
    (rule(r"(?:i am|i'm) (?:now )?\d+\b"), "i am years"),
    (rule(r"(?P<about>(?!(?:i|it|this|that|there|he|she|we|they|you)\b).{1,80}?) (?:is|are|was|were)\b"), None),
)


class Wish(NamedTuple):
    """What a message asks of the memory."""

    kind: str  # remember, forget, forget_all, list, recall, personal
    what: str = ""


def wish(message: str) -> Wish | None:
    """What a message asks of the memory, if anything."""
    text = message.strip()
    if LIST.fullmatch(text):
        return Wish("list")
    if (found := REMEMBER.fullmatch(text)) and (not text.endswith("?") or ASKED.match(text)):
        fact = fact_of(found["what"])
        return Wish("remember", fact) if 0 < len(fact) <= LONGEST_FACT else None
    if found := FORGET.fullmatch(text):
        if EVERYTHING.fullmatch(found["what"]):
            return Wish("forget_all")
        return Wish("forget", fact_of(found["what"])) if about(found["what"]) else None
    return Wish("recall", text) if RECALL.search(text) else Wish("personal", text) if PERSONAL.search(text) else None


def fact_of(text: str) -> str:
    """A text as a fact: without what ends its sentence, its first letter large."""
    text = " ".join(text.split()).rstrip(".!? ")
    return text[:1].upper() + text[1:]


def about(question: str) -> list[str]:
    """The terms of what is asked for; those that many questions have count only where there is nothing else."""
    asked = [term for term in dict.fromkeys(terms(question)) if term not in small_words() and len(term) > 1]
    return [term for term in asked if term not in EMPTY] or asked


def speaker(question: str) -> str | None:
    """Whose words are asked for: the user's, the assistant's, or anyone's."""
    found = SAID.search(question)
    return None if not found else "assistant" if found["who"].lower() == "you" else "user"


def subject(fact: str) -> str:
    """What a fact is about, as a key: two facts with the same one cannot both hold."""
    for form, key in SUBJECTS:
        if found := form.match(fact):
            return key or " ".join(terms(found["about"].lower()))
    return " ".join(terms(fact))
