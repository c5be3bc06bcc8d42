"""Stage `report`: a run → one self-contained HTML file. All text from pages and models is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gristmill.errors import UserError
from gristmill.manifest import Manifest, write_text
from gristmill.recipe import Report
from gristmill.report import learning, sections
from gristmill.report.page import page
from gristmill.report.plot import number
from gristmill.report.sections import manifest, percent

SECTIONS = (
    sections.funnel,
    sections.cleaning,
    sections.tokenizer,
    sections.pretraining,
    learning.prediction_section,
    learning.attention_section,
    learning.step_section,
    sections.posttraining,
    sections.evaluation,
    sections.audit,
    sections.provenance,
)

HEADLINES = (
    ("crawl", "pages", "pages crawled"),
    ("dedup", "documents_out", "documents kept"),
    ("pretrain", "tokens", "tokens read"),
    ("pretrain", "parameters", "parameters"),
    ("evaluate", "heldout_bpb", "held-out bits per byte"),
    ("evaluate", "answerable_accuracy", "right answers"),
    ("evaluate", "unanswerable_declined", "unknowns declined"),
    ("audit", "extractable_fraction", "completed word for word"),
)


def run(inputs: Mapping[str, Path], params: Report, out: Path) -> Manifest:
    """Write `index.html` from the folders of those stages that have run. Raises UserError where none has."""
    told = [section for tell in SECTIONS if (section := tell(inputs))]
    if not told:
        raise UserError("no finished stage to report on", "run a recipe first: gristmill run RECIPE")
    headlines = []
    for stage, name, label in HEADLINES:
        found = manifest(inputs, stage)
        value = {**found.counts, **found.metrics}.get(name) if found else None
        if value is not None:
            headlines.append(
                (label, percent(value) if "_" in name and value <= 1 and "bpb" not in name else number(value))
            )
    name = next(iter(inputs.values())).resolve().parent.name
    write_text(out / "index.html", page(f"{name}: what was learned, and from where", told, headlines))
    return Manifest(counts={"sections": len(told), "bytes": (out / "index.html").stat().st_size})
