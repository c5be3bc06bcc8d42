"""What pretraining kept of its way: the model at some steps, and what the step after each did to its layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from gristmill.errors import UserError
from gristmill.manifest import Manifest, read_json
from gristmill.model.transformer import Transformer, load_model
from gristmill.progress import table
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training import snapshots

TOP = 5  # likeliest tokens that are told


@dataclass(frozen=True)
class Moment:
    """The model as it was before a step; the last is the finished one."""

    step: int
    folder: Path


@dataclass(frozen=True)
class Prediction:
    """What a model expects after a prompt."""

    step: int
    bits: float  # entropy of the distribution: 1 is a coin's, log2(vocabulary) that of knowing nothing
    top: list[tuple[int, float]]  # the likeliest tokens, with their probabilities


def moments(pretrain: Path) -> list[Moment]:
    """The snapshots of a finished pretraining, and its result; of a model that has none, itself alone.

    Raises UserError where pretraining has not finished.
    """
    made = Manifest.read(pretrain)
    if made is None and (pretrain / "model.json").exists():
        return [Moment(0, pretrain)]
    if made is None:
        raise UserError(f"{pretrain} holds no finished pretraining", "let the run reach its end: gristmill run RECIPE")
    kept = sorted((pretrain / snapshots.FOLDER).glob("step-*/model.json"))
    found = [Moment(int(path.parent.name.removeprefix("step-")), path.parent) for path in kept]
    return [*found, Moment(made.counts.get("steps", 0), pretrain)]


def prompt_ids(tokenizer: Tokenizer, prompt: str, model: Transformer) -> list[int]:
    """A prompt as the beginning of a document. Raises UserError where the model cannot read that much."""
    ids = [tokenizer.end_of_text, *tokenizer.encode(prompt)]
    if len(ids) > model.config.context:
        raise UserError(
            f"the text is {len(ids)} tokens long, the model reads at most {model.config.context}", "shorten it"
        )
    return ids


@torch.no_grad()
def predict(model: Transformer, ids: list[int], step: int) -> Prediction:
    """The distribution over the token that follows."""
    hidden = model.hidden(torch.tensor([ids], device=model.embed.weight.device))
    logs = model.logits(hidden[:, -1]).double().log_softmax(-1)[0]
    shares = logs.exp()
    likeliest = shares.topk(min(TOP, len(shares)))
    bits = float(-(shares * logs).sum() / torch.tensor(2.0).log())
    return Prediction(step, bits, list(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)))


def predictions(found: list[Moment], tokenizer: Tokenizer, prompts: list[str]) -> list[list[Prediction]]:
    """For every prompt, what the model expected after it at each moment. One model is in memory at a time."""
    told: list[list[Prediction]] = [[] for _ in prompts]
    for moment in found:
        model = load_model(moment.folder).eval()
        for prompt, row in zip(prompts, told, strict=True):
            row.append(predict(model, prompt_ids(tokenizer, prompt, model), moment.step))
    return told


def steps(found: list[Moment]) -> Iterator[dict[str, Any]]:
    """Of each snapshot the step that was taken from it: its loss, and by layer the norms of the gradient, of the
    weights and of their change.
    """
    for moment in found:
        if told := read_json(moment.folder / snapshots.STEP):
            yield told


def label(tokenizer: Tokenizer, token: int) -> str:
    """A token as people can read it: a space is shown as ␣, a new line as ⏎."""
    if token == tokenizer.end_of_text:
        return "‹end›"
    text = tokenizer.decode([token])
    for plain, shown in ((" ", "␣"), ("\n", "⏎"), ("\t", "⇥"), ("\r", "␍")):
        text = text.replace(plain, shown)
    return text or f"‹{token}›"


def likeliest(tokenizer: Tokenizer, one: Prediction) -> str:
    """The likeliest tokens with their probabilities: `␣the 0.310 · ␣a 0.120`."""
    shares = ((label(tokenizer, token), f"{share:.3f}" if share >= 0.0005 else "<0.001") for token, share in one.top)
    return " · ".join(map(" ".join, shares))


def predictions_table(tokenizer: Tokenizer, row: list[Prediction]) -> Table:
    """What was expected after one prompt, for a terminal."""
    rows = ((f"{one.step:,}", f"{one.bits:.2f}", likeliest(tokenizer, one)) for one in row)
    return table(("before step", "bits", "likeliest next tokens"), rows)
