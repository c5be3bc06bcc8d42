"""Gates name what does not hold, and for a figure that there is not those that may be meant."""

from __future__ import annotations

import pytest

from gristmill.runs.gates import broken

FIGURES = {
    "audit.extractable_fraction": 0.5,
    "audit.seconds": 9.0,
    "audit.canary_exposure_bits": 4.0,
    "evaluate.unanswerable_declined": 0.95,
    "evaluate.left_out": 0.0,
    "evaluate.too_long": 0.0,
    "pretrain.heldout_bpb": 0.5,
    "pretrain.train_bpb": 0.4,
    "reward.heldout_accuracy": 0.7,
    "rl.kl": 0.1,
}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("evaluate.unanswerable_decline", "did you mean `evaluate.unanswerable_declined`?"),
        ("evalute.unanswerable_declined", "did you mean `evaluate.unanswerable_declined`?"),
        ("audit.extractable", "did you mean `audit.extractable_fraction`?"),
        ("audit.exposure", "did you mean `audit.canary_exposure_bits`?"),
        ("heldout_bpb", "did you mean `pretrain.heldout_bpb`?"),
        ("pretrain.bpb", "did you mean `pretrain.train_bpb` or `pretrain.heldout_bpb`?"),
        ("audit.secrets", ""),  # nothing like `audit.seconds`
        ("evaluate.wrong", ""),
        ("evaluate.mmlu", ""),
        ("dpo.heldout_accuracy", ""),  # that of the reward model is another one
        ("sft.kl", ""),
    ],
)
def test_only_what_may_be_meant_is_suggested(name: str, told: str) -> None:
    assert broken({name: ">= 0.9"}, FIGURES) == [
        f"{name} was not measured; it is to be >= 0.9{', ' * bool(told)}{told}"
    ]


def test_a_bound_holds_or_is_told() -> None:
    assert broken({"evaluate.unanswerable_declined": ">= 0.9"}, FIGURES) == []
    assert broken({"audit.extractable_fraction": "< 0.5"}, FIGURES) == [
        "audit.extractable_fraction is 0.5; it is to be < 0.5"
    ]
