"""Stage `sft`: conversations → chat model, with loss on the assistant's turns only.

It begins with the pretrained model, or with one by others (`init_from`). Held-out conversations show whether it
overfits; held-out text, where there are tokens, how much of what was read it forgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gristmill.chat.chatml import thinks_first, untold
from gristmill.chat.conversations import LeftOut, nothing_left, read_records, report, sifted
from gristmill.chat.layouts import Messages, answered
from gristmill.chat.template import APART
from gristmill.errors import UserError
from gristmill.generation.engine import load_together
from gristmill.manifest import Manifest
from gristmill.model.formats.gguf_format import read_foreign_model
from gristmill.model.lora import ADAPTER, attach, merge, read_adapter, write_adapter
from gristmill.model.loss import IGNORE, bits_per_byte, cross_entropy, token_logprobs, upload
from gristmill.model.transformer import Transformer, save_model
from gristmill.posttrain.examples import (
    Example,
    conversations_from_documents,
    examples_of,
    heldout_pages,
    ordered,
    packed,
    refuse_pages,
)
from gristmill.posttrain.rates import factor
from gristmill.processes import LEADER, RANK, SIZE
from gristmill.progress import console, counted, warn
from gristmill.recipe import SFT
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_hf import adopt, check_tokens
from gristmill.tokenizer.formats.vocabulary_files import OVER
from gristmill.tokenizer.shards import open_split
from gristmill.training.data.loader import Batch, Loader
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.log import LogLine, mean_of
from gristmill.training.loop import best_device
from gristmill.training.optimizer import Rates
from gristmill.training.overfitting import TUNING
from gristmill.training.parallel import from_leader, join
from gristmill.training.scoring.scheduled import tasks_of
from gristmill.training.stage import conclude, last_tenth, run_job

LORA_RATE = 0.01  # of adapters by AdamW, times lr, where adamw_lr is not set
SCORINGS = 10  # of held-out conversations while training
MOST_SCORED, AT_ONCE = 200, 16  # conversations of each kind in one, and together
FEWEST = 8  # held-out conversations that a warning of overfitting may rest on
TEXT_TOKENS = 20_000  # held-out tokens that show what is forgotten


def run(inputs: Mapping[str, Path], params: SFT, out: Path) -> Manifest:
    """Fine-tune the base model; without conversations, one by others is taken as it is, for the stages after this."""
    if as_it_is(inputs, params):
        return taken(inputs, params, out)
    return run_job(prepare(inputs, params, out), out, finish)


def as_it_is(inputs: Mapping[str, Path], params: SFT) -> bool:
    """Whether there is a model by others, and nothing to tune it on."""
    return bool(params.init_from and not params.conversations and "corpus" not in inputs)


def taken(inputs: Mapping[str, Path], params: SFT, out: Path) -> Manifest:
    """Write a model by others as it is, or with adapters merged."""
    join()
    model, _ = beginning(inputs, params, out)
    if params.lora_from:
        read_adapter(model, Path(params.lora_from))
        merge(model)
    if LEADER:
        save_model(model, out)
        merged = ", with its adapters merged" if params.lora_from else ""
        warn(f"           no conversations: the model is taken as it is{merged}")
    return Manifest(counts={"conversations": 0, "steps": 0})


def share_of_loss(model: Transformer, examples: Sequence[Example], average: str) -> Tensor:
    """This process's share of the loss of a batch that is dealt out: the mean over tokens, or over answers' means."""
    own = examples[RANK::SIZE]
    rows, device = packed(own), model.embed.weight.device
    if average == "token":
        loss = cross_entropy(model, rows.inputs_PT, rows.targets_PT, starts_BT=rows.starts_PT)
        return loss * (borne(own) / max(1, borne(examples)))
    inputs_PT, targets_PT, starts_PT, weights_PT = (upload(part, device) for part in rows)
    borne_PT, hidden_PTD = targets_PT != IGNORE, model.hidden(inputs_PT, mask=starts_PT)
    logprobs = token_logprobs(hidden_PTD[borne_PT], model.unembedding, targets_PT[borne_PT])
    return -(logprobs * weights_PT[borne_PT]).sum() / len(examples)


def share_of_text(model: Transformer, batch: Batch) -> Tensor:
    """The same of rows of text."""
    own = slice(RANK, None, SIZE)
    loss = cross_entropy(model, batch.inputs[own], batch.targets[own], starts_BT=batch.starts(own))
    return loss * (batch.predicted(own) / max(1, batch.predicted()))


def borne(examples: Sequence[Example]) -> int:
    """How many tokens count in the loss."""
    return sum(int(example.mask[1:].sum()) for example in examples)


def prepare(inputs: Mapping[str, Path], params: SFT, out: Path) -> Job:
    """The fine-tuning. Some pretraining text in every step keeps what was read from being forgotten."""
    join()
    torch.manual_seed(params.seed)
    model, tokenizer = beginning(inputs, params, out)
    examples, heldout, counts = read_examples(inputs, params, tokenizer, model.config.context, out)
    order, steps = ordered(len(examples), params)
    text = None
    if "tokens" in inputs:
        split = open_split(inputs["tokens"], "train", tokenizer.hash)
        text = Loader(split, model.config.context, max(SIZE, order.batch // 8), params.seed) if params.replay else None
    elif params.replay:
        warn("           no tokens: no text is replayed, what is forgotten is not measured")

    def loss(step: int) -> StepLoss:
        value = share_of_loss(model, [examples[index] for index in order(step)], params.average)
        if text:
            value = (1 - params.replay) * value + params.replay * share_of_text(model, text(step))
        return StepLoss(value, tokens(step) if LEADER else 0)

    def tokens(step: int) -> int:
        replayed = text.batch * text.context if text else 0
        return replayed + sum(len(examples[index].ids) for index in order(step))

    rates = Rates.of(params)
    if params.lora_from:
        if "model" in inputs and Path(params.lora_from).resolve().parent == inputs["model"].resolve():
            problem = f"the adapters in {params.lora_from} are merged into {inputs['model']} already"
            raise UserError(problem, "name the model that they were trained on, or leave out sft.lora_from")
        read_adapter(model, Path(params.lora_from))
    elif params.lora_rank:
        attach(model, params.lora_rank, params.lora_alpha, params.lora_targets)
    if not all(weight.requires_grad for weight in model.parameters()):
        counts["trained_parameters"] = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        rates = replace(rates, adamw=rates.adamw or LORA_RATE)
    plan = Plan(
        *("sft", steps, rates.scaled(factor(params, inputs.get("model")))),
        warmup=params.warmup,
        decay=0.0 if params.swa else 1.0,
        swa=params.swa,
        checkpoint_seconds=params.checkpoint_seconds,
        tokens=lambda: sum(map(tokens, range(steps))),
    )
    evaluate = scoring(model, examples, heldout, inputs.get("tokens"), steps)
    every = max(1, steps // SCORINGS)
    watch = TUNING if len(heldout) >= FEWEST else replace(TUNING, warnings=lambda _: {})
    tasks = tasks_of(params, model, tokenizer, steps, every)
    return Job(model, loss, plan, evaluate, every, counts, watch, tasks)


def beginning(inputs: Mapping[str, Path], params: SFT, out: Path) -> tuple[Transformer, Tokenizer]:
    """The model to begin with, and its tokenizer; that of a model by others is written to `out` where the recipe has
    learned none. Raises UserError where there is no model, or tokenizer and model do not belong together."""
    if not params.init_from:
        if not {"model", "tokenizer"} <= inputs.keys():
            told = "no tokenizer for its model" if "model" in inputs else "no model to begin with"
            raise UserError(f"sft has {told}", "give the folders of pretrain and tokenizer, or --set init_from=MODEL")
        return load_together(inputs["model"], inputs["tokenizer"], best_device())
    source = Path(params.init_from)
    if "tokenizer" not in inputs:
        from_leader(lambda: adopt(source, out / "tokenizer.json"))
    tokenizer = Tokenizer.load(inputs.get("tokenizer", out))
    check_tokens(source, tokenizer)
    return read_foreign_model(source, tokenizer.vocab_size).to(best_device()), tokenizer


def read_examples(
    inputs: Mapping[str, Path], params: SFT, tokenizer: Tokenizer, context: int, out: Path
) -> tuple[list[Example], list[Example], dict[str, int]]:
    """The conversations that are learned and those that only measure, as examples, and how many of each there are.
    Raises UserError where none is left."""
    left_out, thoughts = list[LeftOut](), list[bool]()

    def fitting(messages: Messages) -> list[Example]:
        made = examples_of(messages, tokenizer, context)
        thoughts.append(any(map(thinks_first, messages)))
        return made

    source = Path(params.conversations) if params.conversations else inputs.get("corpus")
    if source is None:
        raise UserError(
            "sft has no conversations", "name them: --set conversations=FILE; or give the folder of documents"
        )
    if params.conversations:
        held = heldout_pages(inputs.get("tokens"))
        found = read_records(source, lambda record: fitting(answered(refuse_pages(record, held))), left_out)
    else:
        made = enumerate(conversations_from_documents(source, inputs.get("tokens")), 1)
        found = sifted(((source, number, messages) for number, messages in made), fitting, left_out)
    kept: tuple[list[list[Example]], list[list[Example]]] = ([], [])
    for conversation in found:  # all of one on the same side
        kept[conversation[0].held_out(params.heldout)].append(conversation)
    learned, heldout = kept if kept[0] else kept[::-1]  # a single one is learned
    if left_out and not learned and not params.conversations:
        raise UserError(
            f"no conversation that is made of {source} fits: of the first, {left_out[0].why}",
            "train the model with a longer pretrain.context, or name conversations of your own in sft.conversations",
        )
    if not learned:
        raise nothing_left(f"{source} holds no conversation", "give some", left_out)
    counts = {"conversations": len(learned), "heldout_conversations": len(heldout)}
    examples, measured = ([one for made in part for one in made] for part in (learned, heldout))
    if len(examples) + len(measured) > len(thoughts):
        counts |= {"examples": len(examples), "heldout_examples": len(measured)}
        told = f"{counted(len(thoughts), 'conversations')} are {len(examples) + len(measured):,} examples"
        console.print(f"           {told}: {APART}")
    if OVER not in tokenizer.shown and (count := sum(thoughts)):
        counts["thoughts_as_text"] = count
        warn(f"caution: sft: {'; '.join(untold(count))}")
    return examples, measured, counts | report("sft", left_out, out)


def scoring(
    model: Transformer, examples: Sequence[Example], heldout: Sequence[Example], tokens: Path | None, steps: int
) -> Callable[[int], dict[str, Any]]:
    """What measures the model while it trains: the loss on some conversations of both kinds, and at the beginning and
    the end held-out text."""
    text = open_split(tokens, "heldout") if tokens else None

    def evaluate(step: int) -> dict[str, Any]:
        figures = {}
        if heldout:
            figures["heldout_loss"] = round(loss_on(model, heldout[:MOST_SCORED]), 5)
            figures["train_loss"] = round(loss_on(model, examples[:MOST_SCORED]), 5)
        if text and step in (0, steps):
            figures["text_bpb"] = round(bits_per_byte(model, text, TEXT_TOKENS), 5)
        return figures

    return evaluate


@torch.no_grad()
def loss_on(model: Transformer, examples: Sequence[Example]) -> float:
    """Mean loss of the tokens that count, in nats."""
    nats, count, ordered = 0.0, 0, sorted(examples, key=lambda example: len(example.ids))
    for at in range(0, len(ordered), AT_ONCE):
        part = ordered[at : at + AT_ONCE]
        rows = packed(part)
        loss = float(cross_entropy(model, rows.inputs_PT, rows.targets_PT, starts_BT=rows.starts_PT))
        nats, count = nats + loss * borne(part), count + borne(part)
    return nats / max(1, count)


def finish(job: Job, log: list[LogLine], out: Path) -> Manifest:
    """Write the model; the loss at the end, on held-out conversations too, and what of its text it has forgotten."""
    metrics = {"loss": mean_of(last_tenth(log), "loss")}
    for name in ("heldout_loss", "text_bpb"):
        values = [record[name] for record in log if name in record]
        metrics |= {f"{name}_before": values[0], f"{name}_after": values[-1]} if values else {}
    metrics |= {f"{name}_at_step": step for name, step in job.watch.warnings(log).items()}
    if "trained_parameters" in job.counts:
        if LEADER:
            write_adapter(job.model, out / ADAPTER, "the model that sft began with")
        merge(job.model)
    return conclude(job, log, out, metrics)
