"""PPO on tokens, with a value head and GAE (Schulman et al. 2017, arXiv:1707.06347; Ouyang et al. 2022,
arXiv:2203.02155 §3.5). The divergence from the first model is part of each token's reward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gristmill.model.transformer import Network, Transformer
from gristmill.posttrain.losses import TINY, average, gae, surrogate, token_rewards, value_loss
from gristmill.posttrain.rollouts import Objective, Rollouts
from gristmill.recipe import RL
from gristmill.training.parallel import total

DISCOUNT = 1.0  # InstructGPT's, and its decay
DECAY = 0.95
VALUE_WEIGHT = 0.1  # of the value's loss next to the policy's
VALUE_CLIP = 0.2


class ActorCritic(Network):
    """A policy, and a head that says what reward is to come."""

    def __init__(self, body: Transformer) -> None:
        super().__init__()
        self.body, self.config = body, body.config
        self.value = nn.Linear(body.config.width, 1, bias=False)
        nn.init.zeros_(self.value.weight)

    def values(self, hidden: Tensor) -> Tensor:
        """What is to come after each state, [...]."""
        found: Tensor = self.value(hidden)[..., 0]
        return found


class PPO(Objective):
    """The clipped surrogate with advantages of tokens, which are scaled to a deviation of 1 over the batch."""

    model: ActorCritic

    def __init__(self, policy: Transformer, params: RL) -> None:
        super().__init__(policy, params)
        self.model = ActorCritic(policy).to(policy.embed.weight.device)
        self.returns_BA = self.values_BA = torch.empty(0)  # of the batch at hand: what values are fitted to, and were

    def begin(self, batch: Rollouts, hidden_ND: Tensor) -> None:
        """Advantages and returns, from what the values were."""
        mask_BA = batch.answers.mask_BA
        rewards_BA = token_rewards(batch.rewards_B, batch.old_BA, batch.reference_BA, mask_BA, self.params.kl)
        self.values_BA = self.model.values(hidden_ND[batch.answers.places_BA]) * mask_BA
        found_BA, self.returns_BA = gae(rewards_BA, self.values_BA, mask_BA, DISCOUNT, DECAY)
        summed, squares = total(float(found_BA.sum()), float(found_BA.square().sum()))
        mean, square = summed / batch.whole.tokens, squares / batch.whole.tokens
        batch.advantages = (found_BA - mean) / (max(0.0, square - mean**2) ** 0.5 + TINY)

    def loss(self, batch: Rollouts, new_BA: Tensor, hidden_ND: Tensor) -> Tensor:
        """The mean over tokens of the policy's loss and the value's."""
        mask_BA = batch.answers.mask_BA
        policy_BA = surrogate(new_BA, batch.old_BA, batch.advantages, mask_BA, self.clip)
        values_BA = self.model.values(hidden_ND[batch.answers.places_BA])
        value_BA = value_loss(values_BA, self.values_BA, self.returns_BA, VALUE_CLIP)
        return average(policy_BA + VALUE_WEIGHT * value_BA, mask_BA, "token", batch.whole)
