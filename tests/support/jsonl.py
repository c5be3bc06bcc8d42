"""Files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write(path: Path, records: Iterable[object]) -> str:
    """Write a record for each line; returns the path as a recipe names it."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def read(path: Path) -> list[Any]:
    """The records of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
