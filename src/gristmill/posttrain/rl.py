"""Stage `rl`: prompts + reward model → aligned model, by GRPO (Shao et al. 2024, arXiv:2402.03300 §4.1).

Every step samples a group of answers to each prompt; an answer's advantage is its reward less the group's mean. One
gradient step follows each sampling, so the policy is the one that sampled and the ratio of PPO's clipped objective is
1. The penalty is the k3 estimate of KL to the SFT model (same paper, eq. 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from gristmill.chat.conversations import LeftOut, TooLong, nothing_left, read_records, report
from gristmill.chat.layouts import Record, asked
from gristmill.chat.template import render
from gristmill.generation.engine import Engine, load_together
from gristmill.manifest import Manifest
from gristmill.model.kernels import fast_products
from gristmill.model.loss import IGNORE
from gristmill.model.transformer import load_model
from gristmill.posttrain.examples import Order, fork, token_logprobs
from gristmill.posttrain.losses import group_advantages
from gristmill.posttrain.reward import RewardModel
from gristmill.recipe import RL
from gristmill.settings.choices import refuse_no_room
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.log import LogLine, mean_of
from gristmill.training.loop import best_device
from gristmill.training.optimizer import Rates
from gristmill.training.stage import conclude, run_job


def run(inputs: Mapping[str, Path], params: RL, out: Path) -> Manifest:
    """Align the chat model with the reward model."""
    return run_job(prepare(inputs, params, out), out, finish)


def prepare(inputs: Mapping[str, Path], params: RL, out: Path) -> Job:
    """The alignment: its loss samples answers, has them rewarded, and compares them within their group."""
    torch.manual_seed(params.seed)
    device = best_device()
    policy, tokenizer = load_together(inputs["model"], inputs["tokenizer"], device)
    reference = load_model(inputs["model"], device).eval()
    judge, engine = RewardModel.load(inputs["reward"], device), Engine(policy, tokenizer)
    context, left_out = policy.config.context, list[LeftOut]()
    refuse_no_room(params.max_tokens, context)
    prompts = read_prompts(Path(params.prompts), tokenizer, context - params.max_tokens, left_out)
    counts = {"prompts": len(prompts)} | report("rl", left_out, out)
    order = Order(len(prompts), params.batch, params.seed)

    def loss(step: int) -> StepLoss:
        asked = [prompts[index] for index in order(step)]
        policy.eval()
        with fast_products(False):  # sampling comes in a shape for every number of answers still going
            answers = engine.generate(
                asked,
                max_tokens=params.max_tokens,
                temperature=params.temperature,
                seed=params.seed * 1_000_003 + step,
                samples=params.group,
            )
        policy.train()
        said = [[*answer.tokens, tokenizer.im_end] for answer in answers]  # also where a limit cut it off
        batch = fork(asked, [said[at : at + params.group] for at in range(0, len(said), params.group)], engine.device)
        ours = token_logprobs(policy, batch.hidden(policy), batch.targets_PT)
        with torch.no_grad():
            rewards = judge(batch)
            theirs = token_logprobs(reference, batch.hidden(reference), batch.targets_PT)
        cut_off = torch.tensor([answer.finish != "stop" for answer in answers], device=engine.device)
        borne = batch.targets_PT != IGNORE
        borne &= (batch.targets_PT != tokenizer.im_end) | ~cut_off[batch.answer_PT]  # that end was not the policy's
        gap = theirs - ours
        kl = batch.mean(gap.exp() - gap - 1, borne)
        value = -(group_advantages(rewards, params.group, "batch") * batch.mean(ours, borne) - params.kl * kl).mean()
        figures = {
            "reward": round(float(rewards.mean()), 4),
            "kl": round(float(kl.detach().mean()), 5),
            "length": round(float(borne.sum() / len(answers)), 2),
        }
        return StepLoss(value, int(borne.sum()), figures)

    steps = order.steps(params.epochs)
    plan = Plan(
        *("rl", steps, Rates.of(params).scaled(params.lr), params.warmup, 1.0),
        checkpoint_seconds=params.checkpoint_seconds,
    )
    counts["answers"] = steps * order.batch * params.group
    return Job(policy, loss, plan, counts=counts)


def finish(job: Job, log: list[LogLine], out: Path) -> Manifest:
    """Write the aligned model; what it was rewarded with before and after, and how far it went from where it began."""
    tenth = max(1, len(log) // 10)
    metrics = {
        "reward_before": mean_of(log[:tenth], "reward"),
        "reward_after": mean_of(log[-tenth:], "reward"),
        "kl": mean_of(log[-tenth:], "kl"),
    }
    return conclude(job, log, out, metrics)


def read_prompts(path: Path, tokenizer: Tokenizer, longest: int, left_out: list[LeftOut]) -> list[list[int]]:
    """Rendered prompts that leave room for an answer. A record that is none, or is too long, joins `left_out`.

    Raises UserError where no prompt is left.
    """

    def read(record: Record) -> list[int]:
        ids, _ = render(asked(record), tokenizer, generation_prompt=True)
        if len(ids) > longest:
            raise TooLong(len(ids), longest)
        return ids

    prompts = list(read_records(path, read, left_out))
    if not prompts:
        raise nothing_left(f"{path} holds no prompt", "give some", left_out)
    return prompts
