"""Answers that the policy samples, with what they were rewarded: what all of RL's objectives learn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gristmill.generation.engine import Completion, Engine
from gristmill.model.kernels import fast_products
from gristmill.model.transformer import Network, Transformer
from gristmill.posttrain.losses import Whole
from gristmill.posttrain.rewards import Judge, Prompt
from gristmill.processes import RANK, SIZE
from gristmill.recipe import RL
from gristmill.training.data.answers import Answers, fork
from gristmill.training.parallel import total


def sampled(answer: Completion) -> list[int]:
    """All tokens of an answer that were drawn: its end too, unless a limit cut it off."""
    return answer.tokens + ([] if answer.end is None else [answer.end])


@dataclass
class Rollouts:
    """This process's share of the answers to a step's prompts, `group` to each. Their log-probabilities are those of
    the distribution that was sampled from: under its temperature, and without the token that is never said."""

    answers: Answers
    group: int
    rewards_B: Tensor
    reference_BA: Tensor  # log-probabilities under the model that training began with
    whole: Whole  # of all processes
    figures: dict[str, float]
    learned_BA: Tensor  # 1 on the tokens that are learned from
    old_BA: Tensor = field(init=False)  # log-probabilities under the policy that sampled
    advantages: Tensor = field(init=False)  # of answers, [B], or of their tokens, [B, A]


class Objective(ABC):
    """How a policy learns from rollouts. `begin` is called once for each batch, with gradients switched off and the
    policy's log-probabilities in it; `loss` for each step that is made on it."""

    model: Network  # what is trained: the policy, and what the objective needs besides

    def __init__(self, policy: Transformer, params: RL) -> None:
        self.model, self.params = policy, params
        self.clip = params.clip, params.clip_high or params.clip  # how far below and above 1 a ratio counts

    @abstractmethod
    def begin(self, batch: Rollouts, hidden_ND: Tensor) -> None:
        """Say what each answer, or token, was better than."""

    @abstractmethod
    def loss(self, batch: Rollouts, new_BA: Tensor, hidden_ND: Tensor) -> Tensor:
        """This process's share of a step's loss."""


class Rollout:
    """Asks the policy, and has its answers rewarded."""

    def __init__(self, engine: Engine, reference: Transformer, judge: Judge, params: RL) -> None:
        self.engine, self.policy, self.reference = engine, engine.model, reference
        self.judge, self.params = judge, params

    def logprobs(self, model: Transformer, answers: Answers, hidden_ND: Tensor) -> Tensor:
        """Log-probabilities of answers' tokens as they were sampled, [B, A]."""
        return answers.logprobs(model, hidden_ND, self.params.temperature, self.engine.tokenizer.im_start)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt], seed: int) -> Rollouts:
        """Answers to this process's share of some prompts. The tokens that are learned are those that were sampled,
        the end of an answer too; one that a limit cut off has none."""
        begin, end = (len(prompts) * rank // SIZE for rank in (RANK, RANK + 1))
        own, group = prompts[begin:end], self.params.group
        self.policy.eval()
        with fast_products(False):  # sampling comes in a shape for every number of answers still going
            found = self.engine.generate(
                [prompt.ids for prompt in own],
                max_tokens=self.params.max_tokens,
                temperature=self.params.temperature,
                seed=seed,
                samples=group,
                first=begin,
            )
        self.policy.train()
        said = [sampled(answer) for answer in found]
        groups = [said[at : at + group] for at in range(0, len(said), group)]
        answers = fork([prompt.ids for prompt in own], groups, self.engine.device)
        rewards = self.judge(own, [answer.tokens for answer in found]).to(self.engine.device)
        grouped = rewards.view(-1, group)
        equal = group * float((grouped.amax(1) == grouped.amin(1)).sum())
        sums = total(len(said), float(answers.mask_BA.sum()), float(rewards.sum()), equal)
        count, tokens, rewarded, same = sums
        figures = {"reward": rewarded / count, "length": tokens / count, "equal": same / count}
        reference = self.logprobs(self.reference, answers, answers.hidden(self.reference))
        whole = Whole(count, tokens, self.params.max_tokens)
        return Rollouts(answers, group, rewards, reference, whole, figures, answers.mask_BA)
