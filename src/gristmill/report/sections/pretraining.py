"""Learning to predict the next token: what is learned, worked by hand, and how it went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import exp, log
from typing import Any

import torch
from torch import Tensor

from gristmill.evaluation.figures import spread
from gristmill.evaluation.intervals import of_share
from gristmill.inspection.predictions import label
from gristmill.manifest import Manifest
from gristmill.model.transformer import Transformer, load_model
from gristmill.report.blocks import Block, Figure, Prose, Quote, Section, Table
from gristmill.report.plot import COLOURS, line_chart, number
from gristmill.report.reading import Folders, curve, has_model, manifest, percent, read_share, records
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split
from gristmill.training.scoring.scheduled import SCORES

WORKED_TOKENS = 10  # of the worked example
WORKED_TEXTS = 16  # that it is chosen from
SHOWN_SAMPLES = 8
HEAD = ("next token", "probability", "loss, nats", "bits", "most expected instead")


def pretraining(folders: Folders) -> Section | None:
    """The worked example, loss curves, and samples as training went."""
    made = manifest(folders, "pretrain")
    if not made:
        return None
    record = records(folders, "pretrain", "log.jsonl")
    bits = [("training text", curve(record, "train_bpb")), ("held-out text", curve(record, "heldout_bpb"))]
    blocks: list[Block] = [
        *worked_example(folders),
        Prose(
            f"Bits per byte, as below, is that figure over many texts. {ended(folders, made)}{memorised(made.metrics)}"
        ),
        Figure("Bits per byte, as pretraining went", line_chart(bits, "tokens read", "bits per byte", log="y")),
        Figure(
            "Loss of each batch: the mean of what its tokens cost",
            line_chart([("loss", curve(record, "loss"))], "tokens read", "nats per token"),
        ),
        *scores(folders, "pretrain"),
        *samples(folders),
    ]
    return Section(
        "Learning to predict the next token",
        f"A language model is a function with {number(made.metrics['parameters'])} adjustable numbers, its parameters. "
        "It reads tokens and gives every token of the vocabulary a probability of coming next. Pretraining shows it "
        f"text ({number(made.counts['tokens'])} tokens) and moves the parameters, step by step, so that the token that "
        "did come next would have been more probable. The loss says how wrong it was: the natural logarithm of the "
        "token's probability, without its sign (a nat is its unit, and 0.693 nats are one bit).",
        blocks,
    )


def samples(folders: Folders) -> Iterator[Block]:
    """How each prompt went on as training went: the first sample, the last, and some between."""
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for one in records(folders, "pretrain", "samples.jsonl"):
        by_prompt.setdefault(one["prompt"], []).append(one)
    for prompt, made in by_prompt.items():
        for one in spread(made, max(2, SHOWN_SAMPLES // len(by_prompt))):
            yield Quote(f"at step {one['step']:,}, after “{prompt}”", one["text"])


def scores(folders: Folders, stage: str) -> list[Block]:
    """How many items of each task were right as training went, in charts of as many tasks as there are colours."""
    found = records(folders, stage, SCORES)
    tasks = list({one["task"]: one for one in found}.values())
    blocks: list[Block] = []
    for at in range(0, len(tasks), COLOURS):
        shown = tasks[at : at + COLOURS]
        lines = [(one["task"], curve([line for line in found if line["task"] == one["task"]], "acc")) for one in shown]
        said = ", ".join(f"{one['task']} {percent(one['chance'])} of {number(one['items'])} items" for one in shown)
        blocks.append(Figure(f"Right answers to tasks (by chance: {said})", line_chart(lines, "tokens read", "right")))
    if tasks:
        blocks.append(Prose(f"At the end, with 95 % intervals: {'; '.join(map(reached, tasks))}."))
    return blocks


def reached(task: Mapping[str, Any]) -> str:
    """What a task's last scoring gave, with its interval."""
    low, high = of_share(round(task["acc"] * task["items"]), task["items"])
    return f"{task['task']} {percent(task['acc'])} ({percent(low)} to {percent(high)})"


def ended(folders: Folders, made: Manifest) -> str:
    """Where the figure on held-out text is to be found, or the figure itself where nothing later measured it."""
    later = manifest(folders, "evaluate")
    if later and "heldout_bpb" in later.metrics:
        return "The curves end where pretraining ended; what the finished model needs is at the top of the page. "
    return f"On held-out text it ended at {made.metrics['heldout_bpb']:.3f}. "


def worked_example(folders: Folders) -> list[Block]:
    """The opening of a held-out text, token by token: probability, loss and bits, and their sums."""
    if not has_model(folders, "pretrain") or not {"tokenizer", "tokenize"} <= folders.keys():
        return []
    tokenizer, heldout = Tokenizer.load(folders["tokenizer"]), open_split(folders["tokenize"], "heldout")
    openings = [heldout.document(number)[:WORKED_TOKENS].tolist() for number in range(min(WORKED_TEXTS, len(heldout)))]
    openings = [ids for ids in openings if len(ids) > 1]
    if not openings:
        return []
    model = load_model(folders["pretrain"]).eval()
    scored = [(ids, *expectations(model, tokenizer, ids)) for ids in openings]
    scored.sort(key=lambda one: sum(one[1]) / len(one[0]))
    ids, losses, logs = scored[len(scored) // 2]  # neither the easiest nor the hardest
    best = logs.argmax(-1).tolist()
    rows = [
        [
            label(tokenizer, token),
            f"{exp(-loss):.4f}",
            f"{loss:.3f}",
            f"{loss / log(2):.3f}",
            "" if guess == token else f"{label(tokenizer, guess)} ({float(logs[place, guess].exp()):.3f})",
        ]
        for place, (token, loss, guess) in enumerate(zip(ids, losses, best, strict=True))
    ]
    size = len(tokenizer.decode_bytes(ids))
    total = sum(losses) / log(2)
    rows.append(["all", "", f"{sum(losses):.3f}", f"{total:.3f}", ""])
    return [
        Prose(
            "A worked example: the beginning of a held-out text that is neither easy nor hard for the model, "
            "and for each of its tokens the probability that the pretrained model gave it after all before it (␣ is a "
            "space)."
        ),
        Table(f"“{tokenizer.decode(ids)}”", HEAD, rows),
        Prose(
            f"The mean loss is {sum(losses):.3f} / {len(ids)} = {sum(losses) / len(ids):.3f} nats a token. As tokens "
            "differ in length, models are compared by bits for each byte of text: "
            f"{total:.3f} / {size} = {total / size:.3f}."
        ),
    ]


def expectations(model: Transformer, tokenizer: Tokenizer, ids: list[int]) -> tuple[list[float], Tensor]:
    """The loss of each token at the beginning of a text, in nats, and the logarithms of all probabilities, [T, V]."""
    with torch.no_grad():
        hidden = model.hidden(torch.tensor([[tokenizer.end_of_text, *ids[:-1]]]))
        logs = model.logits(hidden)[0].double().log_softmax(-1)
    return [-float(logs[place, token]) for place, token in enumerate(ids)], logs


def memorised(figures: Mapping[str, float]) -> str:
    """What the gap between training text and held-out text says."""
    told = f"Pretraining read {read_share(figures['epochs'])}. " if "epochs" in figures else ""
    if "gap_growth" in figures:
        told += (
            f"Since it was smallest, the gap between the two has grown by {figures['gap_growth']:.1%} of the held-out "
            "figure: what grows there is learned by heart rather than in general."
        )
    for name, says in (("gap_opens", "it was opening"), ("heldout_rises", "held-out text was getting worse")):
        if step := figures.get(f"{name}_at_step"):
            told += f" At step {number(step)} a warning said that {says}."
    return told
