"""The drop log: every document that leaves, with the one rule that dropped it."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from types import TracebackType


class DropLog:
    """Writes `dropped.jsonl` (`id`, `url`, `rule` and what the stage adds), and counts by rule."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(path.name + ".tmp")
        self.rules: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Documents dropped so far."""
        return self.rules.total()

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

    def drop(self, identity: str, url: str, rule: str, **more: str) -> None:
        """Record one dropped document."""
        self.rules[rule] += 1
        self.file.write(json.dumps({"id": identity, "url": url, "rule": rule, **more}, ensure_ascii=False) + "\n")
