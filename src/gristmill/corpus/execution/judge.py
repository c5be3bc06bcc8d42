"""What a stage says of one document: it stays, perhaps changed, or one named rule drops it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field

from gristmill.corpus.execution.samples import Samples
from gristmill.document import Document


@dataclass(frozen=True)
class Dropped:
    """A document's end: the rule, and what else the drop log should say."""

    rule: str
    more: dict[str, str] = field(default_factory=dict)


class Judge(ABC):
    """One is built for each shard, from a stage's parameters.

    `counts` are added to the manifest's, `samples` to those of what was dropped. A judge keeps nothing else from one
    document to the next, so that what comes out does not depend on how the corpus is cut into shards.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.samples = Samples()

    @abstractmethod
    def __call__(self, document: Document) -> Document | Dropped:
        """The document, which may be changed in place, or the rule that drops it."""
