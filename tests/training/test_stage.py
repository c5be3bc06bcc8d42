"""A training stage: a job that is prepared, trained and finished; and what it takes, told before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonl
import pytest
import torch
import torch.nn.functional as F

from gristmill.manifest import Manifest
from gristmill.model.transformer import ModelConfig, Transformer, load_model
from gristmill.training.budget.timing import estimated
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.log import LogLine
from gristmill.training.optimizer import Rates
from gristmill.training.stage import conclude, run_job


def prepare(steps: int, seen: list[int], every: int = 0, accumulate: int = 1) -> Job:
    """An objective of its own: to expect token 5, whatever is read."""
    torch.manual_seed(0)
    model = Transformer(ModelConfig(16, 1, 16, 1, 1, 16, 16, 8))

    def loss(step: int, part: int = 0) -> StepLoss:
        ids = torch.randint(0, 16, (2, 8), generator=torch.Generator().manual_seed(2 * step + part))
        value = F.cross_entropy(model(ids).flatten(0, 1), torch.full((16,), 5)) / accumulate
        return StepLoss(value, 16, {"part": part})

    def evaluate(step: int) -> dict[str, Any]:
        seen.append(step)
        return {"seen": len(seen)}

    plan = Plan("expect", steps, Rates(0.02, 0.02, 0.02), accumulate=accumulate)
    return Job(model, loss, plan, evaluate, every, counts={"tokens_wanted": 1})


def test_an_objective_needs_no_more_than_to_be_prepared(tmp_path: Path) -> None:
    seen: list[int] = []
    made = run_job(prepare(30, seen, every=20), tmp_path)
    assert seen == [0, 20, 30]
    assert made.counts == {
        **{"tokens_wanted": 1, "steps": 30},
        **{"skipped_steps": 0, "rollbacks": 0, "failed_checkpoints": 0},
    }
    log = jsonl.read(tmp_path / "log.jsonl")
    losses = [record["loss"] for record in log if "loss" in record]
    assert len(losses) == 30 and losses[-1] < 0.2 * losses[0]
    assert made.metrics == {"loss": pytest.approx(sum(losses[-3:]) / 3)}  # over the last tenth of the steps
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "model.json", "model.safetensors"]
    assert int(load_model(tmp_path)(torch.tensor([[1, 2, 3]]))[0, -1].argmax()) == 5


def test_the_loss_of_a_long_training_is_that_of_its_last_ten_steps(tmp_path: Path) -> None:
    made = run_job(prepare(150, []), tmp_path)
    losses = [json.loads(line).get("loss") for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert made.metrics == {"loss": pytest.approx(sum([loss for loss in losses if loss is not None][-10:]) / 10)}


def test_a_stage_may_finish_in_its_own_way(tmp_path: Path) -> None:
    def finish(job: Job, log: list[LogLine], out: Path) -> Manifest:
        return conclude(job, log, out, {"records": len(log)})

    made = run_job(prepare(4, [], accumulate=2), tmp_path, finish)
    assert made.metrics == {"records": 6} and (tmp_path / "model.safetensors").exists()
    record = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[1])
    assert record["part"] == 1 and record["tokens"] == 32  # of both parts


@pytest.mark.parametrize(("every", "evaluations"), [(0, 2), (20, 3), (30, 2)])
def test_what_a_job_takes_is_told_before_it_is_trained(tmp_path: Path, every: int, evaluations: int) -> None:
    seen: list[int] = []
    found = estimated(prepare(30, seen, every, accumulate=2))
    assert (found.steps, found.evaluations, found.tokens) == (30, evaluations, 30 * 32)
    assert seen == [0] and found.seconds > 0
    seen.clear()
    run_job(prepare(30, seen, every, accumulate=2), tmp_path)
    assert len(seen) == evaluations
