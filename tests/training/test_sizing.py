"""One dial: sizes are met, what is set by hand wins, budgets are kept, costs are those that PyTorch counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gristmill.errors import UserError
from gristmill.files import sealed, unsealed
from gristmill.model.transformer import Transformer, parameter_count
from gristmill.recipe import Pretrain, Recipe
from gristmill.runs.fingerprint import fingerprint_of
from gristmill.settings.recipe_file import validate
from gristmill.settings.stages import BY_NAME
from gristmill.training import pretrain
from gristmill.training.budget.sizing import MOST_EPOCHS, Clock, config_of, flops_per_token, largest, parameters, turn
from gristmill.training.stopwatch import Stopwatch

VOCABULARY = 4096


def no_clock(made: Pretrain, steps: int, exact: bool = False) -> float:
    raise AssertionError("only a budget of time needs a measurement")


def turned(epoch_tokens: int = 10**13, clock: Clock = no_clock, **given: Any) -> Pretrain:
    """The settings after the dial was turned."""
    params = Pretrain(**given)
    return params.model_copy(update=turn(params, VOCABULARY, epoch_tokens, clock))


@pytest.mark.parametrize("size", ["400k", "700k", "1M", "3M", "10M", "40M", "124M", "350M", "1.5G"])
def test_a_size_is_met(size: str) -> None:
    made = turned(size=size)
    found = parameters(made, VOCABULARY)
    wanted = float(size[:-1]) * {"k": 1e3, "M": 1e6, "G": 1e9}[size[-1]]
    assert 0.8 < found / wanted < 1.2
    assert made.heads == made.kv_heads and made.width >= made.heads * made.head_dim >= made.width - 16
    assert 2 <= made.ffn_width / made.width <= 4 and made.max_steps > 0


def test_parameters_are_exact_and_flops_are_those_that_pytorch_counts() -> None:
    for tie in (False, True):
        params = Pretrain(
            layers=3, width=48, heads=4, kv_heads=2, head_dim=16, ffn_width=80, context=32, tie_embeddings=tie
        )
        model = Transformer(config_of(params, 300)).double()  # by PyTorch's own operations
        assert parameters(params, 300) == parameter_count(model)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            model(torch.zeros(4, 32, dtype=torch.long)).sum().backward()
        assert counter.get_total_flops() == pytest.approx(flops_per_token(params, 300) * 4 * 32, rel=1e-9)


def test_what_is_set_by_hand_wins() -> None:
    by_hand: dict[str, Any] = dict(
        layers=3, batch=5, head_lr=0.5, max_steps=77, evaluate_every=3, ffn_width=200, heads=6, head_dim=20
    )
    made = turned(size="5M", **by_hand)
    assert {name: getattr(made, name) for name in by_hand} == by_hand
    assert 0.7 < parameters(made, VOCABULARY) / 5e6 < 1.3
    made = turned(size="5M", width=128)  # layers make up for it
    assert made.width == 128 and 0.9 < parameters(made, VOCABULARY) / 5e6 < 1.1
    made = turned(epoch_tokens=10**6, size="2M", epochs=2.0)
    assert made.max_steps * made.batch * made.context == pytest.approx(2e6, rel=0.02)


def test_the_batch_that_is_chosen_divides_into_the_parts_that_are_set() -> None:
    for accumulate in (3, 4, 7, 100):
        assert turned(size="1M", accumulate=accumulate).batch % accumulate == 0


def test_few_documents_are_not_read_too_often() -> None:
    made = turned(epoch_tokens=100_000, size="2M")
    assert made.max_steps * made.batch * made.context == pytest.approx(MOST_EPOCHS * 100_000, rel=0.02)


@pytest.mark.parametrize("budget", ["1e14", "3e15", "1e17"])
def test_a_budget_of_computing_is_spent_and_not_exceeded(budget: str) -> None:
    made = turned(budget=budget)
    spent = flops_per_token(made, VOCABULARY) * made.max_steps * made.batch * made.context
    assert 0.9 < spent / float(budget) <= 1


def test_a_budget_of_time_is_spent_by_what_the_clock_says() -> None:
    """A machine of 1e11 FLOPs a second that loses 10 ms a step."""

    def clock(made: Pretrain, steps: int, exact: bool = False) -> float:
        step = 0.01 + flops_per_token(made, VOCABULARY) * made.batch * made.context / 1e11
        return 2.0 + steps * step

    small, large = turned(budget="5min", clock=clock), turned(budget="5h", clock=clock)
    assert parameters(small, VOCABULARY) < 0.5 * parameters(large, VOCABULARY)
    for made, seconds in ((small, 300), (large, 18000)):
        assert 0.98 * seconds < clock(made, made.max_steps) <= seconds
    sized = turned(budget="5h", size="1M", clock=clock)
    assert parameters(sized, VOCABULARY) == pytest.approx(1e6, rel=0.1) and sized.max_steps > large.max_steps


@pytest.mark.parametrize("wrong", [1.0, 1.5])
def test_a_budget_with_epochs_is_spent_on_the_largest_model_that_reads_them(wrong: float) -> None:
    """Also where the exact clock says that the rough one promised too much."""

    def clock(made: Pretrain, steps: int, exact: bool = False) -> float:
        step = flops_per_token(made, VOCABULARY) * made.batch * made.context / 1e11
        return steps * step * (wrong if exact else 1)

    made = turned(epoch_tokens=10**6, clock=clock, budget="5min", epochs=2.0)
    assert made.max_steps * made.batch * made.context == pytest.approx(2e6, rel=0.02)
    assert 100 < clock(made, made.max_steps, exact=True) <= 300
    with pytest.raises(UserError, match=r"budget = 1s is too little for [\d,]+ steps"):
        turned(epoch_tokens=10**6, clock=clock, budget="1s", epochs=2.0)


def test_a_budget_of_computing_with_steps_is_not_exceeded() -> None:
    made = turned(budget="1e14", max_steps=200)
    assert flops_per_token(made, VOCABULARY) * 200 * made.batch * made.context <= 1e14
    with pytest.raises(UserError, match="too little"):
        turned(budget="1e11", max_steps=2000)


def test_rates_follow_the_width() -> None:
    defaults = {name: field.default for name, field in Pretrain.model_fields.items()}
    made = turned(size="124M")
    assert made.width == turned(size="1.24e8").width
    for name in ("embed_lr", "head_lr"):
        assert getattr(made, name) == pytest.approx(defaults[name] * (defaults["width"] / made.width) ** 0.5, rel=0.01)
    assert made.muon_lr == defaults["muon_lr"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"size": "10k"}, "smallest model"),
        ({"size": "500M", "width": 128}, "size = 500,000,000 parameters contradicts pretrain.width = 128"),
        ({"size": "4000G"}, "out of reach"),
        ({"budget": "10"}, "too little"),
        ({"size": "1T"}, "a size is"),
        ({"budget": "5 weeks"}, "a budget is"),
    ],
)
def test_what_cannot_be_is_said(given: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        params = validate(Pretrain, dict(given), "test")
        turn(params, VOCABULARY, 10**9, no_clock)


def test_the_fingerprint_tells_what_was_set_by_hand() -> None:
    """A default that is written down binds the dial; one that is not does not."""
    stage, default = BY_NAME["pretrain"], Pretrain.model_fields["layers"].default
    prints = [
        fingerprint_of(stage, Pretrain(**given), {})
        for given in ({}, {"layers": default}, {"size": "1M"}, {"size": "1M", "layers": default})
    ]
    assert prints[0] == prints[1] and len(set(prints)) == 3
    assert Recipe(pretrain=Pretrain(size="1M", layers=3)).model_dump()["pretrain"] == {"size": "1M", "layers": 3}


def test_what_a_budget_has_no_time_to_measure_is_extrapolated() -> None:
    """Whatever the machine, a millisecond is over after the first model."""
    with Stopwatch(1e-3, VOCABULARY) as clock:
        small, large = Pretrain(width=64, layers=2), Pretrain(width=64, layers=8)
        first, second = clock(small, 1000), clock(large, 1000)
        assert list(clock.timings) == [flops_per_token(small, VOCABULARY)]
        more = flops_per_token(large, VOCABULARY) / flops_per_token(small, VOCABULARY)
        assert second - clock.spent == pytest.approx(more * (first - clock.spent), rel=1e-6)
        assert clock(large, 1000, exact=True) > clock(small, 1000) > clock(small, 500)
        assert len(clock.timings) == 1
    with Stopwatch(1e-3, VOCABULARY) as clock, pytest.raises(UserError, match="too little for one step"):
        turn(
            Pretrain(budget="1s"), VOCABULARY, 10**6, lambda made, steps, exact=False: 1000 * clock(made, steps, exact)
        )


def test_an_interrupted_run_keeps_its_choice(
    inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chosen once by the clock, whatever the clock says later."""
    shape: dict[str, Any] = dict(
        layers=1, width=32, heads=1, kv_heads=1, head_dim=32, ffn_width=64, context=64, batch=4
    )
    params = Pretrain(budget="2min", **shape, sample_prompts=[], checkpoint_seconds=0)
    pretrain.prepare(inputs, params, tmp_path)  # what a run that was killed before its first step has done
    assert "measuring how fast this machine trains: at most 12s of the 2m00s" in capsys.readouterr().err
    chosen = unsealed(tmp_path / "dial.json", "")
    chosen["max_steps"] = 7  # as a slower machine would have chosen
    (tmp_path / "dial.json").write_text(sealed(json.dumps(chosen)))
    made = pretrain.run(inputs, params, tmp_path)
    assert made.counts["steps"] == 7 and made.metrics["max_steps"] == 7


def test_the_largest_that_fits_is_found_without_asking_far_beyond() -> None:
    for count in range(1, 40):
        for answer in range(count):
            asked: list[int] = []

            def fits(index: int, answer: int = answer, asked: list[int] = asked) -> bool:
                asked.append(index)
                return index <= answer

            assert largest(count, fits) == answer
            assert max(asked, default=0) <= 2 * answer + 2 and len(asked) <= 12


def test_a_dial_chooses_heads_that_suit_those_of_keys_and_values() -> None:
    made = turn(Pretrain(size="2M", kv_heads=3), 1000, 10**6)
    assert made["heads"] % 3 == 0
    with pytest.raises(UserError, match=r"heads = 4 and pretrain\.kv_heads = 3"):
        Pretrain(size="2M", heads=4, kv_heads=3)
    with pytest.raises(UserError, match="no model has such a shape"):
        turn(Pretrain(size="2M", kv_heads=999), 1000, 10**6)
