"""The drop log: every document that leaves, with the one rule that dropped it and its size."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gristmill.corpus.execution.rules import meaning
from gristmill.files import atomic_path

NOTHING: Mapping[str, str] = {}


class DropLog:
    """Writes `dropped.jsonl` (`id`, `url`, `source`, `rule`, `bytes`, `why` and what the stage adds), and counts by
    rule."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.rules: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    @classmethod
    @contextmanager
    def at(cls, path: Path) -> Iterator[DropLog]:
        """One that is there once the block has succeeded."""
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            yield cls(file)

    def drop(
        self, identity: str, url: str, rule: str, *, source: str = "", size: int = 0, more: Mapping[str, str] = NOTHING
    ) -> None:
        """Record one dropped document of `size` bytes."""
        self.rules[rule] += 1
        self.bytes[rule] += size
        about = {"id": identity, "url": url, "source": source, "rule": rule, "bytes": size}
        record = {**about, "why": meaning(rule), **more}
        self.file.write(json.dumps(record, ensure_ascii=False) + "\n")


def join_logs(path: Path, parts: Iterable[Path]) -> None:
    """Write the logs of all shards as one, in order and atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole, 1 << 20)
