"""A document before its judges: what rules look at, made when first asked for, and what they took out of its text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property

from gristmill.corpus.filter.statistics import Measures, measure
from gristmill.document import Document

FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)$")


def fenced_lines(text: str) -> Iterator[tuple[str, bool]]:
    """The lines of a text, each with whether it belongs to code in fences (CommonMark 0.31, §4.5)."""
    open_fence = ""
    for line in text.split("\n"):
        fence = FENCE.match(line) if "```" in line or "~~~" in line else None
        yield line, bool(fence or open_fence)
        if fence and not open_fence:
            open_fence = fence[1]
        elif fence and fence[1].startswith(open_fence) and not fence[2].strip():
            open_fence = ""


class Candidate:
    """One document that rules judge, and may edit: whole lines go, each counted under a rule."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.removed: Counter[str] = Counter()  # rule → lines

    @cached_property
    def text(self) -> str:
        """The text, as edited so far."""
        return self.document.text

    @cached_property
    def prose(self) -> str:
        """The text without code in fences."""
        fenced = "```" in self.text or "~~~" in self.text
        return "\n".join(line for line, code in fenced_lines(self.text) if not code) if fenced else self.text

    @cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @cached_property
    def measures(self) -> Measures:
        """Everything that is counted in the text."""
        return measure(self.text)

    @cached_property
    def prose_measures(self) -> Measures:
        """What is counted without code in fences."""
        return self.measures if self.prose == self.text else measure(self.prose)

    @property
    def measured(self) -> bool:
        """Whether a rule has asked for what is counted."""
        return "measures" in self.__dict__

    def edit(self, text: str, removed: Counter[str]) -> None:
        """Go on with another text."""
        for made in ("prose", "lower", "measures", "prose_measures"):
            self.__dict__.pop(made, None)
        self.text = self.document.text = text
        self.removed += removed


Rule = Callable[[Candidate], str | None]
"""A rule is one function: candidate in, None or the name of what it fails out."""
