"""Trust in a model's certainty: the curve and the error by their definitions, the fit where the truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import jsonl
import numpy as np
import pytest

from gristmill.evaluation import stage
from gristmill.evaluation.confidence import calibration_error, curve, fit, trust
from gristmill.evaluation.intervals import of_share
from gristmill.evaluation.questions import Question
from gristmill.recipe import Evaluate


def asked(split: str, count: int) -> list[Question]:
    return [Question(f"{split} {n}?", ("x",), True, split, 60) for n in range(count)]


def test_the_curve_takes_the_surest_answers_first() -> None:
    confidence, right = np.array([0.2, 0.9, 0.5, 0.7]), np.array([0.0, 1.0, 0.0, 1.0])
    points = curve(confidence, right, 8)["curve"]
    assert [(one["threshold"], one["coverage"], one["risk"]) for one in points] == [
        (0.9, 0.125, 0.0),
        (0.7, 0.25, 0.0),
        (0.5, 0.375, pytest.approx(1 / 3, abs=1e-5)),
        (0.2, 0.5, 0.5),
    ]
    low, high = of_share(1, 3)
    assert (points[2]["low"], points[2]["high"]) == (round(low, 5), round(high, 5))
    alike = curve(confidence, right, 8, ["a", "a", "b", "b"])["curve"][-1]
    assert alike["low"] <= 0.5 <= alike["high"] and alike != points[-1]  # two subjects, not four trials


def test_calibration_error_is_its_definition() -> None:
    draw = np.random.default_rng(0)
    confidence, right = draw.random(500), (draw.random(500) < 0.5).astype(float)
    whole = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            whole += inside.sum() / 500 * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration_error(confidence, right) == pytest.approx(whole)


def test_what_is_stated_is_fitted_to_other_questions_and_right() -> None:
    """Of answers that are right as often as the square of their confidence, the stated one is right."""
    draw = np.random.default_rng(1)
    questions = asked("dev", 4_000) + asked("test", 4_000)
    confidence = draw.uniform(0.05, 0.95, 8_000)
    odds = (confidence / (1 - confidence)) ** 0.5 * np.exp(-1)  # log-odds: half of what it says, less one
    outcomes = ["right" if hit else "wrong" for hit in draw.random(8_000) < odds / (1 + odds)]
    found = trust(questions, outcomes, confidence.tolist())
    assert found["stated"]["slope"] == pytest.approx(0.5, abs=0.1)
    assert found["stated"]["offset"] == pytest.approx(-1, abs=0.1)
    assert found["calibration_error"] > 0.1 and found["stated_calibration_error"] < 0.03
    for name, one in found["intervals"].items():
        assert one["low"] < found[name] < one["high"] < one["low"] + 0.05, name
    changed = ["right" if q.split == "test" else o for q, o in zip(questions, outcomes, strict=True)]
    assert trust(questions, changed, confidence.tolist())["stated"] == found["stated"]  # the scored ones play no part


def test_the_fit_is_the_likeliest_from_anywhere() -> None:
    """Confidences as long answers have them: small, and mostly right."""
    draw = np.random.default_rng(2)
    confidence = draw.beta(2, 3, 106)
    right = (draw.random(106) < 0.9).astype(float)
    slope, offset = fit(confidence, right)
    good = right.sum()
    target = np.where(right > 0, (good + 1) / (good + 2), 1 / (106 - good + 2))

    def loss(slope: float, offset: float) -> float:
        odds = slope * np.log(confidence / (1 - confidence)) + offset
        return float((np.logaddexp(0, odds) - target * odds).sum())

    best = min(loss(a, b) for a in np.linspace(-2, 2, 81) for b in np.linspace(-4, 4, 81))
    assert loss(slope, offset) <= best + 1e-9


def test_separable_answers_have_a_fit() -> None:
    slope, offset = fit(np.array([0.1] * 10 + [0.9] * 10), np.array([0.0] * 10 + [1.0] * 10))
    assert np.isfinite([slope, offset]).all() and slope > 0


def test_few_answers_give_no_figure() -> None:
    questions = asked("test", 30)
    assert trust(questions, ["declined"] * 25 + ["right"] * 5, [0.5] * 30) == {}


def test_the_stage_writes_it(inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"question": f"Who {n}?", "answers": ["x"], "answerable": True, "split": "test"} for n in range(30)]
    path = jsonl.write(tmp_path / "q.jsonl", lines)
    made = stage.run(inputs, Evaluate(questions=path, max_tokens=4), tmp_path)
    found = json.loads((tmp_path / "confidence.json").read_text())
    assert found["answered"] == 30 and found["curve"][-1] == {**found["curve"][-1], "coverage": 1.0, "risk": 1.0}
    assert made.metrics["calibration_error"] == found["calibration_error"]
    records = jsonl.read(tmp_path / "answers.jsonl")
    assert all(0 <= record["confidence"] <= 1 for record in records)
    printed = capsys.readouterr().out  # next to right and declined
    assert "all shares of questions answered" in printed and "(calibration error)" in printed
