"""Stage `report`: a run → one self-contained HTML file. All text from pages and models is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gristmill.errors import UserError
from gristmill.files import write_json, write_text
from gristmill.manifest import Manifest
from gristmill.recipe import Report
from gristmill.report.headlines import headlines
from gristmill.report.page import page
from gristmill.report.sections.alignment import alignment
from gristmill.report.sections.arrived import arrived
from gristmill.report.sections.chat_training import chat_training
from gristmill.report.sections.dropped import dropped
from gristmill.report.sections.evaluated import evaluated
from gristmill.report.sections.how_made import how_made, newer
from gristmill.report.sections.learned_or_memorised import by_statements, learned_or_memorised
from gristmill.report.sections.memorised import memorised
from gristmill.report.sections.pretraining import pretraining
from gristmill.report.sections.same_prompt import same_prompt
from gristmill.report.sections.single_steps import stepped
from gristmill.report.sections.text_and_tasks import heldout_sources, task_scores
from gristmill.report.sections.vocabulary import vocabulary
from gristmill.report.sections.what_comes_next import predicted
from gristmill.report.sections.where_it_looks import attended

SECTIONS = (  # in the order of the journey
    *(arrived, dropped, vocabulary, pretraining, predicted, attended, stepped, chat_training, alignment),
    *(same_prompt, evaluated, task_scores, heldout_sources, memorised, learned_or_memorised, newer, how_made),
)
LEAD = (
    "One run of gristmill, from pages to an assistant, in the order in which it happened: what came in, what was "
    "dropped, how text became tokens, what was learned from them, how the model came to answer, what it knows, what it "
    "memorised, and how all of it was made. Terms are explained where they first occur."
)


def run(inputs: Mapping[str, Path], params: Report, out: Path) -> Manifest:
    """Write `index.html` from the folders of those stages that have run, and `by_statements.json`, what is known and
    what is memorised by how often the text says it. Raises UserError where no stage has run."""
    told = [section for tell in SECTIONS if (section := tell(inputs))]
    if not told:
        raise UserError("no finished stage to report on", "run a recipe first: gristmill run RECIPE")
    name = next(iter(inputs.values())).resolve().parent.name
    title = f"{name}: what was learned, and from where"
    write_text(out / "index.html", page(title, told, headlines(inputs), LEAD))
    if curves := by_statements(inputs):
        write_json(out / "by_statements.json", curves)
    return Manifest(counts={"sections": len(told), "bytes": (out / "index.html").stat().st_size})
