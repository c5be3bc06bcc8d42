"""RLOO: REINFORCE on whole answers, each against the mean reward of the others to its prompt (Ahmadian et al. 2024,
arXiv:2402.14740). The divergence from the first model is part of the reward."""

from __future__ import annotations

import torch
from torch import Tensor

from gristmill.posttrain.losses import left_out_advantages, surrogate
from gristmill.posttrain.rollouts import Objective, Rollouts


class RLOO(Objective):
    """An answer is one action, whose probability is that of all its tokens; its ratio is clipped as in PPO."""

    def begin(self, batch: Rollouts, hidden_ND: Tensor) -> None:
        """Advantages, of rewards less the penalty."""
        apart_B = batch.answers.sums(batch.old_BA - batch.reference_BA)
        batch.advantages = left_out_advantages(batch.rewards_B - self.params.kl * apart_B, batch.group)

    def loss(self, batch: Rollouts, new_BA: Tensor, hidden_ND: Tensor) -> Tensor:
        """The mean over answers."""
        new_B1, old_B1 = (batch.answers.sums(values)[:, None] for values in (new_BA, batch.old_BA))
        each_B1 = surrogate(new_B1, old_B1, batch.advantages, torch.ones_like(new_B1), self.clip)
        return each_B1.sum() / batch.whole.answers
