"""The page that tells how one prompt was learned."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from gristmill.inspection.predictions import moments, predictions, predictions_table
from gristmill.report.page import page
from gristmill.report.sections.single_steps import learned
from gristmill.report.sections.what_comes_next import expected
from gristmill.report.sections.where_it_looks import looked
from gristmill.tokenizer.encode import Tokenizer


def inspect(name: str, prompt: str, model: Path, tokenizer: Path) -> tuple[Table, str]:
    """What was expected after one prompt, for the terminal; and the page that tells of it.

    `model` is the folder of a pretraining in the run called `name`, or of another model. Raises UserError where it has
    not finished or the prompt is longer than the model's context.
    """
    found, words = moments(model), Tokenizer.load(tokenizer)
    told = predictions(found, words, [prompt])
    sections = [expected(told, words, [prompt]), looked(model, words, prompt), learned(found)]
    text = page(f"{name}: how “{prompt}” was learned", [section for section in sections if section])
    return predictions_table(words, told[0]), text
