"""What a stage reports about its own work."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gristmill.files import write_text

MANIFEST = "manifest.json"
HEAVY = 1 / 3  # share of the documents whose loss is told
NO_DOCUMENT = frozenset(("unread_kind", "hidden", "own_run", "linked_twice", "not_a_file"))  # rules for other files
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
    folders: dict[str, str] = field(default_factory=dict)  # input name → folder read; `../NAME`: next to this one
    code: dict[str, str] = field(default_factory=dict)  # source file → digest; of a released package its version
    unmeasured: list[str] = field(default_factory=list)  # metrics that came out as no number: JSON has none
    outputs: dict[str, str] = field(default_factory=dict)  # file → sha256
    seconds: float = 0.0
    peak_rss_bytes: int = 0

    def write(self, folder: Path) -> None:
        """Write the manifest atomically: its presence means that the folder is complete.

        Raises ValueError naming the figures that are not finite, which JSON cannot hold.
        """
        figures = {**self.counts, **self.metrics, "seconds": self.seconds}
        if wrong := [name for name, value in figures.items() if not math.isfinite(value)]:
            raise ValueError(f"{self.stage or folder}: not finite: {', '.join(wrong)}")
        write_text(folder / MANIFEST, json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The folder's manifest, or None where the folder is missing or unfinished."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def heavy_loss(made: Manifest, folder: Path) -> str:
    """What to tell where a stage dropped over a third of the documents that came in: the rules to blame; else nothing.

    Files that are no documents (pictures, hidden files) do not count.
    """
    dropped = Counter({rule: count for rule, count in made.dropped.items() if rule not in NO_DOCUMENT})
    came = dropped.total() + made.counts.get("documents_out", 0)
    if "documents_in" not in made.counts or dropped.total() <= came * HEAVY:
        return ""
    rules = ", ".join(f"{rule} {count:,}" for rule, count in dropped.most_common(4)) + " …" * (len(dropped) > 4)
    worst = dropped.most_common(1)[0][0]
    shown = f"gristmill corpus sample {folder} --dropped-by {worst}" if made.stage != "extract" else ""
    share = dropped.total() / came
    return (
        f"warning: {made.stage} dropped {dropped.total():,} of {came:,} documents ({share:.0%}): {rules}\n"
        f"  look at them: {shown or folder / 'dropped.jsonl'}"
        + ("\n  for documents of your own: filter.rules = [], filter.languages = []" * (made.stage == "filter"))
        + ("\n  to take out exact copies only: dedup.near = false" * (worst == "near_copy"))
    )
