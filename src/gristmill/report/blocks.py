"""What a page is made of: sections of blocks, which the template shows in their order. All text is escaped there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Figure:
    """A plot with a caption; nothing where the plot is empty."""

    caption: str
    drawing: Markup
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Table:
    """A table with a caption; nothing where it has no row, and folded where it has many."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Quote:
    """A text of a page or model; `code` keeps its spaces and line breaks in a box that scrolls."""

    label: str
    text: str
    code: bool = False
    kind: ClassVar[str] = "quote"


@dataclass(frozen=True)
class Pair:
    """Two quotes next to each other, or one below the other where the page is narrow."""

    left: Quote
    right: Quote
    kind: ClassVar[str] = "pair"


@dataclass(frozen=True)
class Fold:
    """Quotes that a reader opens."""

    caption: str
    quotes: Sequence[Quote]
    kind: ClassVar[str] = "fold"


@dataclass(frozen=True)
class Talk:
    """A conversation, or several turns of one."""

    label: str
    messages: Sequence[Mapping[str, str]]
    kind: ClassVar[str] = "talk"


@dataclass(frozen=True)
class TokenText:
    """A text cut into tokens."""

    tokens: Sequence[str]
    kind: ClassVar[str] = "tokens"


Block = Prose | Figure | Table | Quote | Pair | Fold | Talk | TokenText


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
