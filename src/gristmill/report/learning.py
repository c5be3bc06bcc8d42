"""How a model came to know: what it expected at each snapshot, where its heads look, and what single steps did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from gristmill.errors import UserError
from gristmill.inspection.attention import attention
from gristmill.inspection.moments import (
    Moment,
    Prediction,
    label,
    likeliest,
    moments,
    predictions,
    prompt_ids,
    steps,
    table,
)
from gristmill.manifest import write_text
from gristmill.model.transformer import load_model
from gristmill.report.page import page
from gristmill.report.plot import COLOURS, bar_chart, head_maps, number, share_chart
from gristmill.report.sections import Folders, Section, Table, manifest, spread
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split

SHOWN_TOKENS = 12  # of a text, its last ones, in pictures of attention
SHOWN_LAYERS = 4  # in the report of a run
LONGEST_LABEL = 12  # characters of a token
EXPECTS = (
    "After each text, what the model expects as the next token, at some steps of its training. It begins with an even "
    "guess over the whole vocabulary, first learns how often each token occurs, then what follows what. A bar is all "
    "of the probability, its parts the likeliest tokens (␣ is a space), blank what is left to thousands of others; "
    "bits are what is still open, one bit being a coin's."
)
LOOKS = (
    "In every layer each head mixes into a token what it takes from those before. A row is the token that looks, a "
    "column what it looks at; the stronger the colour, the more. Heads that look at the token before, at the "
    "beginning, or at the same word further back come about by themselves: nothing but the loss asks for them."
)
LEARNS = (
    "A perceptron (Rosenblatt, 1958) learns from its mistakes: where its answer is wrong, each weight moves so that "
    "the answer becomes less wrong. That works for one layer only, as no one says what a layer further in should have "
    "answered. Backpropagation (Rumelhart, Hinton and Williams, 1986) follows the chain rule from the loss backwards, "
    "layer by layer, and so tells for every weight how the loss would change with it. The length of a layer's numbers "
    "is its gradient norm; the optimizer makes a step of them, and the update is how far the layer's weights moved, as "
    "a share of their own length. Where what a layer says is still multiplied by weights that are zero, no blame gets "
    "past them: the gradient of what lies behind is smaller, or zero, until they have moved."
)


def expected(told: Sequence[Sequence[Prediction]], tokenizer: Tokenizer, prompts: Sequence[str]) -> Section:
    """What the model expected after each prompt, over the training."""
    section = Section("What comes next", EXPECTS)
    for prompt, row in zip(prompts, told, strict=True):
        bars = [
            (f"step {one.step:,}", [(label(tokenizer, token), share) for token, share in one.top[:COLOURS]])
            for one in row
        ]
        section.figures.append((f"What the model expects after “{prompt}”", share_chart(bars, f"after {prompt}")))
        cells = [[f"{one.step:,}", f"{one.bits:.2f}", likeliest(tokenizer, one)] for one in row]
        section.tables.append(Table(f"After “{prompt}”", ("before step", "bits", "likeliest tokens"), cells))
    return section


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
        section.figures.append((told, head_maps(shares[layer], names, f"attention in layer {layer + 1}")))
    return section


def learned(found: Sequence[Moment]) -> Section | None:
    """What single steps did to each layer; None where nothing was kept of any."""
    told = list(steps(list(found)))
    if not told:
        return None
    one = told[len(told) // 2]
    head = ("layer", *(f"step {step['step']:,}" for step in told))
    section = Section("From the perceptron to backpropagation", LEARNS)
    for caption, name in (
        ("Gradient norm by layer", "gradient"),
        ("Update by layer, of its weights' length", "update"),
    ):
        bars = [(layer["name"], [("", value(layer, name))]) for layer in one["layers"]]
        section.figures.append(
            (f"{caption}, at step {one['step']:,} (loss {one['loss']:.3f})", bar_chart(bars, caption))
        )
        rows = [
            [layer["name"], *(number(value(step["layers"][place], name)) for step in told)]
            for place, layer in enumerate(one["layers"])
        ]
        section.tables.append(Table(f"{caption}, from step to step", head, rows))
    section.tables.append(Table("Loss of the step's batch", head[1:], [[f"{step['loss']:.3f}" for step in told]]))
    return section


def value(layer: dict[str, Any], name: str) -> float:
    """A layer's gradient norm, or its update as a share of its weights."""
    if name == "gradient":
        return float(layer["gradient"])
    return float(f"{layer['update'] / layer['weight']:.4g}") if layer.get("weight") else 0.0


def prediction_section(folders: Folders) -> Section | None:
    """For the report of a run: what was expected after the recipe's sample prompts."""
    made = manifest(folders, "pretrain")
    prompts = made.params.get("sample_prompts") if made else None
    if not prompts or "tokenizer" not in folders or not has_model(folders):
        return None
    tokenizer = Tokenizer.load(folders["tokenizer"])
    return expected(predictions(moments(folders["pretrain"]), tokenizer, prompts), tokenizer, prompts)


def attention_section(folders: Folders) -> Section | None:
    """For the report: where the heads look in the opening of a text that the model never trained on."""
    if not {"tokenizer", "tokenize"} <= folders.keys() or not has_model(folders):
        return None
    tokenizer, heldout = Tokenizer.load(folders["tokenizer"]), open_split(folders["tokenize"], "heldout")
    opening: list[int] = heldout.document(0)[:-1][: SHOWN_TOKENS - 1].tolist() if len(heldout) else []
    return looked(folders["pretrain"], tokenizer, tokenizer.decode(opening), SHOWN_LAYERS)


def step_section(folders: Folders) -> Section | None:
    """For the report: what single steps of pretraining did."""
    return learned(moments(folders["pretrain"])) if has_model(folders) else None


def has_model(folders: Folders) -> bool:
    """Whether there is a pretrained model to look into."""
    return "pretrain" in folders and (folders["pretrain"] / "model.json").exists()


def inspect(run: Path, prompt: str, out: Path) -> RichTable:
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
