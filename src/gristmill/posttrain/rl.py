"""Stage `rl`: prompts + reward model → aligned model, by GRPO (Shao et al. 2024, arXiv:2402.03300 §4.1).

Every step samples a group of answers to each prompt; an answer's advantage is its reward less the group's mean, over
the group's standard deviation. One gradient step follows each sampling, so the policy is the one that sampled and
the ratio of PPO's clipped objective is 1. The penalty is the k3 estimate of KL to the SFT model (same paper, eq. 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.generation.engine import Completion, Engine
from gristmill.manifest import Manifest, read_jsonl
from gristmill.model.transformer import Transformer, load_model, save_model
from gristmill.posttrain.examples import Order
from gristmill.posttrain.reward import RewardModel
from gristmill.recipe import RL
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.data import IGNORE, padded
from gristmill.training.loop import Plan, best_device, discard_checkpoint, train
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
        with torch.no_grad():
            rewards = judge(
                [conversation(prompt, answer, tokenizer) for prompt, answer in zip(asked, answers, strict=True)]
            )
        advantages = group_advantages(rewards, params.group)
        rows, masks = answer_rows(asked, answers, tokenizer)
        ids, targets = padded(rows, masks)
        ids, targets = ids.to(device), targets.to(device)
        ours = token_logprobs(policy, ids, targets)
        with torch.no_grad():
            theirs = token_logprobs(reference, ids, targets)
        borne = targets != IGNORE
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
        counts={"prompts": len(prompts), "steps": steps, "answers": steps * order.batch * params.group},
        metrics={
            "reward_before": float(np.mean([record["reward"] for record in log[:tenth]])),
            "reward_after": float(np.mean([record["reward"] for record in log[-tenth:]])),
            "kl": float(np.mean([record["kl"] for record in log[-tenth:]])),
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
    """Rewards normalised within each group of answers to one prompt, [B]."""
    grouped = rewards_B.view(-1, group)
    centred = grouped - grouped.mean(1, keepdim=True)
    return (centred / (grouped.std(1, keepdim=True) + 1e-4)).flatten()


def answer_rows(
    prompts: Sequence[list[int]], answers: Sequence[Completion], tokenizer: Tokenizer
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Prompt and answer as one row, masked to the answer (its end included, where the model ended it)."""
    rows, masks = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        said = [*answer.tokens, *([tokenizer.im_end] if answer.finish == "stop" else [])]
        rows.append(np.asarray([*prompt, *said], np.int64))
        masks.append(np.asarray([False] * len(prompt) + [True] * len(said)))
    return rows, masks


def conversation(prompt: list[int], answer: Completion, tokenizer: Tokenizer) -> np.ndarray:
    """The finished conversation as the reward model was trained to see it."""
    return np.asarray([*prompt, *answer.tokens, tokenizer.im_end, *tokenizer.encode("\n")], np.int64)


def token_logprobs(model: Transformer, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Log-probability of each target, [B, T]; 0 where the target is IGNORE."""
    logprobs = model(ids_BT).log_softmax(-1)
    borne = targets_BT != IGNORE
    return logprobs.gather(2, targets_BT.where(borne, 0)[..., None])[..., 0] * borne
