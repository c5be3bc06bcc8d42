"""A short measurement of real training steps on this machine: what `gristmill plan` and a budget of time go by."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gristmill.model.kernels import fast_products
from gristmill.training.job import Job
from gristmill.training.optimizer import Optimizer

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


@dataclass(frozen=True)
class Estimated:
    """What a whole training takes."""

    tokens: float
    step: Timed
    steps: int
    evaluation: float  # seconds for one
    evaluations: int
    tasks: float = 0.0  # seconds for all scorings of them

    @property
    def seconds(self) -> float:
        """Of the whole training."""
        return self.steps * self.step.seconds + self.evaluations * self.evaluation + self.tasks


def timed(job: Job, seconds: float = SECONDS, least: int = LEAST, warm_up: int = WARM_UP) -> Timed:
    """Train a few steps: some that are not timed, then `least` and as many more as fit into `seconds`, though no more
    than the training itself has. The model is changed. Of a step with several parts one is timed. Tokens are counted in
    the steps that are made in any case.
    """
    model, plan = job.model, job.plan
    optimizer = Optimizer(model, plan.rates)
    model.train()
    first = spent = update = 0.0
    tokens = step = 0
    with fast_products():
        while step < warm_up + least or (spent < seconds and step < plan.steps):
            wait_for_device()
            started = time.perf_counter()
            loss = job.loss(step)
            loss.value.backward()
            wait_for_device()
            updating = time.perf_counter()
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimizer.step(1e-3)
            wait_for_device()
            ended = time.perf_counter()
            if step < warm_up + least:
                tokens += loss.tokens
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


def estimated(job: Job) -> Estimated:
    """Time a few steps and one evaluation of a job, in this process alone. The model is changed."""
    plan = job.plan
    step = timed(job).repeated(plan.accumulate)
    tokens = plan.tokens() if plan.tokens else plan.steps * step.tokens
    if job.evaluate is None:
        return Estimated(tokens, step, plan.steps, 0.0, 0)
    job.model.eval()
    evaluate, between = job.evaluate, job.every or plan.steps
    scoring, scorings = seconds_of(lambda: evaluate(0)), -(-plan.steps // between) + 1
    tasks = seconds_of(job.tasks) * job.tasks.schedule.count() if job.tasks else 0.0
    return Estimated(tokens, step, plan.steps, scoring, scorings, tasks)
