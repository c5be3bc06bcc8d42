"""What post-training minimises, as pure functions of log-probabilities, rewards and values.

Shape letters: B answers of at most T tokens, P pairs of answers. `mask_BT` is 1 on an answer's tokens, 0 after its end.
Log-probabilities are in nats. Losses come for each pair, answer or token; `average` and a mean make a number of them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Over = Literal["answer", "token", "limit"]
Scale = Literal["group", "batch", "none"]
Level = Literal["token", "answer"]
TINY = 1e-4  # next to a deviation that divides


class Whole(NamedTuple):
    """What a step averages over, all processes together."""

    answers: float
    tokens: float
    limit: int = 1  # tokens that an answer may have


def average(values_BT: Tensor, mask_BT: Tensor, over: Over, whole: Whole | None = None) -> Tensor:
    """This process's share in the mean of tokens' values: over each answer, then over answers (GRPO, arXiv:2402.03300
    eq. 3); over all tokens (DAPO, arXiv:2503.14476 §3.3); or over as many as the answers might have (Dr. GRPO,
    arXiv:2503.20783 §3.2)."""
    whole = whole or Whole(len(mask_BT), float(mask_BT.sum()))
    sums_B = (values_BT * mask_BT).sum(1)
    if over == "answer":
        return (sums_B / mask_BT.sum(1).clamp(min=1)).sum() / whole.answers
    return sums_B.sum() / (max(1.0, whole.tokens) if over == "token" else whole.answers * whole.limit)


def bradley_terry(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """Loss of each pair: -log sigmoid of the difference of rewards (Ouyang et al. 2022, arXiv:2203.02155 eq. 1)."""
    return -F.logsigmoid(chosen_P - rejected_P)


def dpo(margin_P: Tensor, reference_P: Tensor, beta: float, smoothing: float = 0.0) -> Tensor:
    """Loss of each pair, from by how much the chosen answer's log-probability is above the rejected one's in the policy
    and in the reference (Rafailov et al. 2023, arXiv:2305.18290 eq. 7). `smoothing` is the share of the pairs that are
    taken to be the wrong way round (conservative DPO, https://ericmitchell.ai/cdpo.pdf eq. 3). With log-probabilities a
    token it is length-normalised DPO (Tülu 3, arXiv:2411.15124 §5.1.2)."""
    logits_P = beta * (margin_P - reference_P)
    return -(1 - smoothing) * F.logsigmoid(logits_P) - smoothing * F.logsigmoid(-logits_P)


def kto(ratios_B: Tensor, good_B: Tensor, divergence: Tensor | float, beta: float, weights: Tensor | None) -> Tensor:
    """Loss of each answer, from its log-probability less the reference's: 1 - sigmoid(±beta · (ratio - divergence)),
    times its weight (Ethayarajh et al. 2024, arXiv:2402.01306 eq. 7). `divergence` is at least 0 and has no gradient.
    """
    signs_B = 2.0 * good_B.to(ratios_B.dtype) - 1
    losses_B = 1 - torch.sigmoid(signs_B * beta * (ratios_B - divergence))
    return losses_B if weights is None else losses_B * weights


def surrogate(
    new_BT: Tensor,
    old_BT: Tensor,
    advantages: Tensor,
    mask_BT: Tensor,
    clip: tuple[float, float],
    level: Level = "token",
) -> Tensor:
    """PPO's clipped loss of each token, [B, T] (Schulman et al. 2017, arXiv:1707.06347 eq. 7).

    Advantages are those of answers, [B], or of tokens. `clip` is how far the ratio may be below and above 1
    (clip-higher, arXiv:2503.14476 §3.1). At the level of answers each token has the geometric mean of its answer's
    ratios (GSPO, arXiv:2507.18071 eq. 7).
    """
    log_ratio_BT = (new_BT - old_BT) * mask_BT
    if level == "answer":
        mean_B1 = log_ratio_BT.sum(1, keepdim=True) / mask_BT.sum(1, keepdim=True).clamp(min=1)
        log_ratio_BT = mean_B1.expand_as(log_ratio_BT)
    ratio_BT = log_ratio_BT.exp()
    advantages = advantages[:, None] if advantages.ndim == 1 else advantages
    return -torch.minimum(ratio_BT * advantages, ratio_BT.clamp(1 - clip[0], 1 + clip[1]) * advantages)


def divergence(new_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """The k3 estimate of KL(new ‖ reference) at each sampled token: never below 0 (arXiv:2402.03300 eq. 4)."""
    gap_BT = reference_BT - new_BT
    return gap_BT.exp() - gap_BT - 1


def group_advantages(rewards_B: Tensor, group: int, scale: Scale = "group") -> Tensor:
    """Rewards less the mean of their group (answers to one prompt), [B], over a deviation: that of the group (GRPO,
    arXiv:2402.03300 §4.1.2), or that within groups over the whole batch, or none (Dr. GRPO, arXiv:2503.20783 §3.2).

    Over each group's own, answers that hardly differ are told apart as sharply as right and wrong ones.
    """
    grouped = rewards_B.view(-1, group)
    centred = grouped - grouped.mean(1, keepdim=True)
    if scale == "group":
        centred = centred / (grouped.std(1, keepdim=True) + TINY)
    elif scale == "batch":
        centred = centred / (centred.square().mean().sqrt() + TINY)
    return centred.flatten()


def left_out_advantages(rewards_B: Tensor, group: int) -> Tensor:
    """RLOO: rewards less the mean of the others of their group, [B] (Ahmadian et al. 2024, arXiv:2402.14740 eq. 6)."""
    grouped = rewards_B.view(-1, group)
    others = (grouped.sum(1, keepdim=True) - grouped) / (group - 1)
    return (grouped - others).flatten()


def token_rewards(rewards_B: Tensor, new_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, kl: float) -> Tensor:
    """PPO's rewards of tokens, [B, T]: the answer's at its last one, less `kl` times each token's log-ratio to the
    reference (Ouyang et al. 2022, arXiv:2203.02155 eq. 2)."""
    rewards_BT = -kl * (new_BT - reference_BT) * mask_BT
    last_B = (mask_BT.sum(1).long() - 1).clamp(min=0)
    return rewards_BT.scatter_add(1, last_B[:, None], rewards_B[:, None])


def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, discount: float, decay: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates, and the returns that values are fitted to, [B, T] each (Schulman et al. 2016,
    arXiv:1506.02438 eq. 16): nothing comes after an answer's last token."""
    advantages_BT, after = torch.zeros_like(rewards_BT), rewards_BT.new_zeros(len(rewards_BT))
    rewards_BT, values_BT = rewards_BT * mask_BT, values_BT * mask_BT
    for at in reversed(range(rewards_BT.size(1))):
        following = values_BT[:, at + 1] if at + 1 < values_BT.size(1) else torch.zeros_like(after)
        error = rewards_BT[:, at] + discount * following - values_BT[:, at]
        after = (error + discount * decay * after) * mask_BT[:, at]
        advantages_BT[:, at] = after
    return advantages_BT, advantages_BT + values_BT


def value_loss(values_BT: Tensor, old_BT: Tensor, returns_BT: Tensor, clip: float) -> Tensor:
    """Half the squared error of each token's value, [B, T], which gains nothing by moving further than `clip` from what
    it was (detail 9 in Huang et al. 2022, "The 37 implementation details of proximal policy optimization")."""
    clipped_BT = old_BT + (values_BT - old_BT).clamp(-clip, clip)
    return 0.5 * torch.maximum((values_BT - returns_BT).square(), (clipped_BT - returns_BT).square())
