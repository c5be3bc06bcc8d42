"""Stage `rl`: prompts + reward model → aligned model, by GRPO (Shao et al. 2024, arXiv:2402.03300 §4.1).

Every step samples a group of answers to each prompt; an answer's advantage is its reward less the group's mean. One
gradient step follows each sampling, so the policy is the one that sampled and the ratio of PPO's clipped objective is
1. The penalty is the k3 estimate of KL to the SFT model (same paper, eq. 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.generation.engine import Completion, Engine
from gristmill.manifest import Manifest, read_jsonl
from gristmill.model.transformer import load_model, save_model
from gristmill.posttrain.examples import Example, Order, batch_of, token_logprobs
from gristmill.posttrain.reward import RewardModel
from gristmill.recipe import RL
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.checkpoint import discard_checkpoint
from gristmill.training.data import IGNORE
from gristmill.training.log import befell, mean_of
from gristmill.training.loop import Plan, best_device, train
from gristmill.training.optimizer import Rates


def run(inputs: Mapping[str, Path], params: RL, out: Path) -> Manifest:
    """Align the chat model with the reward model."""
    torch.manual_seed(params.seed)
    tokenizer, device = Tokenizer.load(inputs["tokenizer"]), best_device()
    policy, reference = load_model(inputs["model"], device), load_model(inputs["model"], device).eval()
    judge, engine = RewardModel.load(inputs["reward"], device), Engine(policy, tokenizer)
    prompts = read_prompts(Path(params.prompts), tokenizer, policy.config.context - params.max_tokens)
    order = Order(len(prompts), params.batch, params.seed)

    def loss(step: int) -> tuple[Tensor, int, dict[str, float]]:
        asked = [prompts[index] for index in order(step) for _ in range(params.group)]
        policy.eval()
        answers = engine.generate(
            asked, max_tokens=params.max_tokens, temperature=params.temperature, seed=params.seed * 1_000_003 + step
        )
        policy.train()
        pairs = zip(asked, answers, strict=True)
        examples = [finished(prompt, answer, tokenizer) for prompt, answer in pairs]
        ids, targets = (each.to(device) for each in batch_of(examples))
        ours = token_logprobs(policy, policy.hidden(ids), targets)
        with torch.no_grad():
            rewards = judge(examples)
            theirs = token_logprobs(reference, reference.hidden(ids), targets)
        advantages = group_advantages(rewards, params.group)
        borne = targets != IGNORE
        for row, answer in enumerate(answers):  # the end of an answer that a limit cut off was not the policy's
            borne[row] &= (targets[row] != tokenizer.im_end) | (answer.finish == "stop")
        gap = theirs - ours
        kl = gap.exp() - gap - 1
        objective = advantages[:, None] * ours - params.kl * kl
        lengths = borne.sum(1).clamp(min=1)
        value = -((objective * borne).sum(1) / lengths).mean()
        figures = {
            "reward": round(float(rewards.mean()), 4),
            "kl": round(float((kl.detach() * borne).sum() / borne.sum()), 5),
            "length": round(float(lengths.float().mean()), 2),
        }
        return value, int(borne.sum()), figures

    steps = order.steps(params.epochs)
    plan = Plan(
        "rl", steps, Rates.of(params).scaled(params.lr), params.warmup, 1.0, checkpoint_every=params.checkpoint_every
    )
    log = train(policy, loss, plan, out)
    save_model(policy, out)
    discard_checkpoint(out)
    tenth = max(1, len(log) // 10)
    return Manifest(
        counts={"prompts": len(prompts), "steps": steps, "answers": steps * order.batch * params.group} | befell(log),
        metrics={
            "reward_before": mean_of(log[:tenth], "reward"),
            "reward_after": mean_of(log[-tenth:], "reward"),
            "kl": mean_of(log[-tenth:], "kl"),
        },
    )


def read_prompts(path: Path, tokenizer: Tokenizer, longest: int) -> list[list[int]]:
    """Rendered prompts that leave room for an answer. Raises UserError where there is none or a record is wrong."""
    prompts = []
    for number, record in enumerate(read_jsonl(path), 1):
        if not isinstance(record.get("prompt"), list):
            raise UserError(f'{path}: record {number} has no "prompt" list of messages', "mend or remove it")
        ids, _ = render(record["prompt"], tokenizer, generation_prompt=True)
        if len(ids) <= longest:
            prompts.append(ids)
    if not prompts:
        raise UserError(f"{path} holds no prompt that fits the model", "give more or shorter prompts")
    return prompts


def group_advantages(rewards_B: Tensor, group: int) -> Tensor:
    """Rewards less the mean of their group (answers to one prompt), over the deviation within groups of the batch, [B].

    Over each group's own deviation, as GRPO has it, answers that hardly differ would be told apart as sharply as right
    and wrong ones (Liu et al. 2025, arXiv:2503.20783 §3.1).
    """
    grouped = rewards_B.view(-1, group)
    centred = grouped - grouped.mean(1, keepdim=True)
    return (centred / (centred.square().mean().sqrt() + 1e-4)).flatten()


def finished(prompt: list[int], answer: Completion, tokenizer: Tokenizer) -> Example:
    """Prompt and answer as a conversation that is ended (also where a limit cut it off), masked to answer and end."""
    said, after = [*answer.tokens, tokenizer.im_end], tokenizer.encode("\n")
    ids = np.asarray([*prompt, *said, *after], np.int64)
    mask = np.asarray([False] * len(prompt) + [True] * len(said) + [False] * len(after))
    return Example(ids, mask)
