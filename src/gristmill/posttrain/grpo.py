"""GRPO: an answer is as good as its reward is above those of the others to the same prompt (Shao et al. 2024,
arXiv:2402.03300 §4.1). Settings turn it into DAPO (arXiv:2503.14476), Dr. GRPO (arXiv:2503.20783) and GSPO
(arXiv:2507.18071)."""

from __future__ import annotations

from torch import Tensor

from gristmill.posttrain.losses import average, divergence, group_advantages, surrogate
from gristmill.posttrain.rollouts import Objective, Rollouts
from gristmill.training.parallel import everyones, total


class GRPO(Objective):
    """PPO's clipped surrogate with advantages within groups, and a penalty for divergence in the loss."""

    def begin(self, batch: Rollouts, hidden_ND: Tensor) -> None:
        """Advantages; groups that were all rewarded alike leave, if they are to."""
        everyone, own = everyones(batch.rewards_B)
        batch.advantages = group_advantages(everyone, batch.group, self.params.scale)[own]
        if self.params.drop_equal:
            grouped = batch.rewards_B.view(-1, batch.group)
            kept_B = (grouped.amax(1) > grouped.amin(1)).repeat_interleave(batch.group)
            batch.learned_BA = batch.answers.mask_BA * kept_B[:, None]
            answers, tokens = total(float(kept_B.sum()), float(batch.learned_BA.sum()))
            batch.whole = batch.whole._replace(answers=max(1.0, answers), tokens=tokens)

    def loss(self, batch: Rollouts, new_BA: Tensor, hidden_ND: Tensor) -> Tensor:
        """The surrogate and the penalty, averaged alike."""
        params, mask_BA = self.params, batch.learned_BA
        each_BA = surrogate(new_BA, batch.old_BA, batch.advantages, mask_BA, self.clip, params.importance)
        if params.kl:
            each_BA = each_BA + params.kl * divergence(new_BA, batch.reference_BA)
        return average(each_BA, mask_BA, params.average, batch.whole)
