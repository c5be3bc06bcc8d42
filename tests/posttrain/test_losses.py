"""Each loss against its paper's formula, written out with plain numbers, and against TRL's code on the same numbers."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gristmill.posttrain import losses

B, T, GROUP = 6, 7, 3
EXACT = 1e-10


def sigmoid(x: float) -> float:
    """As the papers write it."""
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Log-probabilities of six answers in two groups, with rewards and values, in float64."""
    draw = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    lengths = torch.tensor([7, 1, 4, 5, 2, 6])
    mask = (torch.arange(T) < lengths[:, None]).double()
    old = (-normal(B, T).abs() - 0.1) * mask
    return {
        "mask": mask,
        "old": old,
        "new": (old + 0.3 * normal(B, T)) * mask,
        "reference": (old + 0.2 * normal(B, T)) * mask,
        "rewards": torch.tensor([1.0, -1.0, 0.0, 0.5, 0.5, 2.0], dtype=torch.float64),
        "values": normal(B, T),
        "before": normal(B, T),
    }


def rows(values: Tensor, mask: Tensor) -> list[list[float]]:
    """The numbers of each answer's own tokens."""
    return [row[:length].tolist() for row, length in zip(values, mask.sum(1).int().tolist(), strict=True)]


def plain_advantages(rewards: list[float], scale: str) -> list[float]:
    """Of groups of three."""
    groups = [rewards[at : at + GROUP] for at in range(0, len(rewards), GROUP)]
    centred = [[reward - sum(group) / GROUP for reward in group] for group in groups]
    over_all = math.sqrt(sum(c * c for group in centred for c in group) / len(rewards))
    found = []
    for group in centred:
        own = math.sqrt(sum(c * c for c in group) / (GROUP - 1))
        divisor = {"group": own + 1e-4, "batch": over_all + 1e-4, "none": 1.0}[scale]
        found += [c / divisor for c in group]
    return found


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("level", ["token", "answer"])
@pytest.mark.parametrize("over", ["answer", "token", "limit"])
def test_grpo_is_its_formula(batch: dict[str, Tensor], scale: Any, level: Any, over: Any) -> None:
    low, high, beta, limit = 0.1, 0.28, 0.04, 9
    plain = plain_advantages(batch["rewards"].tolist(), scale)
    new, old, reference = (rows(batch[name], batch["mask"]) for name in ("new", "old", "reference"))
    tokens = sum(map(len, new))
    expected = 0.0
    for advantage, n, o, r in zip(plain, new, old, reference, strict=True):
        geometric = math.exp(sum(a - b for a, b in zip(n, o, strict=True)) / len(n))
        terms = []
        for a, b, c in zip(n, o, r, strict=True):
            ratio = math.exp(a - b) if level == "token" else geometric
            clipped = min(max(ratio, 1 - low), 1 + high)
            kl = math.exp(c) / math.exp(a) - math.log(math.exp(c) / math.exp(a)) - 1
            terms.append(-(min(ratio * advantage, clipped * advantage) - beta * kl))
        expected += {"answer": sum(terms) / len(n) / B, "token": sum(terms) / tokens, "limit": sum(terms) / B / limit}[
            over
        ]
    found = losses.group_advantages(batch["rewards"], GROUP, scale)
    assert found.tolist() == pytest.approx(plain, abs=EXACT)
    each = losses.surrogate(batch["new"], batch["old"], found, batch["mask"], (low, high), level)
    each = each + beta * losses.divergence(batch["new"], batch["reference"])
    whole = losses.Whole(B, tokens, limit)
    assert float(losses.average(each, batch["mask"], over, whole)) == pytest.approx(expected, abs=EXACT)


def test_parts_of_a_batch_add_up(batch: dict[str, Tensor]) -> None:
    whole = losses.Whole(B, float(batch["mask"].sum()), 9)
    for over in ("answer", "token", "limit"):
        parts = [
            losses.average(batch["new"][part], batch["mask"][part], over, whole)
            for part in (slice(0, 2), slice(2, None))
        ]
        assert float(sum(parts)) == pytest.approx(
            float(losses.average(batch["new"], batch["mask"], over, whole)), abs=EXACT
        )


def test_rloo_is_its_formula(batch: dict[str, Tensor]) -> None:
    rewards = batch["rewards"].tolist()
    expected = [
        reward - sum(rewards[i] for i in range(B) if i // GROUP == own // GROUP and i != own) / (GROUP - 1)
        for own, reward in enumerate(rewards)
    ]
    assert losses.left_out_advantages(batch["rewards"], GROUP).tolist() == pytest.approx(expected, abs=EXACT)


def test_pair_losses_are_their_formulas(batch: dict[str, Tensor]) -> None:
    new, reference = ((batch[name] * batch["mask"]).sum(1) for name in ("new", "reference"))
    margins, theirs = new[:3] - new[3:], reference[:3] - reference[3:]
    for beta, smoothing in ((0.1, 0.0), (0.5, 0.2)):
        deltas = [beta * (a - b) for a, b in zip(margins.tolist(), theirs.tolist(), strict=True)]
        plain = [-(1 - smoothing) * math.log(sigmoid(d)) - smoothing * math.log(sigmoid(-d)) for d in deltas]
        assert losses.dpo(margins, theirs, beta, smoothing).tolist() == pytest.approx(plain, abs=EXACT)
    plain = [-math.log(sigmoid(d)) for d in margins.tolist()]
    assert losses.bradley_terry(new[:3], new[3:]).tolist() == pytest.approx(plain, abs=EXACT)


def test_kto_is_its_formula(batch: dict[str, Tensor]) -> None:
    ratios = ((batch["new"] - batch["reference"]) * batch["mask"]).sum(1)
    good = torch.tensor([True, False, True, True, False, False])
    weights = torch.where(good, 1.0, 1.5).double()
    kl, beta = 0.3, 0.2
    plain = [
        weight * (1 - (sigmoid(beta * (ratio - kl)) if one else sigmoid(beta * (kl - ratio))))
        for ratio, one, weight in zip(ratios.tolist(), good.tolist(), weights.tolist(), strict=True)
    ]
    assert losses.kto(ratios, good, kl, beta, weights).tolist() == pytest.approx(plain, abs=EXACT)


@pytest.mark.parametrize(("discount", "decay"), [(1.0, 0.95), (0.9, 1.0), (0.99, 0.0)])
def test_gae_is_the_sum_of_all_later_errors(batch: dict[str, Tensor], discount: float, decay: float) -> None:
    """Rewards behind the end and values behind the end are no matter."""
    given = losses.token_rewards(batch["rewards"], batch["new"], batch["reference"], batch["mask"], 0.1)
    found, returns = losses.gae(given, batch["values"], batch["mask"], discount, decay)
    whole = zip(*(rows(batch[name], batch["mask"]) for name in ("new", "reference", "values")), strict=True)
    for row, (new, reference, values) in enumerate(whole):
        rewards = [-0.1 * (a - b) for a, b in zip(new, reference, strict=True)]
        rewards[-1] += float(batch["rewards"][row])
        after = [*values[1:], 0.0]
        errors = [r + discount * v - u for r, v, u in zip(rewards, after, values, strict=True)]
        for at in range(len(errors)):
            sum_of_all = sum((discount * decay) ** (k - at) * errors[k] for k in range(at, len(errors)))
            assert float(found[row, at]) == pytest.approx(sum_of_all, abs=EXACT)
            assert float(returns[row, at]) == pytest.approx(sum_of_all + values[at], abs=EXACT)
        assert not found[row, len(errors) :].any()


def test_ppos_value_loss_is_its_formula(batch: dict[str, Tensor]) -> None:
    found = losses.value_loss(batch["values"], batch["before"], batch["new"], 0.2)
    for value, before, wanted, loss in zip(
        *(batch[name].flatten().tolist() for name in ("values", "before", "new")), found.flatten().tolist(), strict=True
    ):
        clipped = min(max(value, before - 0.2), before + 0.2)
        assert loss == pytest.approx(0.5 * max((value - wanted) ** 2, (clipped - wanted) ** 2), abs=EXACT)


class Plumbing:
    """What stands around a trainer's loss in one process."""

    device, num_processes, sync_gradients = torch.device("cpu"), 1, True

    def gather(self, value: Tensor) -> Tensor:
        return value

    gather_for_metrics = gather

    def reduce(self, value: Tensor, reduction: str) -> Tensor:
        return value


def trainer(**settings: Any) -> Any:
    """What TRL's losses read of their trainer."""
    common: dict[str, Any] = {"aux_loss_enabled": False, "accelerator": Plumbing(), "_total_train_tokens": 0}
    common |= {
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "model": SimpleNamespace(training=True),
    }
    return SimpleNamespace(**common, _tp_size=1, **settings)


def outputs(logprobs: Tensor) -> Any:
    """What TRL's fused head gives."""
    zeros = torch.zeros_like(logprobs)
    return SimpleNamespace(log_probs=logprobs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


GRPO_TYPES = {"answer": "grpo", "token": "bnpo", "limit": "dr_grpo"}


@pytest.mark.parametrize("over", GRPO_TYPES)
@pytest.mark.parametrize("level", ["token", "answer"])
def test_grpo_is_trls(batch: dict[str, Tensor], over: Any, level: Any) -> None:
    grpo = pytest.importorskip("trl.trainer.grpo_trainer")
    config = SimpleNamespace(delta=None, use_bias_correction_kl=False)
    self = trainer(
        loss_type=GRPO_TYPES[over],
        importance_sampling_level="token" if level == "token" else "sequence",
        **{"beta": 0.04, "epsilon_low": 0.1, "epsilon_high": 0.28, "top_entropy_quantile": 1.0, "args": config},
        **{"off_policy_mask_threshold": None, "use_vllm": False, "_entropy_bonus_enabled": False},
        **{"max_completion_length": 9, "current_gradient_accumulation_steps": 1},
        _get_per_token_logps_and_entropies=lambda *_, **__: (batch["new"], torch.zeros(B, T), None),
    )
    advantages = losses.group_advantages(batch["rewards"], GROUP)
    ids = torch.zeros(B, T, dtype=torch.long)
    inputs = {"prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": batch["mask"]}
    inputs |= {"advantages": advantages, "old_per_token_logps": batch["old"], "ref_per_token_logps": batch["reference"]}
    theirs = grpo.GRPOTrainer._compute_loss(self, None, inputs)
    each = losses.surrogate(batch["new"], batch["old"], advantages, batch["mask"], (0.1, 0.28), level)
    each = each + 0.04 * losses.divergence(batch["new"], batch["reference"])
    whole = losses.Whole(B, float(batch["mask"].sum()), 9)
    assert float(losses.average(each, batch["mask"], over, whole)) == pytest.approx(float(theirs), abs=1e-6)


def test_rloo_is_trls(batch: dict[str, Tensor]) -> None:
    rloo = pytest.importorskip("trl.trainer.rloo_trainer")
    self = trainer(
        epsilon_low=0.1,
        epsilon_high=0.28,
        _get_per_token_logps_and_entropies=lambda *_, **__: (batch["new"], torch.zeros(B, T), None),
    )
    advantages = losses.left_out_advantages(batch["rewards"], GROUP)
    ids = torch.zeros(B, T, dtype=torch.long)
    inputs = {"prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": batch["mask"]}
    inputs |= {"advantages": advantages, "old_logps": batch["old"].sum(1)}
    theirs = rloo.RLOOTrainer._compute_loss(self, None, inputs)
    new, old = (batch[name].sum(1, keepdim=True) for name in ("new", "old"))
    ours = losses.surrogate(new, old, advantages, torch.ones_like(new), (0.1, 0.28)).mean()
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("normalised", [False, True])
def test_dpo_is_trls(batch: dict[str, Tensor], normalised: bool) -> None:
    dpo = pytest.importorskip("trl.trainer.dpo_trainer")
    kind = ["sigmoid_norm"] if normalised else ["sigmoid"]
    self = trainer(
        loss_types=kind, loss_weights=[1.0], beta=0.5, ld_alpha=None, precompute_ref_logps=True, label_smoothing=0.0
    )
    self.f_divergence_type, self.use_weighting = "reverse_kl", False
    counts, mask = batch["mask"].sum(1), torch.cat((torch.zeros(B, 1), batch["mask"]), 1)
    reference = (batch["reference"] * batch["mask"]).sum(1)
    inputs = {"input_ids": torch.zeros(B, T + 1, dtype=torch.long), "completion_mask": mask, "attention_mask": mask}
    inputs |= {"ref_chosen_logps": reference[:3], "ref_rejected_logps": reference[3:]}
    theirs = dpo.DPOTrainer._compute_loss(self, lambda **_: outputs(batch["new"]), inputs, False)
    ours, other = ((batch[name] * batch["mask"]).sum(1) for name in ("new", "reference"))
    if normalised:
        ours, other = ours / counts, other / counts
    found = losses.dpo(ours[:3] - ours[3:], other[:3] - other[3:], 0.5).mean()
    assert float(found) == pytest.approx(float(theirs), abs=1e-6)


def test_kto_is_trls(batch: dict[str, Tensor]) -> None:
    kto = pytest.importorskip("trl.trainer.kto_trainer")
    good = torch.tensor([True, False, True, True, False, False])
    mask = torch.cat((torch.zeros(B, 1), batch["mask"]), 1)
    ids = torch.zeros(B, T + 1, dtype=torch.long)
    sums = {name: (batch[name] * batch["mask"]).sum(1) for name in ("new", "old", "reference")}
    self = trainer(beta=0.2, precompute_ref_logps=True, calculate_KL=True, desirable_weight=1.0, undesirable_weight=1.5)
    self.loss_type, self._compute_kl_logps = "kto", lambda *_: sums["new"]
    inputs = {"input_ids": ids, "attention_mask": mask, "completion_mask": mask, "label": good}
    inputs |= {"ref_logps": sums["reference"], "ref_KL_logps": sums["old"]}
    theirs = kto.KTOTrainer._compute_loss(self, lambda **_: outputs(batch["new"]), inputs, False)
    kl = (sums["new"] - sums["old"]).mean().clamp(min=0)
    weights = torch.where(good, 1.0, 1.5).double()
    found = losses.kto(sums["new"] - sums["reference"], good, kl, 0.2, weights).mean()
    assert float(found) == pytest.approx(float(theirs), abs=1e-6)


def test_bradley_terry_is_trls(batch: dict[str, Tensor]) -> None:
    reward = pytest.importorskip("trl.trainer.reward_trainer")
    scores = batch["old"].sum(1, keepdim=True)
    self = trainer(args=SimpleNamespace(center_rewards_coefficient=None))
    theirs = reward.RewardTrainer.compute_loss(
        self, lambda **_: SimpleNamespace(logits=scores), {"attention_mask": batch["mask"]}
    )
    found = losses.bradley_terry(scores[:3, 0], scores[3:, 0]).mean()
    assert float(found) == pytest.approx(float(theirs), abs=1e-6)


def test_sft_is_trls(batch: dict[str, Tensor]) -> None:
    sft = pytest.importorskip("trl.trainer.sft_trainer")
    self = trainer(
        args=SimpleNamespace(loss_type="nll", average_tokens_across_devices=False),
        **{"compute_loss_func": None, "label_smoother": None},
    )
    self.accelerator.parallelism_config = None
    made = outputs(batch["new"])
    made.label_mask = batch["mask"].bool()
    inputs = {"attention_mask": batch["mask"], "labels": torch.zeros(B, T)}
    theirs = sft.SFTTrainer.compute_loss(self, lambda **_: made, inputs)
    assert float(losses.average(-batch["new"], batch["mask"], "token")) == pytest.approx(float(theirs), abs=1e-6)
