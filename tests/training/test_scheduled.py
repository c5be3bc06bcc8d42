"""Tasks scored while training: when they are, that a kill changes no byte, that the model is the same without them."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import jsonl
import pytest

from gristmill.document import read_documents
from gristmill.errors import UserError
from gristmill.evaluation import stage as evaluation
from gristmill.evaluation.intervals import of_share
from gristmill.recipe import Evaluate, Pretrain, Recipe
from gristmill.report.sections.pretraining import pretraining
from gristmill.settings.recipe_file import validate
from gristmill.training import loop, pretrain
from gristmill.training.budget.timing import estimated
from gristmill.training.scoring.scheduled import MOST_ITEMS, Schedule

SHAPE: dict[str, Any] = dict(layers=2, width=32, heads=2, kv_heads=2, head_dim=16, ffn_width=64, context=64)
FILES = ("log.jsonl", "scores.jsonl", "model.safetensors", "samples.jsonl")


@pytest.fixture
def pairs(corpus: Path, tmp_path: Path) -> str:
    """Sentences that are learned, and their words in any order after the first."""
    draw, lines = random.Random(0), []
    for document in itertools.islice(read_documents(corpus), 60):
        good = document.text.split(".")[0].split()
        bad = good
        while bad == good:
            bad = [good[0], *draw.sample(good[1:], len(good) - 1)]
        lines.append({"good": " ".join(good), "bad": " ".join(bad)})
    return jsonl.write(tmp_path / "pairs.jsonl", [*lines, {"question": "One?", "answer": "1"}])


def settings(pairs: str, **more: Any) -> Pretrain:
    """Sixty steps, scored after each third; held-out text more often."""
    tasks = {"tasks": {"order": pairs}, "tasks_every": 0.3}
    base = dict(batch=8, max_steps=60, evaluate_every=10, sample_prompts=["The"], checkpoint_seconds=0)
    return Pretrain(**SHAPE | base | tasks | more)


def test_a_killed_run_leaves_the_same_scores_and_tasks_leave_the_same_model(
    pairs: str, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whole", "killed", "without"):
        (tmp_path / name).mkdir()
    pretrain.run(inputs, settings(pairs), tmp_path / "whole")
    pretrain.run(inputs, settings(pairs, tasks_every=0.0), tmp_path / "without")
    step, deaths = loop.Training.step, [25, 45]

    def dying(self: loop.Training, received: list[int]) -> tuple[bool, bool]:
        if deaths and self.state.done == deaths[0]:
            deaths.pop(0)
            raise MemoryError
        return step(self, received)

    monkeypatch.setattr(loop.Training, "step", dying)
    for _ in range(2):
        with pytest.raises(MemoryError):
            pretrain.run(inputs, settings(pairs), tmp_path / "killed")
    pretrain.run(inputs, settings(pairs), tmp_path / "killed")
    for file in FILES:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes(), file
    assert not (tmp_path / "without/scores.jsonl").exists()
    model = "model.safetensors"
    assert (tmp_path / "whole" / model).read_bytes() == (tmp_path / "without" / model).read_bytes()
    scores = jsonl.read(tmp_path / "whole/scores.jsonl")
    assert [one["step"] for one in scores] == [20, 40, 60]
    assert {(one["task"], one["items"], one["chance"]) for one in scores} == {("order", 60, 0.5)}
    assert scores[-1]["acc"] > 0.9
    # the last one is what the stage `evaluate` finds, of the item that is answered in words apart
    (tmp_path / "evaluate").mkdir()
    found = evaluation.run(
        {"model": tmp_path / "whole", **inputs}, Evaluate(tasks={"order": pairs}), tmp_path / "evaluate"
    )
    assert found.metrics["tasks.order.acc"] == pytest.approx(scores[-1]["acc"], abs=0.02)


def test_the_report_draws_them(pairs: str, inputs: dict[str, Path], tmp_path: Path) -> None:
    made = pretrain.run(inputs, settings(pairs, max_steps=20), tmp_path)
    made.stage = "pretrain"
    made.write(tmp_path)
    section = pretraining({"pretrain": tmp_path})
    assert section
    drawn = [block for block in section.blocks if "order 50.0% of 60 items" in getattr(block, "caption", "")]
    assert len(drawn) == 1 and "<polyline" in str(drawn[0])
    right = json.loads((tmp_path / "scores.jsonl").read_text().splitlines()[-1])["acc"]
    low, high = of_share(round(60 * right), 60)
    told = f"At the end, with 95 % intervals: order {right:.1%} ({low:.1%} to {high:.1%})."
    assert told in [getattr(block, "text", "") for block in section.blocks]


def test_their_time_is_shown_and_estimated(
    pairs: str, inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = estimated(pretrain.prepare(inputs, settings(pairs), tmp_path))
    assert found.tasks > 0 and found.seconds > found.tasks
    pretrain.run(inputs, settings(pairs, max_steps=20), tmp_path)
    told = capsys.readouterr().err
    assert "order: 1 records cannot be scored by likelihood" in told
    assert "tasks took" in told and "not counted in tokens/s" in told


@pytest.mark.parametrize(
    ("share", "steps", "every", "due"),
    [
        (0.25, 100, 10, [30, 50, 80, 100]),
        (0.1, 100, 40, [40, 80, 100]),
        (1.0, 100, 10, [100]),
        (0.5, 10, 3, [6, 10]),
    ],
)
def test_they_are_due_with_the_scorings_of_text(share: float, steps: int, every: int, due: list[int]) -> None:
    schedule = Schedule(share, steps, every)
    called = [0, *(step for step in range(1, steps + 1) if step == steps or step % every == 0)]
    assert [step for step in called if schedule.due(step)] == due
    assert schedule.count() == len(due)


def test_long_tasks_are_sampled_and_missing_files_are_told(inputs: dict[str, Path], tmp_path: Path) -> None:
    path = jsonl.write(tmp_path / "many.jsonl", ({"good": f"a {n}", "bad": f"b {n}"} for n in range(MOST_ITEMS + 100)))
    job = pretrain.prepare(inputs, settings(path), tmp_path)
    assert job.tasks and len(set(job.tasks.items["order"])) == MOST_ITEMS
    with pytest.raises(UserError, match=r"none\.jsonl"):
        pretrain.prepare(inputs, settings(str(tmp_path / "none.jsonl")), tmp_path)


def test_a_recipe_takes_them_from_evaluate() -> None:
    evaluate = {"tasks": {"t": "t.jsonl"}}
    recipe = validate(Recipe, {"pretrain": {"tasks_every": 0.1}, "evaluate": evaluate}, "recipe")
    assert recipe.pretrain and recipe.pretrain.tasks == {"t": "t.jsonl"}
    recipe = validate(Recipe, {"pretrain": {}, "sft": {"tasks_every": 1.0}, "evaluate": evaluate}, "recipe")
    assert recipe.pretrain and recipe.pretrain.tasks == {} and recipe.sft and recipe.sft.tasks == {"t": "t.jsonl"}
