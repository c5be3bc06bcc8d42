"""What a training stage gives the loop: a model, the loss of each step, and how to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from gristmill.model.transformer import Network
from gristmill.training.optimizer import Rates
from gristmill.training.overfitting import WATCH
from gristmill.training.scoring.scheduled import Tasks
from gristmill.training.watch import Watch


class StepLoss(NamedTuple):
    """The loss of a step, or of a part's share in it: all shares, also those of other processes, add up to the step's.

    A step has parts where `Plan.accumulate` says so.
    """

    value: Tensor  # a scalar to call backward on
    tokens: int  # that it covers
    figures: dict[str, float] = {}  # noqa: RUF012 (read only): for the log


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train, and in what manner."""

    task: str
    steps: int
    rates: Rates
    _: KW_ONLY
    warmup: float = 0.02  # share of all steps
    decay: float = 0.6  # share of all steps
    swa: float = 0.0  # share of all steps, the last, of whose weights the mean is taken
    clip: float = 1.0  # gradient norm
    checkpoint_seconds: float = 60.0  # between two checkpoints
    keep: int = 2  # checkpoints, next to the best
    accumulate: int = 1  # parts of a step, one after the other
    unit: int = 1  # steps that belong together: a checkpoint comes after all of them
    parallel: str = "ddp"
    bfloat16: bool | None = None  # matrix products in it; None: on a GPU only
    tensorboard: bool = False
    tokens: Callable[[], int] | None = None  # of all steps, exactly, where the data tells them without training


@dataclass
class Job:
    """A training, ready to begin.

    `loss` is called with the step's number and, where a step has several parts, the part's. It is a pure function of
    the model and these numbers: that makes resuming exact. `evaluate` is called with the number of steps done; what it
    returns joins the log, and so do the scores of `tasks` where they are due.
    """

    model: Network
    loss: Callable[..., StepLoss]
    plan: Plan
    evaluate: Callable[[int], dict[str, Any]] | None = None
    every: int = 0  # steps between evaluations; 0: before the first step and after the last one only
    counts: dict[str, int] = field(default_factory=dict)  # of what was prepared, for the manifest
    watch: Watch = WATCH
    tasks: Tasks | None = None
