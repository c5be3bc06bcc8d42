"""`run.json`: what the last run of a folder did with each stage, and why."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gristmill import __version__
from gristmill.errors import Damaged
from gristmill.files import sealed, sha256_file, unsealed, write_text
from gristmill.progress import warn
from gristmill.runs.fingerprint import Changes

JOURNAL, SUMMARY = "run.json", "summary.json"
RAN, SKIPPED, KEPT = "ran", "skipped", "kept-old"


class Journal:
    """Notes of one run, written after every stage; without a folder they are only counted."""

    def __init__(self, folder: Path | None) -> None:
        self.path = folder / JOURNAL if folder else None
        self.began = time.monotonic()
        self.content: dict[str, Any] = {
            "version": __version__,
            "started": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "seconds": 0.0,
            "finished": False,
            "stages": {},
        }
        for stage, entry in read_journal(folder).items() if folder else ():
            code = {"code": entry["code"]} if "code" in entry else {}
            self.content["stages"][stage] = {"did": "", "why": "this run has not reached it", **code}

    def note(self, stage: str, did: str, why: str, changed: Changes | None = None, code: str = "") -> None:
        """Note what was done with a stage. `code` is the digest of the code under which an old result was kept."""
        entry: dict[str, Any] = {"did": did, "why": why}
        if changed:
            entry["changed"] = {kind: names for kind, names in asdict(changed).items() if names}
        if code:
            entry["code"] = code
        self.content["stages"][stage] = entry
        self.write()

    def count(self, did: str) -> int:
        """With how many stages this was done."""
        return sum(entry["did"] == did for entry in self.content["stages"].values())

    def seconds(self) -> float:
        """How long this run has taken so far."""
        return time.monotonic() - self.began

    def write(self, finished: bool = False) -> None:
        """Write the file; at the end with the checksum of the summary."""
        self.content |= {"seconds": round(self.seconds(), 3), "finished": finished}
        if self.path:
            if finished:
                self.content["files"] = {SUMMARY: sha256_file(self.path.with_name(SUMMARY))}
            write_text(self.path, sealed(json.dumps(self.content, indent=2)))


def read_journal(folder: Path) -> dict[str, dict[str, Any]]:
    """What was noted of each stage; empty where nothing was, and, which is told, where the file is damaged."""
    try:
        stages: dict[str, dict[str, Any]] = unsealed(folder / JOURNAL, "")["stages"]
    except OSError:
        return {}
    except Damaged as error:
        warn(f"{error.problem}; what was noted in it counts for nothing")
        return {}
    return stages
