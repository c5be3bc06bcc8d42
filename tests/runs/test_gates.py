"""Gates name what does not hold, and for a figure that there is not the nearest one."""

from __future__ import annotations

from gristmill.runs.gates import broken

FIGURES = {"audit.extractable_fraction": 0.5, "evaluate.unanswerable_declined": 0.95}


def test_a_misspelt_figure_is_told_with_the_nearest() -> None:
    assert broken({"evaluate.unanswerable_declined": ">= 0.9"}, FIGURES) == []
    (told,) = broken({"evaluate.unanswerable_decline": ">= 0.9"}, FIGURES)
    assert "evaluate.unanswerable_decline was not measured" in told
    assert told.endswith("did you mean `evaluate.unanswerable_declined`?")
    assert broken({"rl.kl": "< 1"}, FIGURES) == ["rl.kl was not measured; it is to be < 1"]
