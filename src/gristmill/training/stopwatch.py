"""How long pretraining takes on this machine: what a budget of time goes by.

Candidates are timed on a few rows of random tokens; the model that is chosen, on whole batches. All of it is shown,
takes a tenth of the budget at most, and counts. What is not timed is extrapolated by FLOPs from the nearest that was:
larger models do more of them a second, so that too little is promised and not too much.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gristmill.model.loss import cross_entropy
from gristmill.model.transformer import Transformer
from gristmill.processes import SIZE
from gristmill.progress import Progress, console, duration, quantity
from gristmill.recipe import Pretrain
from gristmill.training import gpu
from gristmill.training.budget.sizing import config_of, evaluations, flops_per_token
from gristmill.training.budget.timing import LEAST, SECONDS, Timed, seconds_of, timed
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.loop import best_device
from gristmill.training.optimizer import Rates

SHARE = 0.1  # of the budget, for measuring
ROUGH_TOKENS = 1024  # a step, when a candidate is timed: so memory stays that of few rows
ROUGH_SECONDS = 0.5  # for its timed steps
EFFICIENCY = 4.0  # by how much more FLOPs a second a larger model may do, at most
FORWARD = 1 / 3  # of a training step's time
Evaluation = Callable[[Transformer, Pretrain], Callable[[], Any]]


@dataclass(frozen=True)
class Pace:
    """What training with some settings takes, in seconds."""

    startup: float  # once
    step: float
    scoring: float


class Stopwatch:
    """A clock for the dial (`sizing.Clock`), to be used in a `with` block, which shows what it does."""

    def __init__(
        self, seconds: float, vocab_size: int, scored: int = 0, last: int = 0, evaluate: Evaluation | None = None
    ) -> None:
        """`seconds` is the budget. `evaluate` makes a scoring, of `scored` tokens; at the end `last` are read."""
        self.seconds, self.vocab_size = seconds, vocab_size
        self.scored, self.last, self.evaluate = scored, last, evaluate
        self.began, self.limit = time.monotonic(), SHARE * seconds
        self.spent = self.limit  # on measuring, as long as it goes on
        self.timings: dict[float, Timed] = {}  # FLOPs a token → a step of few rows
        self.chosen: tuple[Pretrain, Pace] | None = None
        self.bar = Progress("measuring", None, "models")

    def __enter__(self) -> Stopwatch:
        most, budget = duration(self.limit), duration(self.seconds)
        console.print(f"           measuring how fast this machine trains: at most {most} of the {budget}")
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    def __call__(self, made: Pretrain, steps: int, exact: bool = False) -> float:
        """Seconds that so many steps take, with scoring, snapshots and the measuring itself."""
        pace = self.exact(made) if exact else self.rough(made, steps)
        scorings = evaluations(steps, made) + self.last / max(1, self.scored)
        return self.spent + pace.startup + (steps + made.snapshots) * pace.step + scorings * pace.scoring

    def left(self) -> float:
        """Seconds left for measuring."""
        return self.limit - (time.monotonic() - self.began)

    def rough(self, made: Pretrain, steps: int) -> Pace:
        """The pace of a candidate, which is timed if it may be within the budget and there is time for it."""
        flops = flops_per_token(made, self.vocab_size)
        if flops not in self.timings:
            guess = self.guess(made, flops) if self.timings else Pace(0.0, 0.0, 0.0)
            few = guess.step * min(1.0, ROUGH_TOKENS / (made.batch * made.context))
            hopeless = self.spent + steps * guess.step / EFFICIENCY > self.seconds
            if not self.timings or (not hopeless and 4 * few < self.left() / 2):
                self.timings[flops] = self.time_few(made)
        return self.guess(made, flops)

    def guess(self, made: Pretrain, flops: float) -> Pace:
        """The pace, from the timing that is nearest in FLOPs a token."""
        nearest = min(self.timings, key=lambda known: max(known / flops, flops / known))
        timing, more = self.timings[nearest], flops / nearest
        token = (timing.seconds - timing.update) / timing.tokens * more
        return Pace(0.0, token * made.batch * made.context + timing.update * more, token * FORWARD * self.scored)

    def time_few(self, made: Pretrain) -> Timed:
        """Time steps of few rows. Layers are not compiled: that would take longer than all the rest."""
        model = Transformer(config_of(made, self.vocab_size)).to(best_device())
        rows = max(1, min(rows_of(made), ROUGH_TOKENS // made.context))
        plain = made.model_copy(update={"compile": False})
        found = try_out(model, plain, rows, min(ROUGH_SECONDS, self.left() / 8), least=1, warm_up=1)
        speed = quantity(found.tokens / found.seconds)
        self.bar.advance(1, f"{made.layers} layers of width {made.width}: {speed} tokens/s")
        return found

    def exact(self, made: Pretrain) -> Pace:
        """The pace of the model that was chosen; measuring ends with it."""
        if not self.chosen or self.chosen[0] != made:
            self.chosen = (made, self.time_whole(made))
            self.spent = time.monotonic() - self.began
        return self.chosen[1]

    def time_whole(self, made: Pretrain) -> Pace:
        """Time steps of whole batches and a scoring, as far as there is time."""
        guess, left = self.rough(made, 1), self.left()
        if 3 * guess.step > left:
            return guess
        model = Transformer(config_of(made, self.vocab_size)).to(best_device())
        least = LEAST if (LEAST + 2) * guess.step < left else 1
        step = try_out(model, made, 0, min(SECONDS, left / 2), least=least, warm_up=1)
        scoring = guess.scoring * step.seconds / guess.step
        if self.evaluate and scoring < self.left():
            model.eval()
            scoring = seconds_of(self.evaluate(model, made))
        self.bar.advance(0, f"a step takes {1000 * step.seconds:.3g} ms, a scoring {scoring:.2g} s")
        return Pace(step.startup, step.seconds, scoring)


def rows_of(params: Pretrain) -> int:
    """The rows that a process computes at once."""
    return max(1, params.batch // (SIZE * params.accumulate))


def try_out(
    model: Transformer,
    params: Pretrain,
    rows: int = 0,
    seconds: float = SECONDS,
    least: int = LEAST,
    warm_up: int = 2,
    most: int = sys.maxsize,
) -> Timed:
    """Time a few steps of a model on random tokens, in this process alone: of `rows` rows, or of whole batches."""
    gpu.prepare(model, params.compile, params.recompute)
    ids = torch.randint(model.config.vocab_size, (rows or rows_of(params), params.context + 1))

    def loss(step: int) -> StepLoss:
        return StepLoss(cross_entropy(model, ids[:, :-1], ids[:, 1:].contiguous()), ids[:, 1:].numel())

    plan = Plan("measuring", most, Rates.of(params), clip=params.clip)
    part = timed(Job(model, loss, plan), seconds, least, warm_up)
    return part if rows else part.repeated(params.accumulate, SIZE)
