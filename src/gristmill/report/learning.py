"""The page that tells how one prompt was learned."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from gristmill.errors import UserError
from gristmill.files import write_text
from gristmill.inspection.predictions import moments, predictions, predictions_table
from gristmill.report.page import page
from gristmill.report.sections.single_steps import learned
from gristmill.report.sections.what_comes_next import expected
from gristmill.report.sections.where_it_looks import looked
from gristmill.tokenizer.encode import Tokenizer


def inspect(run: Path, prompt: str, out: Path, *, model: Path | None = None, tokenizer: Path | None = None) -> Table:
    """Write the page that tells of one prompt; returns what was expected after it, for the terminal.

    `model` and `tokenizer` are taken instead of the run's pretraining and tokenizer.

    Raises UserError where the run has no finished pretraining or the prompt is longer than the model's context.
    """
    if not run.is_dir():
        raise UserError(f"no run folder {run}", "check the path, or make one: gristmill run miniweb")
    folder = model or run / "pretrain"
    found, words = moments(folder), Tokenizer.load(tokenizer or run / "tokenizer")
    told = predictions(found, words, [prompt])
    sections = [expected(told, words, [prompt]), looked(folder, words, prompt), learned(found)]
    title = f"{run.resolve().name}: how “{prompt}” was learned"
    write_text(out, page(title, [section for section in sections if section]))
    return predictions_table(words, told[0])
