"""What the model expected to come next, at each snapshot of its training."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.inspection.predictions import Prediction, label, likeliest, moments, predictions
from gristmill.report.blocks import Figure, Section, Table
from gristmill.report.plot import COLOURS, share_chart
from gristmill.report.reading import Folders, has_model, manifest
from gristmill.tokenizer.encode import Tokenizer

EXPECTS = (
    "After each text, what the model expects as the next token, at some steps of its training. It begins with an even "
    "guess over the whole vocabulary, first learns how often each token occurs, then what follows what. A bar is all "
    "of the probability, its parts the likeliest tokens (␣ is a space), blank what is left to all others. Bits "
    "are the uncertainty that remains (entropy): one bit is that of a thrown coin."
)


def expected(told: Sequence[Sequence[Prediction]], tokenizer: Tokenizer, prompts: Sequence[str]) -> Section:
    """What the model expected after each prompt, over the training."""
    section = Section("What comes next", EXPECTS)
    for prompt, row in zip(prompts, told, strict=True):
        bars = [
            (f"step {one.step:,}", [(label(tokenizer, token), share) for token, share in one.top[:COLOURS]])
            for one in row
        ]
        drawing = share_chart(bars, f"after {prompt}")
        section.blocks.append(Figure(f"What the model expects after “{prompt}”", drawing))
        cells = [[f"{one.step:,}", f"{one.bits:.2f}", likeliest(tokenizer, one)] for one in row]
        section.blocks.append(Table(f"After “{prompt}”", ("before step", "bits", "likeliest tokens"), cells))
    return section


def predicted(folders: Folders) -> Section | None:
    """For the report of a run: what was expected after the recipe's sample prompts."""
    made = manifest(folders, "pretrain")
    prompts = made.params.get("sample_prompts") if made else None
    if not prompts or "tokenizer" not in folders or not has_model(folders, "pretrain"):
        return None
    tokenizer = Tokenizer.load(folders["tokenizer"])
    return expected(predictions(moments(folders["pretrain"]), tokenizer, prompts), tokenizer, prompts)
