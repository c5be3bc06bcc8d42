"""What a stage reports about its own work, and the small file helpers that every stage needs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
WORK = ".work"  # in a stage's folder: what lets an interrupted run go on; the runner removes it at the end


@dataclass
class Manifest:
    """`manifest.json` of a stage folder.

    A stage fills `counts`, `dropped` and `metrics`; the runner fills the rest. Counts balance:
    `counts["documents_in"] == counts["documents_out"] + sum(dropped.values())` wherever a stage has both, and
    `counts["bytes_in"] == counts["bytes_out"] + counts["bytes_edited"] + sum(dropped_bytes.values())`, where
    `bytes_edited` is what kept documents lost (below zero: won) by being changed.
    `metrics` become `<stage>.<name>` in the run's `summary.json`.
    """

    counts: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)  # rule → documents dropped by it
    dropped_bytes: dict[str, int] = field(default_factory=dict)  # rule → bytes of those documents
    metrics: dict[str, float] = field(default_factory=dict)
    stage: str = ""
    fingerprint: str = ""
    version: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)  # input name → digest of what was read
    outputs: dict[str, str] = field(default_factory=dict)  # file → sha256
    seconds: float = 0.0
    peak_rss_bytes: int = 0

    def write(self, folder: Path) -> None:
        """Write the manifest atomically: its presence means that the folder is complete."""
        write_text(folder / MANIFEST, json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The folder's manifest, or None where the folder is missing or unfinished."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` once the block has succeeded."""
    temporary = path.with_name(path.name + ".tmp")
    yield temporary
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_jsonl(path: Path, records: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    """Write JSON lines atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
