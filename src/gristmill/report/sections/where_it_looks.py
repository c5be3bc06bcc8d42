"""Where the heads of a model look while it reads a text."""

from __future__ import annotations

from pathlib import Path

from gristmill.evaluation.figures import spread
from gristmill.inspection.attention import attention
from gristmill.inspection.predictions import label, prompt_ids
from gristmill.model.transformer import load_model
from gristmill.report.blocks import Figure, Section
from gristmill.report.plot import head_maps
from gristmill.report.reading import Folders, has_model
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split

SHOWN_TOKENS = 12  # of a text, its last ones, in pictures of attention
SHOWN_LAYERS = 4  # in the report of a run
LONGEST_LABEL = 12  # characters of a token
LOOKS = (
    "In every layer each head mixes into a token what it takes from those before. A row is the token that looks, a "
    "column what it looks at; the stronger the colour, the more. Heads that look at the token before, at the "
    "beginning, or at the same word further back come about by themselves: nothing but the loss asks for them."
)


def looked(model_folder: Path, tokenizer: Tokenizer, text: str, most: int = 0) -> Section:
    """Where each head of a model looks while it reads a text; in `most` layers, or all."""
    model = load_model(model_folder).eval()
    ids = prompt_ids(tokenizer, text, model)
    names = [label(tokenizer, token)[:LONGEST_LABEL] for token in ids][-SHOWN_TOKENS:]
    last = f" (the last {SHOWN_TOKENS} tokens)" if len(ids) > SHOWN_TOKENS else ""
    section = Section("Where it looks", LOOKS)
    shares = attention(model, ids)[:, :, -SHOWN_TOKENS:, -SHOWN_TOKENS:].tolist()
    for layer in spread(range(len(shares)), most or len(shares)):
        told = f"Layer {layer + 1} of {len(shares)}, each of its heads{last}"
        drawing = head_maps(shares[layer], names, f"attention in layer {layer + 1}")
        section.blocks.append(Figure(told, drawing))
    return section


def attended(folders: Folders) -> Section | None:
    """For the report: where the heads look in the opening of a text that the model never trained on."""
    if not {"tokenizer", "tokenize"} <= folders.keys() or not has_model(folders, "pretrain"):
        return None
    tokenizer, heldout = Tokenizer.load(folders["tokenizer"]), open_split(folders["tokenize"], "heldout")
    opening: list[int] = heldout.document(0)[:-1][: SHOWN_TOKENS - 1].tolist() if len(heldout) else []
    return looked(folders["pretrain"], tokenizer, tokenizer.decode(opening), SHOWN_LAYERS)
