"""What each rule took away: a few documents a rule, kept next to the stage's output for people to look at.

Which documents are shown depends on their ids alone (the smallest hashes), so that a sample is fair, small whatever the
corpus, and the same however the work was shared out.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gristmill.document import Document
from gristmill.errors import UserError
from gristmill.files import write_jsonl
from gristmill.inputs.text_files import read_jsonl
from gristmill.manifest import Manifest

SAMPLES = "samples.jsonl"
A_RULE = 20  # documents
CHARACTERS = 2_000  # of a document's text


class Samples:
    """Collects them while a stage runs."""

    def __init__(self) -> None:
        self.heaps: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
        self.seen = 0

    def add(self, rule: str, document: Document, text: str) -> None:
        """Consider one document, and the text that a rule took away."""
        self.put({"rule": rule, "id": document.id, "url": document.url, "text": text[:CHARACTERS]})

    def merge(self, path: Path) -> None:
        """Consider what another part of the work left."""
        for record in read_jsonl(path):
            self.put(record)

    def put(self, record: dict[str, Any]) -> None:
        """Take a record in where its hash is small enough."""
        place = -int.from_bytes(hashlib.blake2b(record["id"].encode(), digest_size=8).digest(), "big")
        heap = self.heaps.setdefault(record["rule"], [])
        if len(heap) < A_RULE or place > heap[0][0]:
            self.seen += 1  # sets equal places apart
            (heapq.heappushpop if len(heap) == A_RULE else heapq.heappush)(heap, (place, -self.seen, record))

    def write(self, path: Path) -> None:
        """Write what was chosen as JSON lines, by rule; no file where nothing was."""
        if self.heaps:
            write_jsonl(
                path, [entry[2] for rule in sorted(self.heaps) for entry in sorted(self.heaps[rule], reverse=True)]
            )


def lines_gone(before: str, after: str) -> Iterator[str]:
    """The lines of one text that another no longer has."""
    left = Counter(after.split("\n"))
    for line in before.split("\n"):
        left[line] -= 1
        if left[line] < 0:
            yield line


def show(folders: Sequence[Path], rule: str, count: int) -> Iterator[dict[str, Any]]:
    """Up to `count` samples of a rule from the folders of stages.

    Raises UserError where they have none, with the rules that there are.
    """
    where = folders[0] if len(folders) == 1 else "the run"
    files = [folder / SAMPLES for folder in folders if (folder / SAMPLES).exists()]
    if not files and not any(map(Manifest.read, folders)):
        raise UserError(f"{where} has no {SAMPLES} of a corpus stage", "name a corpus stage's folder, or a run's")
    known = Counter[str]()
    for path in files:
        for record in read_jsonl(path):
            if "rule" not in record:
                raise UserError(f"{path} is not of a corpus stage", "name a corpus stage's folder, or a run's")
            known[str(record["rule"])] += 1
            if record["rule"] == rule and known[rule] <= count:
                yield record
    if not known[rule]:
        counted = [folder for folder in folders if (made := Manifest.read(folder)) and rule in made.dropped]
        if counted:
            raise UserError(f"no text is kept of what {rule} drops", f"each is named in {counted[0] / 'dropped.jsonl'}")
        rules = sorted(
            {*known, *(one for folder in folders if (made := Manifest.read(folder)) for one in made.dropped)}
        )
        raise UserError(f"nothing was dropped by `{rule}` in {where}", f"choose from {', '.join(rules) or 'none'}")
