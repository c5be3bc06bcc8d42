"""Reads evaluation sets of any shape as items: what is asked, and the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.corpus.readers.tables import csv_rows, opened_parquet, rows_of
from gristmill.inputs.text_files import BadLine, json_lines, named, text_lines

ANSWERS = ("answer", "answers", "target", "targets", "solution", "output", "response", "completion", "chosen")
# fields that file an item and are no part of it
ABOUT = frozenset("id idx index label labels split subset source url kind type category subject level".split())


@dataclass(frozen=True)
class Item:
    """One item: its texts in order."""

    asked: tuple[str, ...]
    answer: tuple[str, ...]  # the first where there are several; empty where there is none
    unanswered: bool = False  # there is a field for the answer, and nothing in it
    fault: str = ""  # why it could not be read: then it has no texts


def read_items(path: Path) -> Iterator[Item]:
    """Yield the items of a JSONL, JSON, CSV, TSV or Parquet file, or of a text file with one a line; also gzipped.

    A line that cannot be read is an item with a fault. Raises UserError where the file cannot be read.
    """
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    if name.endswith((".jsonl", ".ndjson", ".json")):
        yield from (to_item(row) for _, row in json_lines(path))
    elif name.endswith((".csv", ".tsv")):
        yield from (to_item(row) for _, row in csv_rows(path))
    elif name.endswith(".parquet"):
        with opened_parquet(path) as file:
            yield from map(to_item, rows_of(file))
    else:
        for line in text_lines(path):
            if isinstance(line, BadLine) or line.strip():
                yield to_item(line if isinstance(line, BadLine) else line.strip())


def to_item(row: Any) -> Item:
    """The item in one row or object."""
    if isinstance(row, BadLine):
        return Item((), (), fault=row.why)
    if not isinstance(row, Mapping):
        return Item(tuple(strings(row)), ())
    row = named(row)
    given = [key for key in ANSWERS if key in row]
    answer = next((text for key in given for text in strings(row[key])), None)
    asked = tuple(
        text for key, value in row.items() if key not in given and key not in ABOUT for text in strings(value)
    )
    return Item(asked, () if answer is None else (answer,), bool(given) and answer is None)


def strings(value: Any, left_out: Set[str] = ABOUT) -> Iterator[str]:
    """The strings in a JSON value, in order, without those of the fields that are left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for key, one in value.items() if key not in left_out for text in strings(one, left_out))
    elif isinstance(value, list | tuple):
        yield from (text for one in value for text in strings(one, left_out))
