"""The drop log: every document that leaves, with the one rule that dropped it and its size."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from gristmill.corpus.execution.rules import meaning

NOTHING: Mapping[str, str] = {}


class DropLog:
    """Writes `dropped.jsonl` (`id`, `url`, `source`, `rule`, `bytes`, `why` and what the stage adds), and counts by
    rule."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(path.name + ".tmp")
        self.rules: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __enter__(self) -> DropLog:
        self.file = self.temporary.open("w", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if kind is None:
            self.temporary.replace(self.path)

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
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole, 1 << 20)
        whole.flush()
        os.fsync(whole.fileno())
    temporary.replace(path)
