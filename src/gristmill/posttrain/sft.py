"""Stage `sft`: conversations → chat model, with loss on the assistant's turns only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from gristmill.chat.conversations import LeftOut, nothing_left, read_records, report, sifted
from gristmill.chat.layouts import answered
from gristmill.generation.engine import load_together
from gristmill.manifest import Manifest
from gristmill.model.loss import IGNORE, cross_entropy, token_logprobs, upload
from gristmill.model.transformer import Transformer
from gristmill.posttrain.examples import Order, batch_of, conversations_from_documents, example_of
from gristmill.processes import LEADER, RANK, SIZE
from gristmill.recipe import SFT
from gristmill.tokenizer.shards import open_split
from gristmill.training.data.loader import Loader
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.loop import best_device
from gristmill.training.optimizer import Rates
from gristmill.training.parallel import join
from gristmill.training.stage import run_job


def run(inputs: Mapping[str, Path], params: SFT, out: Path) -> Manifest:
    """Fine-tune the base model."""
    return run_job(prepare(inputs, params, out), out)


def share_of_loss(model: Transformer, inputs_BT: Tensor, targets_BT: Tensor, average: str = "token") -> Tensor:
    """This process's share of a batch's loss, whose rows are dealt out: the mean over tokens, or over rows' means."""
    counts_B = (targets_BT != IGNORE).sum(1)
    own, inputs_BT, targets_BT = counts_B[RANK::SIZE], inputs_BT[RANK::SIZE], targets_BT[RANK::SIZE]
    if average == "token":
        return cross_entropy(model, inputs_BT, targets_BT) * (int(own.sum()) / max(1, int(counts_B.sum())))
    device = model.embed.weight.device
    hidden_BTD, targets_BT = model.hidden(upload(inputs_BT, device)), upload(targets_BT, device)
    borne_BT = targets_BT != IGNORE
    weights_BT = (borne_BT / (len(counts_B) * own.clamp(min=1).to(device)[:, None]))[borne_BT]
    return -(token_logprobs(hidden_BTD[borne_BT], model.unembedding, targets_BT[borne_BT]) * weights_BT).sum()


def prepare(inputs: Mapping[str, Path], params: SFT, out: Path) -> Job:
    """The fine-tuning. Some pretraining text in every step keeps what was read from being forgotten."""
    join()
    torch.manual_seed(params.seed)
    model, tokenizer = load_together(inputs["model"], inputs["tokenizer"], best_device())
    source = Path(params.conversations) if params.conversations else None
    left_out: list[LeftOut] = []
    fitting = partial(example_of, tokenizer=tokenizer, context=model.config.context)
    if source:
        examples = list(read_records(source, lambda record: fitting(answered(record)), left_out))
    else:
        made = enumerate(conversations_from_documents(inputs["corpus"]), 1)
        examples = list(sifted(inputs["corpus"], made, fitting, left_out))
    if not examples:
        raise nothing_left(f"{source} holds no conversation", "give some", left_out)
    counts = {"conversations": len(examples)} | report("sft", left_out, out)
    order = Order(len(examples), params.batch, params.seed)
    split = open_split(inputs["tokens"], "train", tokenizer.hash)
    text = Loader(split, model.config.context, max(SIZE, order.batch // 8), params.seed)

    def loss(step: int) -> StepLoss:
        chosen = batch_of([examples[index] for index in order(step)])
        value = share_of_loss(model, *chosen, params.average)
        if params.replay:
            batch = text(step)
            replayed = share_of_loss(model, batch.inputs, batch.targets)
            value = (1 - params.replay) * value + params.replay * replayed
        return StepLoss(value, tokens(step) if LEADER else 0)

    def tokens(step: int) -> int:
        replayed = text.batch * text.context if params.replay else 0
        return replayed + sum(len(examples[index].ids) for index in order(step))

    steps = order.steps(params.epochs)
    plan = Plan(
        *("sft", steps, Rates.of(params).scaled(params.lr), params.warmup, 1.0),
        checkpoint_seconds=params.checkpoint_seconds,
        tokens=lambda: sum(map(tokens, range(steps))),
    )
    return Job(model, loss, plan, counts=counts)
