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
    """What a step takes on average. The tokens are those of the first steps: their number is no matter of time."""

    seconds: float
    tokens: float
    update: float  # of the seconds, those of the optimizer
    startup: float = 0.0  # seconds by which the first step took longer

    def repeated(self, parts: int, processes: int = 1) -> Timed:
        """A step of several such parts in each of several processes."""
        seconds = (self.seconds - self.update) * parts + self.update
        return Timed(seconds, self.tokens * parts * processes, self.update, self.startup)


class Probed(Exception):
    """Raised out of a stage that was probed, with what it would take."""

    def __init__(self, model: Any, steps: int, tokens: float, step: Timed, evaluations: int, evaluation: float) -> None:
        super().__init__("probed")
        self.model, self.parameters, self.step = model, parameter_count(model), step
        self.steps, self.tokens = steps, tokens  # of the whole training
        self.evaluations, self.evaluation = evaluations, evaluation  # their number, and seconds for one

    @property
    def seconds(self) -> float:
        """Of the whole training."""
        return self.steps * self.step.seconds + self.evaluations * self.evaluation


def timed(
    model: nn.Module,
    loss: Loss,
    rates: Rates,
    clip: float = 1.0,
    seconds: float = SECONDS,
    least: int = LEAST,
    warm_up: int = WARM_UP,
) -> Timed:
    """Train a few steps: some that are not timed, then `least` and as many more as fit into `seconds`. The model is
    changed. Tokens are counted in the steps that are made in any case.
    """
    optimizer = Optimizer(model, rates)
    model.train()
    first = spent = update = 0.0
    tokens = step = 0
    with fast_products():
        while step < warm_up + least or spent < seconds:
            wait_for_device()
            started = time.perf_counter()
            value, covered, _ = loss(step)
            value.backward()
            wait_for_device()
            updating = time.perf_counter()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step(1e-3)
            wait_for_device()
            ended = time.perf_counter()
            if step < warm_up + least:
                tokens += covered
            if step >= warm_up:
                spent, update = spent + ended - started, update + ended - updating
            elif step == 0:
                first = ended - started
            step += 1
    count = step - warm_up
    return Timed(spent / count, tokens / (warm_up + least), update / count, max(0.0, first - spent / count))


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
    step = timed(model, loss, plan.rates, plan.clip).repeated(plan.accumulate)
    tokens = plan.tokens() if plan.tokens else plan.steps * step.tokens
    evaluations, evaluation = 0, 0.0
    if evaluate and every:
        model.eval()
        evaluations, evaluation = -(-plan.steps // every) + 1, seconds_of(lambda: evaluate(0))
    raise Probed(model, plan.steps, tokens, step, evaluations, evaluation)


PROBE: ContextVar[Callable[..., NoReturn] | None] = ContextVar("probe", default=None)
