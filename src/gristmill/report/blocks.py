"""What a page is made of: sections of blocks, which the template shows in their order. All text is escaped there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


class Block:
    """Something that a section shows."""

    @property
    def kind(self) -> str:
        """What the template knows it by."""
        return type(self).__name__


@dataclass(frozen=True)
class Prose(Block):
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Figure(Block):
    """A plot with a caption; nothing where the plot is empty."""

    caption: str
    drawing: Markup


@dataclass(frozen=True)
class Table(Block):
    """A table with a caption; nothing where it has no row, and folded where it has many."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Quote(Block):
    """A text of a page or model; `code` keeps its spaces and line breaks in a box that scrolls."""

    label: str
    text: str
    code: bool = False


@dataclass(frozen=True)
class Pair(Block):
    """Two quotes next to each other, or one below the other where the page is narrow."""

    left: Quote
    right: Quote


@dataclass(frozen=True)
class Fold(Block):
    """Quotes that a reader opens."""

    caption: str
    quotes: Sequence[Quote]


@dataclass(frozen=True)
class Talk(Block):
    """A conversation, or several turns of one."""

    label: str
    messages: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class TokenText(Block):
    """A text cut into tokens."""

    tokens: Sequence[str]


@dataclass
class Section:
    """One part of the page: a title, what it says first, and what it shows."""

    title: str
    says: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Headline:
    """A figure at the top of the page: what it is, its value, and under which condition it holds."""

    label: str
    value: str
    condition: str = ""
