"""Gates name what does not hold, and for a figure that there is not those that may be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.errors import UserError
from gristmill.recipe import Recipe
from gristmill.runs.gates import broken, foreseen
from gristmill.settings.recipe_file import load_recipe

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


def test_what_no_run_can_measure_is_told_before_it() -> None:
    gates = {
        "run.wall_seconds": "< 9",
        "corpus.documents_kept": "> 1",
        "rl.unanswerable_declined_low": "> 0",
        "evaluate.talk_accuracy": "> 0",  # a split that the questions may have
        "redact.iban": "< 9",
        "tasks.mine.acc": "> 0",
        "pretrain.own": "> 0",  # that an earlier run had
        "evaluate.unanswerable_decline": "> 0",
        "pretrain.zebra": "> 0",
        "tasks.yours.acc": "> 0",
        "dpo.loss": "< 1",
        "evalute.heldout_bpb": "< 1",
    }
    tables = {"extract": {}, "redact": {}, "pretrain": {}, "rl": {}, "evaluate": {"tasks": {"mine": "a.jsonl"}}}
    recipe = Recipe.model_validate(tables | {"rl": {"prompts": "p.jsonl"}, "gates": gates})
    assert list(foreseen(recipe, ["pretrain.own"])) == [
        (
            "evaluate.unanswerable_decline is not known as a figure of evaluate, did you mean "
            "`evaluate.unanswerable_declined`?",
            False,
        ),
        ("pretrain.zebra is not known as a figure of pretrain", False),
        ("tasks.yours.acc: evaluate.tasks has no such task (it has mine)", True),
        ("dpo.loss: the recipe has no [dpo]", True),
        ("evalute.heldout_bpb: no stage is called `evalute`, did you mean `evaluate.heldout_bpb`?", True),
    ]


@pytest.mark.parametrize("table", ['"rl.kl" = "< 1"\n"run.seconds" = "< 9"', 'rl.kl = "< 1"\nrun.seconds = "< 9"'])
def test_gates_may_be_written_with_and_without_quotes(table: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f"[extract]\n[gates]\n{table}\n")
    assert load_recipe(path).gates == {"rl.kl": "< 1", "run.seconds": "< 9"}
    assert load_recipe(path, ["gates.rl.kl=< 2"]).gates["rl.kl"] == "< 2"
    assert load_recipe(path, ['gates."rl.kl"=< 2', "gates.audit.x=> 1"]).gates["audit.x"] == "> 1"
    if table.startswith('"'):
        assert load_recipe(path, ["gates.rl.kl="]).gates == {"run.seconds": "< 9"}
    with pytest.raises(UserError, match=r"`gates.rl.kl`: a gate is a bound(.|\n)*give figures of summary.json"):
        load_recipe(path, ['gates.rl.kl="5"'])


def test_a_bound_holds_or_is_told() -> None:
    assert broken({"evaluate.unanswerable_declined": ">= 0.9"}, FIGURES) == []
    assert broken({"audit.extractable_fraction": "< 0.5"}, FIGURES) == [
        "audit.extractable_fraction is 0.5; it is to be < 0.5"
    ]
