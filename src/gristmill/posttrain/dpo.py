"""Stage `dpo`: preference pairs → aligned model, without a reward model (Rafailov et al. 2023, arXiv:2305.18290)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from gristmill.chat.conversations import LeftOut, report
from gristmill.manifest import Manifest
from gristmill.model.transformer import Transformer, load_model
from gristmill.posttrain.examples import Pair, planned
from gristmill.posttrain.losses import dpo
from gristmill.posttrain.reward import Preferring, read_pairs
from gristmill.processes import RANK, SIZE
from gristmill.recipe import DPO
from gristmill.training.data.answers import Answers, fork
from gristmill.training.job import StepLoss
from gristmill.training.log import LogLine, mean_of
from gristmill.training.loop import best_device
from gristmill.training.parallel import total
from gristmill.training.stage import begun, conclude, last_tenth, run_job


def run(inputs: Mapping[str, Path], params: DPO, out: Path) -> Manifest:
    """Make the chosen answers likelier than the rejected ones, next to what they were."""
    return run_job(prepare(inputs, params, out), out, finish)


def prepare(inputs: Mapping[str, Path], params: DPO, out: Path) -> Preferring:
    """The training: its loss compares each pair's log-probabilities with those of the model that it began with."""
    model, tokenizer = begun(inputs, params.seed)
    reference = load_model(inputs["model"], best_device()).eval()
    left_out: list[LeftOut] = []
    pairs, heldout = read_pairs(Path(params.preferences), tokenizer, model.config.context, left_out)
    counts = {"pairs": len(pairs), "heldout_pairs": len(heldout)} | report("dpo", left_out, out)
    order, plan = planned("dpo", pairs, params, inputs["model"])
    compared = partial(margins, model, reference, params.per_token)

    def loss(step: int) -> StepLoss:
        chosen = order(step)
        own = [pairs[index] for index in chosen[RANK::SIZE]]
        ours, theirs = compared(own)
        each = dpo(ours, theirs, params.beta, params.smoothing)
        right = total(float((ours > theirs).sum()))[0] / len(chosen)
        return StepLoss(each.sum() / len(chosen), sum(pair.tokens for pair in own), {"accuracy": round(right, 4)})

    return Preferring(model, loss, plan, counts=counts, compared=compared, train_pairs=pairs, heldout_pairs=heldout)


def finish(job: Preferring, log: list[LogLine], out: Path) -> Manifest:
    """Write the model, and how often it moved towards the chosen answer of pairs that it never saw."""
    metrics = {"loss": mean_of(last_tenth(log), "loss")}
    if job.heldout_pairs:
        metrics["heldout_accuracy"] = job.accuracy(job.heldout_pairs)
    return conclude(job, log, out, metrics)


def margins(
    model: Transformer, reference: Transformer, per_token: bool, pairs: Sequence[Pair]
) -> tuple[Tensor, Tensor]:
    """By how much the chosen answers' log-probabilities are above the rejected ones', in model and reference."""
    device = model.embed.weight.device
    answers = fork([prompt for prompt, *_ in pairs], [both for _, *both in pairs], device)
    with torch.no_grad():
        theirs = scores(reference, answers, per_token)
    ours = scores(model, answers, per_token)
    return ours[::2] - ours[1::2], theirs[::2] - theirs[1::2]


def scores(model: Transformer, answers: Answers, per_token: bool = False) -> Tensor:
    """The log-probability of each answer, or its mean over tokens, [B]."""
    logprobs = answers.logprobs(model, answers.hidden(model))
    return answers.means(logprobs) if per_token else answers.sums(logprobs)
