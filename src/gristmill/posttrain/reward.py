"""Stage `reward`: preference pairs → reward model, by the Bradley–Terry likelihood.

P(chosen over rejected) = sigmoid(r(chosen) - r(rejected)) (Christiano et al. 2017, arXiv:1706.03741; Ouyang et al.
2022, arXiv:2203.02155 §3.5).

The reward has two parts: a number read off the last token, as usual, and the mean log-likelihood of the answer's tokens
(Meng et al. 2024, arXiv:2405.14734 §2.2). Whether a small model knows something shows in what it expects to read next,
and hardly in the state after the last token. What is thought before an answer is not judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from gristmill.chat.conversations import LeftOut, TooLong, nothing_left, read_records, report
from gristmill.chat.layouts import Messages, Record, preference
from gristmill.chat.template import with_answer
from gristmill.generation.answer_text import said
from gristmill.manifest import Manifest
from gristmill.model.transformer import Network, Transformer, load_network
from gristmill.posttrain.examples import Pair, planned
from gristmill.posttrain.losses import bradley_terry
from gristmill.processes import RANK, SIZE
from gristmill.recipe import Reward
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.data.answers import Answers, fork
from gristmill.training.job import Job, StepLoss
from gristmill.training.log import LogLine, mean_of
from gristmill.training.loop import best_device
from gristmill.training.stage import begun, conclude, last_tenth, run_job

HELD_OUT = 0.1  # share of the prompts whose pairs only measure
SCORED, AT_ONCE = 2000, 16  # pairs that are scored in the end: at most, and together


class RewardModel(Network):
    """A transformer that judges finished conversations: score · last hidden state + likelihood · mean log p(answer)."""

    def __init__(self, body: Transformer, likelihood: float = 1.0) -> None:
        super().__init__()
        self.body, self.config = body, body.config
        self.score = nn.Linear(body.config.width, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        self.likelihood = nn.Parameter(torch.full((1,), likelihood), requires_grad=likelihood > 0)

    def forward(self, answers: Answers) -> Tensor:
        """Reward of each answer, [B]."""
        hidden = answers.hidden(self.body)
        verdict: Tensor = self.score(hidden[answers.last()])[:, 0]
        if not self.likelihood.requires_grad and not self.likelihood:
            return verdict
        return verdict + self.likelihood * answers.means(answers.logprobs(self.body, hidden))

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> RewardModel:
        """Read a reward model's folder. Raises UserError where there is none."""
        return load_network(lambda config: cls(Transformer(config)), folder, device, "reward").eval()


@dataclass(kw_only=True)
class Preferring(Job):
    """A training on preference pairs, those that it is scored on, and what makes two numbers of each of some pairs: the
    first is to be the larger one."""

    compared: Callable[[Sequence[Pair]], tuple[Tensor, Tensor]]
    train_pairs: list[Pair]
    heldout_pairs: list[Pair]

    @torch.no_grad()
    def accuracy(self, pairs: Sequence[Pair]) -> float:
        """The share of some pairs, at most SCORED, of which the first number is the larger one."""
        parts = [pairs[at : at + AT_ONCE] for at in range(0, min(len(pairs), SCORED), AT_ONCE)]
        return float(torch.cat([torch.gt(*self.compared(part)) for part in parts]).float().mean())


def run(inputs: Mapping[str, Path], params: Reward, out: Path) -> Manifest:
    """Train the reward model, starting from the chat model, and score it on pairs of held-out prompts."""
    return run_job(prepare(inputs, params, out), out, finish)


def prepare(inputs: Mapping[str, Path], params: Reward, out: Path) -> Preferring:
    """The training: its loss is the likelihood that each pair's chosen answer is preferred."""
    body, tokenizer = begun(inputs, params.seed)
    model = RewardModel(body, params.likelihood).to(best_device())
    left_out: list[LeftOut] = []
    train_pairs, test_pairs = (
        [Pair(prompt, *(said(tokenizer, answer) for answer in answers)) for prompt, *answers in pairs]
        for pairs in read_pairs(Path(params.preferences), tokenizer, model.body.config.context, left_out)
    )
    counts = {"pairs": len(train_pairs), "heldout_pairs": len(test_pairs)}
    counts |= report("reward", left_out, out)
    order, plan = planned("reward", train_pairs, params, inputs["model"])

    def loss(step: int) -> StepLoss:
        chosen = order(step)
        pairs = [train_pairs[index] for index in chosen[RANK::SIZE]]
        value = bradley_terry(*rewards(model, pairs)).mean() * (len(pairs) / len(chosen))
        return StepLoss(value, sum(pair.tokens for pair in pairs))

    compared = partial(rewards, model)
    return Preferring(
        model, loss, plan, counts=counts, compared=compared, train_pairs=train_pairs, heldout_pairs=test_pairs
    )


def finish(job: Preferring, log: list[LogLine], out: Path) -> Manifest:
    """Write the reward model, and how often it prefers the chosen answer."""
    likelihood = job.model.eval().get_parameter("likelihood")
    metrics = {"loss": mean_of(last_tenth(log), "loss"), "likelihood_weight": float(likelihood.detach())}
    for name, pairs in (("train_accuracy", job.train_pairs), ("heldout_accuracy", job.heldout_pairs)):
        if pairs:
            metrics[name] = job.accuracy(pairs)
    return conclude(job, log, out, metrics)


def rewards(model: RewardModel, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """The chosen answers' rewards, and the rejected ones'."""
    answers = fork([prompt for prompt, *_ in pairs], [both for _, *both in pairs], model.score.weight.device)
    rewards_P2: Tensor = model(answers).view(-1, 2)
    return rewards_P2[:, 0], rewards_P2[:, 1]


def read_pairs(
    path: Path, tokenizer: Tokenizer, context: int, left_out: list[LeftOut]
) -> tuple[list[Pair], list[Pair]]:
    """Rendered (prompt, chosen, rejected) for training and, by a hash of the prompt, for measuring. A record that is no
    pair, or does not fit, joins `left_out`. Raises UserError where no pair is left to train on.
    """
    splits: tuple[list[Pair], list[Pair]] = ([], [])

    def read(record: Record) -> tuple[bool, Pair]:
        prompt, *said = preference(record)
        (ids, chosen), (_, rejected) = (with_answer(prompt, answer, tokenizer) for answer in said)
        if (length := len(ids) + max(len(chosen), len(rejected))) > context:
            raise TooLong(length, context)
        return held_out(prompt), Pair(ids, chosen, rejected)

    for only_measures, pair in read_records(path, read, left_out):
        splits[only_measures].append(pair)
    if not splits[0]:
        raise nothing_left(f"{path} holds no preference pair to train on", "give more pairs", left_out)
    return splits


def held_out(prompt: Messages) -> bool:
    """Whether a prompt's pairs only measure."""
    digest = hashlib.blake2b(json.dumps(prompt, sort_keys=True).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32 < HELD_OUT
