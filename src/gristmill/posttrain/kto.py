"""Stage `kto`: answers that are good or bad, each for itself → aligned model (Ethayarajh et al. 2024,
arXiv:2402.01306)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from gristmill.chat.conversations import LeftOut, TooLong, nothing_left, read_records, report
from gristmill.chat.layouts import Record, judged
from gristmill.chat.template import with_answer
from gristmill.manifest import Manifest
from gristmill.model.transformer import load_model
from gristmill.posttrain.dpo import scores
from gristmill.posttrain.examples import Judged, planned
from gristmill.posttrain.losses import kto
from gristmill.processes import RANK, SIZE
from gristmill.progress import warn
from gristmill.recipe import KTO
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.data.answers import fork
from gristmill.training.job import Job, StepLoss
from gristmill.training.loop import best_device
from gristmill.training.parallel import total
from gristmill.training.stage import begun, run_job


def run(inputs: Mapping[str, Path], params: KTO, out: Path) -> Manifest:
    """Make good answers likelier and bad ones less likely, next to what they were."""
    return run_job(prepare(inputs, params, out), out)


def prepare(inputs: Mapping[str, Path], params: KTO, out: Path) -> Job:
    """The training. What answers are compared with is the divergence from the first model, estimated on each prompt
    with the answer to the next one in the batch (§4.2 of the paper)."""
    model, tokenizer = begun(inputs, params.seed)
    reference, device = load_model(inputs["model"], best_device()).eval(), model.embed.weight.device
    left_out: list[LeftOut] = []
    answered = read_judged(Path(params.preferences), tokenizer, model.config.context, left_out)
    good = sum(one.good for one in answered)
    counts = {"good": good, "bad": len(answered) - good} | report("kto", left_out, out)
    if good in (0, len(answered)):
        told = f"kto: every answer is {'good' if good else 'bad'}: there is none to tell them from; give both kinds"
        warn(told)
    order, plan = planned("kto", answered, params, inputs["model"])

    def loss(step: int) -> StepLoss:
        chosen = [answered[index] for index in order(step)]
        places = range(len(chosen))[RANK::SIZE]
        own = [chosen[place] for place in places]
        following = [chosen[(place + 1) % len(chosen)].answer for place in places]
        room = [model.config.context - len(one.prompt) for one in own]
        others = [answer[:most] for answer, most in zip(following, room, strict=True)]
        prompts = [one.prompt for one in own]
        answers = fork(prompts, [[one.answer] for one in own], device)
        both = fork(prompts, [[one.answer, other] for one, other in zip(own, others, strict=True)], device)
        with torch.no_grad():
            before, mismatched = scores(reference, both).view(-1, 2).unbind(1)
            apart = scores(model, fork(prompts, [[other] for other in others], device)) - mismatched
        divergence = max(0.0, total(float(apart.sum()))[0] / len(chosen))
        marks = torch.tensor([one.good for one in own], device=device)
        weights = torch.where(marks, params.good_weight, params.bad_weight)
        each = kto(scores(model, answers) - before, marks, divergence, params.beta, weights)
        return StepLoss(each.sum() / len(chosen), sum(one.tokens for one in own), {"kl": round(divergence, 5)})

    return Job(model, loss, plan, counts=counts)


def read_judged(path: Path, tokenizer: Tokenizer, context: int, left_out: list[LeftOut]) -> list[Judged]:
    """Good and bad answers, of a pair one each. A record that holds none, or does not fit, joins `left_out`.

    Raises UserError where none is left.
    """

    def read(record: Record) -> list[Judged]:
        found = [Judged(*with_answer(prompt, said, tokenizer), good) for prompt, said, good in judged(record)]
        if (longest := max(one.tokens for one in found)) > context:
            raise TooLong(longest, context)
        return found

    answers = [one for found in read_records(path, read, left_out) for one in found]
    if not answers:
        raise nothing_left(f"{path} holds no answer that is good or bad", "give some", left_out)
    return answers
