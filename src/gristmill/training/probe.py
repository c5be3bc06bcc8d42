"""A short measurement of real training steps on this machine: what `gristmill plan` and a budget of time go by."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from gristmill.model.kernels import fast_products
from gristmill.model.transformer import parameter_count
from gristmill.training.optimizer import Optimizer, Rates

if TYPE_CHECKING:
    from gristmill.training.loop import Loss, Plan

WARM_UP = 2  # steps that are not timed: the first ones allocate
LEAST = 3  # timed steps
SECONDS = 3.0  # for the timed steps, where they are quick


@dataclass(frozen=True)
class Timed:
    """What a step takes."""

    seconds: float
    tokens: float


class Probed(Exception):
    """Raised out of a stage that was probed, with what it would take."""

    def __init__(self, model: Any, steps: int, step: Timed, evaluations: int, evaluation: float) -> None:
        super().__init__("probed")
        self.model, self.parameters, self.steps, self.step = model, parameter_count(model), steps, step
        self.evaluations, self.evaluation = evaluations, evaluation  # their number, and seconds for one

    @property
    def seconds(self) -> float:
        """Of the whole training."""
        return self.steps * self.step.seconds + self.evaluations * self.evaluation


def timed(
    model: nn.Module, loss: Loss, rates: Rates, clip: float = 1.0, most: int = 1 << 40, seconds: float = SECONDS
) -> Timed:
    """Train a few steps, at most `most` of them timed; the model is changed. Mean seconds and tokens a step."""
    optimizer = Optimizer(model, rates)
    model.train()
    spent = tokens = 0.0
    count = step = 0
    with fast_products():
        while count < min(LEAST, most) or (spent < seconds and count < most):
            wait_for_device()
            started = time.perf_counter()
            value, covered, _ = loss(step)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step(1e-3)
            wait_for_device()
            if step >= WARM_UP:
                spent, tokens, count = spent + time.perf_counter() - started, tokens + covered, count + 1
            step += 1
    return Timed(spent / count, tokens / count)


def wait_for_device() -> None:
    """Let what was started on a GPU finish."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(call: Callable[[], Any]) -> float:
    """How long a call takes, as it runs within training."""
    wait_for_device()
    started = time.perf_counter()
    with fast_products(), torch.no_grad():
        call()
    wait_for_device()
    return time.perf_counter() - started


def probe(
    model: nn.Module, loss: Loss, plan: Plan, every: int, evaluate: Callable[[int], dict[str, Any]] | None
) -> NoReturn:
    """Stand in for `train`: time a few steps and one evaluation, and raise Probed."""
    part = timed(model, loss, plan.rates, plan.clip)
    step = Timed(part.seconds * plan.accumulate, part.tokens * plan.accumulate)
    evaluations, evaluation = 0, 0.0
    if evaluate and every:
        model.eval()
        evaluations, evaluation = -(-plan.steps // every) + 1, seconds_of(lambda: evaluate(0))
    raise Probed(model, plan.steps, step, evaluations, evaluation)


PROBE: ContextVar[Callable[..., NoReturn] | None] = ContextVar("probe", default=None)
