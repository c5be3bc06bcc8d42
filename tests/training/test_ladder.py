"""The ladder: trained once and for all; the advice, the best of all shapes by brute force; the page that tells it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain
from gristmill.report.scaling import advice
from gristmill.settings.apart import Scale
from gristmill.training import pretrain
from gristmill.training.budget import ladder
from gristmill.training.budget.ladder import advise
from gristmill.training.budget.scaling_law import Law
from gristmill.training.budget.sizing import family, flops_per_token, parameters


def test_advice_is_the_best_of_all_shapes() -> None:
    law, shapes = Law(0.8, 40.0, 0.3, 300.0, 0.4), family(Pretrain())
    for flops in (1e13, 1e15, 1e17):
        found = advise(law, flops, shapes, 4096, 10**12)
        losses = [law(parameters(s, 4096), flops / flops_per_token(s, 4096)) for s in shapes]
        best = shapes[losses.index(min(losses))]
        assert (found["width"], found["layers"]) == (best.width, best.layers)
        assert found["heldout_bpb"] == pytest.approx(min(losses), abs=1e-4) and not found["text_runs_out"]
        assert found["tokens"] * flops_per_token(best, 4096) == pytest.approx(flops, rel=1e-3)
    assert advise(law, 1e17, shapes, 4096, 10**6)["tokens"] == 4 * 10**6
    assert advise(law, 1e17, shapes, 4096, 10**6)["text_runs_out"]


def test_sizes_that_come_to_one_model_are_refused_before_any_is_trained(
    inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = Scale(pretrain=Pretrain(context=64), sizes=["80k", "80100"], tokens=["8k", "16k", "24k"], budgets=[])
    with pytest.raises(UserError, match="models of 1 size on 3 token counts"):
        ladder.run(inputs, params, tmp_path)
    assert not [*tmp_path.iterdir()] and "several of the sizes come to the same model" in capsys.readouterr().err


def test_a_ladder_goes_on_where_it_was_and_is_told(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Pretrain(context=64, layers=9, batch=3, size="5M", max_steps=9)  # of these only the context is taken over
    params = Scale(pretrain=base, sizes=["80k", "120k"], tokens=["8k", "16k", "24k"], budgets=["1min", "1e12"])
    real: Callable[..., Manifest] = pretrain.run
    trained: list[tuple[object, ...]] = []

    def counted(*arguments: object) -> Manifest:
        trained.append(arguments)
        return real(*arguments)

    def killed_at_the_third(*arguments: object) -> Manifest:
        if len(trained) == 2:
            raise KeyboardInterrupt
        return counted(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain, "run", killed_at_the_third)
        ladder.run(inputs, params, tmp_path)
    trained.clear()
    monkeypatch.setattr(pretrain, "run", counted)
    made = ladder.run(inputs, params, tmp_path)
    assert len(trained) == 4 and made.counts["models"] == 6
    assert [path.name for path in tmp_path.iterdir()] == ["scale.json"]
    found = json.loads((tmp_path / "scale.json").read_text())
    assert [rung["layers"] for rung in found["rungs"]] == [4] * 6
    assert [rung["tokens"] for rung in found["rungs"]] == pytest.approx([8000, 16000, 24000] * 2, rel=0.05)
    assert found["rungs"][0]["heldout_bpb"] > found["rungs"][1]["heldout_bpb"]
    assert len(found["advice"]) == 5 and found["flops_per_second"] > 0
    table = advice(tmp_path, tmp_path / "scale.html")
    assert table.row_count == 5
    page = (tmp_path / "scale.html").read_text()
    assert page.count("<svg") == 2 * 2 and "<circle" in page and f"{found['rungs'][0]['parameters']:,}" in page
