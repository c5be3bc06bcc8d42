"""Stage `rl`: prompts + reward → aligned model. One loop asks, rewards and learns; GRPO, RLOO or PPO says how.

Every batch of prompts is answered by the policy as it is then, and `updates` gradient steps are made on the answers:
the objectives' ratios are to the policy that sampled. Prompts whose truth is known are held out, by a hash, and
asked on the way: whether the truth is served is measured there, not by the reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gristmill.chat.conversations import LeftOut, TooLong, nothing_left, read_records, report
from gristmill.chat.layouts import Record, asked
from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.inputs.text_files import named
from gristmill.manifest import Manifest
from gristmill.model.transformer import Transformer, load_model
from gristmill.posttrain.drift import ALIKE, WATCH, warnings
from gristmill.posttrain.examples import Order
from gristmill.posttrain.grpo import GRPO
from gristmill.posttrain.losses import divergence
from gristmill.posttrain.ppo import PPO
from gristmill.posttrain.rates import tuning
from gristmill.posttrain.reward import RewardModel, held_out
from gristmill.posttrain.rewards import Judge, Prompt, check_truth, exact, judge_by, judge_with, read_function
from gristmill.posttrain.rloo import RLOO
from gristmill.posttrain.rollouts import Objective, Rollout, Rollouts
from gristmill.processes import RANK, SIZE
from gristmill.progress import counted, warn
from gristmill.recipe import RL
from gristmill.settings.choices import refuse_no_room
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.job import Job, StepLoss
from gristmill.training.log import LogLine, mean_of
from gristmill.training.loop import best_device
from gristmill.training.parallel import total
from gristmill.training.stage import begun, conclude, run_job

METHODS: dict[str, type[Objective]] = {"grpo": GRPO, "rloo": RLOO, "ppo": PPO}
MOST_HELD_OUT = 200  # prompts
EVALUATIONS = 10  # on the way


@dataclass(kw_only=True)
class Alignment(Job):
    """An RL training."""

    policy: Transformer
    extra: dict[str, float] = field(default_factory=dict)  # more figures for the manifest


def run(inputs: Mapping[str, Path], params: RL, out: Path) -> Manifest:
    """Align the chat model with what is rewarded."""
    return run_job(prepare(inputs, params, out), out, finish)


def prepare(inputs: Mapping[str, Path], params: RL, out: Path) -> Alignment:
    """The alignment: its loss samples answers, has them rewarded, and compares them."""
    policy, tokenizer = begun(inputs, params.seed)
    reference = load_model(inputs["model"], best_device()).eval()
    engine, left_out = Engine(policy, tokenizer), list[LeftOut]()
    refuse_no_room(params.max_tokens, policy.config.context)
    longest = policy.config.context - params.max_tokens
    match = "" if params.reward else params.match
    prompts, heldout = read_prompts(Path(params.prompts), tokenizer, longest, left_out, match)
    judge, truth, extra = judges(inputs, params, tokenizer, prompts)
    rollout, objective = Rollout(engine, reference, judge, params), METHODS[params.method](policy, params)
    order = Order(len(prompts), params.batch, params.seed)
    counts = {"prompts": len(prompts), "heldout_prompts": len(heldout)}
    counts |= report("rl", left_out, out)
    steps = order.steps(params.epochs) * params.updates
    counts["answers"] = steps // params.updates * order.batch * params.group
    plan = tuning("rl", steps, params, inputs["model"], unit=params.updates)
    asking = Asking(rollout, objective, prompts, order, params)
    evaluate = (lambda _: scored(engine, heldout, truth, params.max_tokens)) if heldout else None
    every = -(-steps // EVALUATIONS // params.updates) * params.updates
    return Alignment(
        *(objective.model, asking.loss, plan, evaluate, every, counts), watch=WATCH, policy=policy, extra=extra
    )


def judges(
    inputs: Mapping[str, Path], params: RL, tokenizer: Tokenizer, prompts: Sequence[Prompt]
) -> tuple[Judge, Judge, dict[str, float]]:
    """What rewards answers, what says how good they are on prompts that are held out, and figures for the manifest.

    Raises UserError where nothing can be rewarded.
    """
    right = judge_by(exact(params.declines, params.match), tokenizer)
    if params.reward:
        own = judge_by(read_function(params.reward), tokenizer, params.reward)
        return own, own, {}
    if "reward" in inputs:
        model = RewardModel.load(inputs["reward"], best_device())
        return judge_with(model, tokenizer), right, {"likelihood_weight": float(model.likelihood.detach())}
    unknown = sum(prompt.truth is None for prompt in prompts)
    if unknown == len(prompts):
        raise UserError(
            f'nothing rewards the answers to {params.prompts}: no prompt has a "truth"',
            "add a [reward] table, or give the folder of reward; or name a function: --set rl.reward=FILE.py:NAME; or "
            "give the prompts their truth",
        )
    if unknown:
        told = (
            f"rl: {counted(unknown, 'prompts')} of {len(prompts):,} without a truth: whatever answers counts as wrong"
        )
        warn(f"{told}, and only declining does not")
    return right, right, {}


class Asking:
    """The loss of each step: the first of a batch's steps asks."""

    def __init__(
        self, rollout: Rollout, objective: Objective, prompts: Sequence[Prompt], order: Order, params: RL
    ) -> None:
        self.rollout, self.objective, self.prompts = rollout, objective, prompts
        self.order, self.params = order, params
        self.number = -1  # of the batch at hand
        self.batch: Rollouts | None = None

    def loss(self, step: int) -> StepLoss:
        """This process's share of it."""
        number, update = divmod(step, self.params.updates)
        fresh = self.number != number or update == 0 or self.batch is None
        if fresh:
            chosen = [self.prompts[index] for index in self.order(number)]
            self.batch, self.number = self.rollout(chosen, self.params.seed * 1_000_003 + number), number
        batch, policy = self.batch, self.rollout.policy
        assert batch is not None
        hidden = batch.answers.hidden(policy)
        new = self.rollout.logprobs(policy, batch.answers, hidden)
        if fresh:
            batch.old_BA = new.detach()
            with torch.no_grad():
                self.objective.begin(batch, hidden.detach())
        value = self.objective.loss(batch, new, hidden)
        return StepLoss(value, int(batch.answers.mask_BA.sum()), self.figures(batch, new.detach(), fresh))

    @torch.no_grad()
    def figures(self, batch: Rollouts, new: torch.Tensor, fresh: bool) -> dict[str, float]:
        """For the log. Entropy is estimated by what was sampled, in nats a token."""
        answers = batch.answers
        kl, said = answers.means(divergence(new, batch.reference_BA)), answers.sums(-batch.old_BA)
        moved = ((new - batch.old_BA).exp() - 1).abs() > self.params.clip
        apart, surprise, clipped, count, tokens = total(
            *(float(kl.sum()), float(said.sum()), float((moved * answers.mask_BA).sum())),
            *(len(kl), float(answers.mask_BA.sum())),
        )
        found = {"kl": round(apart / count, 5)}
        if not fresh:
            return found | {"clipped": round(clipped / max(1.0, tokens), 5)}
        told = {name: round(value, 4) for name, value in batch.figures.items()}
        return told | found | {"entropy": round(surprise / max(1.0, tokens), 5)}


def scored(engine: Engine, prompts: Sequence[Prompt], truth: Judge, max_tokens: int) -> dict[str, Any]:
    """How good the likeliest answers to held-out prompts are, on average."""
    own = prompts[RANK::SIZE]
    found = engine.generate([prompt.ids for prompt in own], max_tokens=max_tokens)
    values = truth(own, [answer.tokens for answer in found]) if own else torch.zeros(0)
    summed, right = total(float(values.sum()), float((values > 0).sum()))
    return {"truth": round(summed / len(prompts), 4), "right": round(right / len(prompts), 4)}


def finish(job: Alignment, log: list[LogLine], out: Path) -> Manifest:
    """Write the aligned model; what it was rewarded with before and after, how far it went, and what was odd."""
    asked_at = [record for record in log if "reward" in record]
    if 0 < len(asked_at) < ALIKE and all(record.get("equal") == 1.0 for record in asked_at):
        warn("rl: all answers to each prompt were rewarded alike: there was nothing to learn from")
    tenth = max(1, len(asked_at) // 10)
    metrics = {
        "reward_before": mean_of(asked_at[:tenth], "reward"),
        "reward_after": mean_of(asked_at[-tenth:], "reward"),
        "kl": mean_of(asked_at[-tenth:], "kl"),
    }
    truths = [record for record in log if "truth" in record]
    if truths:
        metrics |= {f"{name}_before": truths[0][name] for name in ("truth", "right")}
        metrics |= {f"{name}_after": truths[-1][name] for name in ("truth", "right")}
    metrics |= {f"{name}_at_step": step for name, step in warnings(log).items()}
    job.model = job.policy  # what an objective needs besides is not part of it
    return conclude(job, log, out, metrics | job.extra)


def read_prompts(
    path: Path, tokenizer: Tokenizer, longest: int, left_out: list[LeftOut], match: str = ""
) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts that leave room for an answer, and those with a truth that are held out. A record that is none, is too
    long, or has a truth that answers cannot be compared with as `match` does, joins `left_out`. Raises UserError where
    no prompt is left.
    """

    def read(record: Record) -> Prompt:
        messages = asked(record)
        ids, _ = render(messages, tokenizer, generation_prompt=True)
        if len(ids) > longest:
            raise TooLong(len(ids), longest)
        truth = named(record).get("truth")
        if match:
            check_truth(truth, match)
        return Prompt(ids, messages, truth)

    splits: tuple[list[Prompt], list[Prompt]] = ([], [])
    for prompt in read_records(path, read, left_out):
        away = prompt.truth is not None and len(splits[1]) < MOST_HELD_OUT and held_out(prompt.messages)
        splits[away].append(prompt)
    if not splits[0]:
        raise nothing_left(f"{path} holds no prompt", "give some", left_out)
    return splits
