"""The page that tells how one prompt was learned."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from gristmill.errors import UserError
from gristmill.inspection.moments import moments, predictions, table
from gristmill.manifest import write_text
from gristmill.report.page import page
from gristmill.report.sections.single_steps import learned
from gristmill.report.sections.what_comes_next import expected
from gristmill.report.sections.where_it_looks import looked
from gristmill.tokenizer.encode import Tokenizer


def inspect(run: Path, prompt: str, out: Path) -> Table:
    """Write the page that tells of one prompt; returns what was expected after it, for the terminal.

    Raises UserError where the run has no finished pretraining or the prompt is longer than the model's context.
    """
    if not run.is_dir():
        raise UserError(f"no run folder {run}", "make one first: gristmill run recipes/miniweb.toml")
    found, tokenizer = moments(run / "pretrain"), Tokenizer.load(run / "tokenizer")
    told = predictions(found, tokenizer, [prompt])
    sections = [expected(told, tokenizer, [prompt]), looked(run / "pretrain", tokenizer, prompt), learned(found)]
    title = f"{run.resolve().name}: how “{prompt}” was learned"
    write_text(out, page(title, [section for section in sections if section]))
    return table(tokenizer, told[0])
