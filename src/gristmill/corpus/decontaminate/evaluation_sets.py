"""Reads evaluation sets of any shape as items: what is asked, and the answer."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.errors import UserError
from gristmill.inputs.text_files import BadLine, json_lines, text_lines

ANSWERS = ("answer", "answers", "target", "targets", "solution", "output", "response", "completion", "chosen")
# fields that file an item and are no part of it
ABOUT = frozenset("id idx index label labels split subset source url kind type category subject level".split())


@dataclass(frozen=True)
class Item:
    """One item: its texts in order."""

    asked: tuple[str, ...]
    answer: tuple[str, ...]  # the first where there are several; empty where there is none
    unanswered: bool = False  # there is a field for the answer, and nothing in it


def read_items(path: Path) -> Iterator[Item]:
    """Yield the items of a JSONL, JSON, CSV, TSV or Parquet file, or of a text file with one a line; also gzipped.

    Raises UserError naming file and line where it cannot be read.
    """
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    if name.endswith((".jsonl", ".ndjson", ".json")):
        for number, row in json_lines(path):
            yield to_item(whole(row, path, number))
    elif name.endswith((".csv", ".tsv")):
        lines = (whole(line, path, number) for number, line in enumerate(text_lines(path), 1))
        yield from map(to_item, csv.DictReader(lines, delimiter="\t" if name.endswith(".tsv") else ","))
    elif name.endswith(".parquet"):
        try:
            for batch in pq.ParquetFile(path, page_checksum_verification=True).iter_batches(1_000):
                yield from map(to_item, batch.to_pylist())
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path} is not a readable Parquet file: {error}", "write or fetch it again") from error
    else:
        for number, line in enumerate(text_lines(path), 1):
            if text := whole(line, path, number).strip():
                yield Item((text,), ())


def whole(value: Any, path: Path, number: int) -> Any:
    """A line or its value. Raises UserError naming the file and line where it could not be read."""
    if isinstance(value, BadLine):
        raise UserError(f"{path}:{number}: {value.why}", "mend it, or leave it out of the evaluation set")
    return value


def to_item(row: Any) -> Item:
    """The item in one row or object."""
    if not isinstance(row, Mapping):
        return Item(tuple(strings(row)), ())
    given = [key for key in ANSWERS if key in row]
    answer = next((text for key in given for text in strings(row[key])), None)
    asked = tuple(
        text for key, value in row.items() if key not in given and key not in ABOUT for text in strings(value)
    )
    return Item(asked, () if answer is None else (answer,), bool(given) and answer is None)


def strings(value: Any) -> Iterator[str]:
    """The strings in a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for key, inner in value.items() if key not in ABOUT for text in strings(inner))
    elif isinstance(value, list | tuple):
        yield from (text for inner in value for text in strings(inner))
