"""A training stage: `prepare` makes a job of what it reads, the loop trains it, `finish` writes what comes out.

A new objective is a file with a `prepare`, and a `finish` of its own where it measures or writes more than the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from gristmill.files import write_jsonl
from gristmill.generation.engine import load_together
from gristmill.manifest import Manifest
from gristmill.model.transformer import Transformer, save_model
from gristmill.processes import LEADER
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.checkpoint import discard_checkpoint
from gristmill.training.job import Job
from gristmill.training.log import LogLine, mean_of, mishaps
from gristmill.training.loop import best_device, train
from gristmill.training.parallel import join
from gristmill.training.scoring.scheduled import SCORES

J = TypeVar("J", bound=Job)
MOST_RECORDS = 10  # of a training's end, whose mean is its loss


def begun(inputs: Mapping[str, Path], seed: int) -> tuple[Transformer, Tokenizer]:
    """The model that a stage goes on from, where it is trained, and its tokenizer; in every process of several.

    Raises UserError where they cannot be read or do not belong together.
    """
    join()
    torch.manual_seed(seed)
    return load_together(inputs["model"], inputs["tokenizer"], best_device())


def finish(job: Job, log: list[LogLine], out: Path) -> Manifest:
    """Write the model; the figure of its training is the loss at the end."""
    return conclude(job, log, out, {"loss": mean_of(last_tenth(log), "loss")})


def run_job(job: J, out: Path, finish: Callable[[J, list[LogLine], Path], Manifest] = finish) -> Manifest:
    """Train a job, from its newest checkpoint if it has one, and finish it."""
    return finish(job, train(job, out), out)


def conclude(job: Job, log: list[LogLine], out: Path, metrics: dict[str, float]) -> Manifest:
    """What every `finish` ends with: the leader writes the model, and how tasks went, and removes the checkpoints; the
    manifest is made."""
    if LEADER:
        if job.tasks:
            write_jsonl(out / SCORES, job.tasks.curves(log))
        save_model(job.model, out)
        discard_checkpoint(out)
    return Manifest(counts=job.counts | {"steps": job.plan.steps} | mishaps(log), metrics=metrics)


def last_tenth(log: list[LogLine]) -> list[LogLine]:
    """The last records with a loss, a tenth of all and MOST_RECORDS at most."""
    losses = [record for record in log if "loss" in record]
    return losses[-min(MOST_RECORDS, max(1, len(losses) // 10)) :]
