"""Counting: where the training text comes from, and what was done to it on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from gristmill.document import read_columns
from gristmill.inputs.text_files import read_log
from gristmill.manifest import Manifest
from gristmill.settings.stages import CORPUS, CRAWLS

COLUMNS = ("host", "licence", "language", "fetched_at", "text")
FIGURES = (("host", "host"), ("licence", "licence"), ("language", "language"), ("fetched_at", "month"))
UNKNOWN = "not known"
OPEN = "TO BE PROVIDED"  # by a person
UNANSWERED = ("timeout", "unreachable", "damaged", "fault")  # outcomes of a request without a status


@dataclass
class Origins:
    """The documents that a run has kept, by what is known of them, and the decisions of its stages."""

    made: dict[str, Manifest]  # stage → its manifest
    corpus: str  # the last corpus stage
    documents: int = 0
    bytes: int = 0
    by: dict[str, Counter[str]] = field(default_factory=dict)  # "host", "licence", "language", "month" → bytes of each
    counts: dict[str, Counter[str]] = field(default_factory=dict)  # the same in documents
    outcomes: Counter[str] = field(default_factory=Counter)  # of a URL → how many
    requested: int = 0  # URLs that a request was sent for, whatever came of it

    def setting(self, stage: str, name: str) -> Any:
        """A setting of a stage, None where the run has no such stage."""
        return self.made[stage].params.get(name) if stage in self.made else None

    def count(self, stage: str, name: str) -> int:
        """A count of a stage, 0 where there is none."""
        return self.made[stage].counts.get(name, 0) if stage in self.made else 0


def count_origins(folders: Mapping[str, Path]) -> Origins:
    """Count the documents of the last corpus stage among a run's stage folders, in one pass and bounded memory."""
    made = {name: manifest for name, path in folders.items() if (manifest := Manifest.read(path))}
    corpus = [name for name in CORPUS if name in made][-1]
    found = Origins(made, corpus)
    for _, name in FIGURES:
        found.by[name], found.counts[name] = Counter(), Counter()
    for batch in read_columns(folders[corpus], COLUMNS):
        sizes = pc.binary_length(batch["text"].cast("large_binary")).to_pylist()
        found.documents += len(sizes)
        found.bytes += sum(sizes)
        for column, name in FIGURES:
            values = batch[column].to_pylist()
            if name == "month":
                values = [value.strftime("%Y-%m") if value else "" for value in values]
            for value, size in zip(values, sizes, strict=True):
                found.by[name][value or UNKNOWN] += size
                found.counts[name][value or UNKNOWN] += 1
    for stage in CRAWLS:
        for record in read_log(folders.get(stage), "urls.jsonl"):
            found.outcomes[str(record["outcome"])] += 1
            found.requested += bool(record.get("status")) or record["outcome"] in UNANSWERED
    return found
