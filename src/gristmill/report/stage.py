"""Stage `report`: a run → one self-contained HTML file. All text from pages and models is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader

from gristmill.errors import UserError
from gristmill.manifest import Manifest, write_text
from gristmill.recipe import Report
from gristmill.report.plot import number
from gristmill.report.sections import SECTIONS, manifest, percent

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
    sections = [section for tell in SECTIONS if (section := tell(inputs))]
    if not sections:
        raise UserError("no finished stage to report on", "run a recipe first: gristmill run RECIPE")
    headlines = []
    for stage, name, label in HEADLINES:
        found = manifest(inputs, stage)
        value = {**found.counts, **found.metrics}.get(name) if found else None
        if value is not None:
            headlines.append(
                (label, percent(value) if "_" in name and value <= 1 and "bpb" not in name else number(value))
            )
    environment = Environment(
        loader=PackageLoader("gristmill.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("page.html.jinja")
    title = next(iter(inputs.values())).resolve().parent.name
    write_text(out / "index.html", page.render(title=title, headlines=headlines, sections=sections))
    return Manifest(counts={"sections": len(sections), "bytes": (out / "index.html").stat().st_size})
