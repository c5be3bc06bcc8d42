"""The ledger of a run: what came into each stage, what left under which rule, and the way of a single document.

Everything is read from what the stages leave (manifests, drop logs, Parquet files), so it holds for any folder of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from gristmill.document import document_files, read_batches
from gristmill.errors import UserError
from gristmill.inputs.text_files import read_log
from gristmill.manifest import Manifest, intact
from gristmill.settings.stages import CORPUS

UNITS = ("documents", "bytes")
SHOWN = ("id", "url", "source", "fetched_at", "licence", "language", "cluster", "text")
UNASKED = {  # outcomes of URLs that no request was sent for
    "robots": ", which was never asked for, as robots.txt forbids it",
    "robots_unreachable": ", which was never asked for, as robots.txt could not be read",
}


@dataclass(frozen=True)
class Entry:
    """One stage's line: per unit, in = kept + edited + Σ dropped."""

    stage: str
    came: dict[str, int]  # unit → how many
    kept: dict[str, int]
    edited: int  # bytes that kept documents lost by being changed; below zero: that they won
    dropped: dict[str, tuple[int, int]]  # rule → documents, bytes

    def balances(self) -> bool:
        """Whether nothing went missing, to the document and the byte."""
        lost = [
            self.came[unit] - self.kept[unit] - sum(drop[place] for drop in self.dropped.values())
            for place, unit in enumerate(UNITS)
        ]
        return lost == [0, self.edited]


def ledger(folders: Mapping[str, Path]) -> list[Entry]:
    """The lines of all corpus stages among the folders of a run's stages. Raises UserError where there is none."""
    entries = []
    for stage in CORPUS:
        found = Manifest.read(folders[stage]) if stage in folders else None
        if found and "documents_in" in found.counts:
            counts = found.counts
            entries.append(
                Entry(
                    stage,
                    {unit: counts.get(f"{unit}_in", 0) for unit in UNITS},
                    {unit: counts.get(f"{unit}_out", 0) for unit in UNITS},
                    counts.get("bytes_edited", 0),
                    {rule: (count, found.dropped_bytes.get(rule, 0)) for rule, count in found.dropped.items()},
                )
            )
    if not entries:
        raise UserError("no corpus stage has run there", "name a run folder, as runs/miniweb")
    return entries


def way(folders: Mapping[str, Path], name: str) -> Iterator[tuple[str, str]]:
    """What each stage of a run did with the document of this id or URL: (stage, what happened).

    Raises UserError where no stage knows it. Time grows with the corpus: everything is looked through.
    """
    urls, known = {name}, False
    for stage in CORPUS:
        if stage not in folders:
            continue
        for found in [*kept_as(folders[stage], name), *dropped_as(folders[stage], name)]:
            known = True
            urls.add(str(found.pop("url")))
            if stage == CORPUS[0]:
                yield from crawled(folders, urls)
            yield stage, told(str(found.pop("fate")), found)
    if not known:
        raise UserError(f"no stage knows a document {name}", "give an id or URL as in documents.parquet")


def kept_as(folder: Path, name: str) -> Iterator[dict[str, object]]:
    """The rows with this id or URL in a stage's documents."""
    for path in map(intact, document_files(folder)):
        for batch in read_batches(path, columns=SHOWN):
            same = pc.or_(pc.equal(batch.column("id"), name), pc.equal(batch.column("url"), name))
            for row in batch.filter(same).to_pylist():
                text = row.pop("text")
                yield {"fate": "kept", "bytes": len(text.encode()), **row}


def dropped_as(folder: Path, name: str) -> Iterator[dict[str, object]]:
    """The lines with this id or URL in a stage's drop log."""
    for record in read_log(folder, "dropped.jsonl"):
        if name in (record["id"], record["url"]):
            fate, why = f"dropped by {record.pop('rule')}", record.pop("why", "")
            yield {"fate": f"{fate} ({why})" if why else fate, **record, "copy of": record.pop("kept", "")}


def told(fate: str, facts: Mapping[str, object]) -> str:
    """What became of a page, and the facts on it that are known, in one line."""
    named = {"bytes": "{:,} bytes", "fetched_at": "fetched {:%Y-%m-%d %H:%M:%S} UTC"}
    known = [(name, value) for name, value in facts.items() if value not in ("", None)]
    return ", ".join([fate, *(named.get(name, name + " {}").format(value) for name, value in known)])


def crawled(folders: Mapping[str, Path], urls: Sequence[str] | set[str]) -> Iterator[tuple[str, str]]:
    """What the crawl says of URLs, its robots decision included."""
    for record in read_log(folders.get("crawl"), "urls.jsonl"):
        if record.get("url") in urls:
            outcome, date = record.pop("outcome"), record.pop("date", "")
            fate = "fetched" if outcome == "page" else f"no page: {outcome}{UNASKED.get(outcome, '')}"
            if not record.get("status"):  # no answer has one
                record.pop("status", None)
            facts = {"on": date, "robots.txt:": record.pop("robots", ""), "linked from": record.pop("via", "")}
            yield "crawl", told(fate, {**facts, **{name: value for name, value in record.items() if name != "url"}})
