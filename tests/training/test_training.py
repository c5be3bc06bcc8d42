"""The training loop: exact resume, the optimizer against its definitions, data order, bits per byte."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command_line import python
from torch import Tensor, nn

from gristmill.model.loss import IGNORE, bits_per_byte, padded
from gristmill.model.transformer import ModelConfig, Transformer, load_model
from gristmill.recipe import Pretrain
from gristmill.tokenizer.shards import open_split
from gristmill.training import pretrain
from gristmill.training.checkpoint import discard_checkpoint
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.loop import train
from gristmill.training.optimizer import Optimizer, Rates, evened, orthogonalize, share_of_peak

RATES = Rates(0.02, 0.02, 0.005, 0.01)


class Killed(BaseException):
    """Stands for a kill: nothing in the loop catches it."""


def tiny() -> Transformer:
    """A small model, always the same."""
    torch.manual_seed(3)
    return Transformer(ModelConfig(40, 2, 16, 2, 1, 8, 24, 16))


def go(
    out: Path, die_at: int = -1, swa: float = 0.0, weights: dict[int, dict[str, Tensor]] | None = None
) -> dict[str, Tensor]:
    """Train 20 steps with a checkpoint after each; die at a step if asked to. `weights` has those before each step."""
    out.mkdir(exist_ok=True)
    model = tiny()
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 40, (20, 4, 17)))

    def loss(step: int) -> StepLoss:
        if step == die_at:
            raise Killed
        if weights is not None:
            weights[step] = {name: value.clone() for name, value in model.state_dict().items()}
        ids, targets = tokens[step, :, :-1], tokens[step, :, 1:]
        return StepLoss(F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()), ids.numel())

    train(Job(model, loss, Plan("test", 20, RATES, checkpoint_seconds=0, swa=swa)), out)
    return model.state_dict()


@pytest.mark.parametrize(("deaths", "swa"), [([3], 0.0), ([7], 0.0), ([12, 17], 0.5), ([5, 10, 15], 0.75)])
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, deaths: list[int], swa: float) -> None:
    whole = go(tmp_path / "whole", swa=swa)
    for step in deaths:
        with pytest.raises(Killed):
            go(tmp_path / "killed", die_at=step, swa=swa)
    resumed = go(tmp_path / "killed", swa=swa)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (tmp_path / "whole/log.jsonl").read_bytes() == (tmp_path / "killed/log.jsonl").read_bytes()
    assert [path.name for path in sorted((tmp_path / "killed/checkpoints").iterdir())] == [
        "step-00000000",
        "step-00000019",
        "step-00000020",
    ]
    discard_checkpoint(tmp_path / "killed")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["log.jsonl"]


def test_the_mean_of_the_last_weights_is_their_mean(tmp_path: Path) -> None:
    before: dict[int, dict[str, Tensor]] = {}
    last = go(tmp_path / "plain", weights=before)
    mean = go(tmp_path / "mean", swa=0.25)  # after each of the steps 16 to 20
    for name, value in mean.items():
        weights = torch.stack([*(before[step][name] for step in range(16, 20)), last[name]]).double()
        torch.testing.assert_close(value.double(), weights.mean(0), rtol=1e-5, atol=1e-7)
        assert not torch.equal(value, last[name])
    assert all(torch.equal(value, last[name]) for name, value in go(tmp_path / "one", swa=0.05).items())


def test_a_bad_batch_is_skipped(tmp_path: Path) -> None:
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def loss(step: int) -> StepLoss:
        return StepLoss(model(torch.zeros(1, 4, dtype=torch.long)).sum() * math.nan, 4)

    log = train(Job(model, loss, Plan("test", 1, RATES)), tmp_path)
    assert log[0]["skipped"] and all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_pretrain_stage_learns_and_repeats(inputs: dict[str, Path], tmp_path: Path) -> None:
    shape: dict[str, Any] = dict(layers=2, width=32, heads=2, kv_heads=2, head_dim=16, ffn_width=64, context=64)
    params = Pretrain(**shape, batch=8, max_steps=60, evaluate_every=30, sample_prompts=["The"])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = pretrain.run(inputs, params, tmp_path / name)
    log = jsonl.read(tmp_path / "one/log.jsonl")
    heldout = [record["heldout_bpb"] for record in log if "heldout_bpb" in record]
    assert len(heldout) == 3 and heldout[-1] < 0.6 * heldout[0]
    assert made.metrics["heldout_bpb"] == heldout[-1]
    assert len((tmp_path / "one/samples.jsonl").read_text().splitlines()) == 3
    for file in ("model.safetensors", "log.jsonl", "samples.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_muon_brings_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 16), (2, 8, 40), (2, 40, 8)):
        gradient = torch.randn(shape)
        found = orthogonalize(gradient)
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.5 and values.max() < 1.3
        u, _, vt = torch.linalg.svd(gradient, full_matrices=False)
        assert F.cosine_similarity(found.flatten(), (u @ vt).flatten(), dim=0) > 0.98


ROUNDING = """
import torch
from gristmill.model.kernels import fast_products
from gristmill.training.optimizer import orthogonalize
torch.manual_seed(0)
gradient = torch.randn(2, 64, 64)
with fast_products():
    found = orthogonalize(gradient)
torch.testing.assert_close(found, orthogonalize(gradient.double()).float(), rtol=1e-3, atol=1e-4)
"""


def test_muon_is_float32_where_training_rounds_factors() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    done = python(ROUNDING, env=environment)
    assert done.returncode == 0, done.stderr


def test_the_optimizer_is_its_definition() -> None:
    """Matrices: Nesterov momentum, orthogonalised, scaled. The rest: PyTorch's own AdamW."""
    model, twin = tiny(), tiny()
    optimizer = Optimizer(model, RATES)
    others = {name: weight for name, weight in twin.named_parameters() if "layers" not in name or weight.ndim == 1}
    groups = [{"params": [w], "lr": 0.02 if "embed" in n else 0.005} for n, w in others.items()]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
    momentum = {name: torch.zeros_like(w) for name, w in twin.named_parameters() if name not in others}
    for _ in range(3):
        for network in (model, twin):
            network(torch.arange(12)[None]).square().mean().backward()
        optimizer.step(1.0)
        with torch.no_grad():
            adam.step()
            for name, moved in momentum.items():
                weight = dict(twin.named_parameters())[name]
                assert weight.grad is not None
                moved.mul_(0.95).add_(weight.grad, alpha=0.05)
                update = orthogonalize((0.05 * weight.grad + 0.95 * moved)[None])[0]
                scale = 0.02 * max(1, weight.size(0) / weight.size(1)) ** 0.5
                weight.mul_(1 - 0.02 * 0.01).sub_(scale * update)
            twin.zero_grad()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5), name


def test_normuon_evens_out_neurons_and_keeps_the_length() -> None:
    """Against the paper's formulas (arXiv:2510.05491, algorithm 1), but that each matrix keeps its length."""
    torch.manual_seed(4)
    square = torch.zeros(2, 6, 1, dtype=torch.float64)
    running = torch.zeros(2, 6, 1, dtype=torch.float64)
    for _ in range(5):
        update = torch.randn(2, 6, 9, dtype=torch.float64) * torch.arange(1, 7)[None, :, None]
        running = 0.95 * running + 0.05 * (update**2).mean(2, keepdim=True)
        expected = update / running.sqrt()
        expected *= (update.flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1))[:, None, None]
        assert torch.allclose(evened(update, square), expected)
    before, after = (rows.norm(dim=2) for rows in (update, evened(update, square)))
    assert (after.amax(1) / after.amin(1) < 0.5 * before.amax(1) / before.amin(1)).all()


def test_the_schedule_rises_holds_and_falls_to_zero() -> None:
    shares = [share_of_peak(step, 100, 0.1, 0.5) for step in range(100)]
    assert shares[0] == pytest.approx(0.1) and shares[9:51] == [1.0] * 42
    assert shares[75] == pytest.approx(0.5) and 0 < shares[99] <= 0.02


def test_bits_per_byte_of_a_uniform_model(tokens_folder: Path, model_folder: Path) -> None:
    model = load_model(model_folder)
    with torch.no_grad():
        model.head.weight.zero_()
    split = open_split(tokens_folder, "heldout")
    expected = len(split.tokens) * math.log2(model.config.vocab_size) / int(split.bytes.sum())
    assert bits_per_byte(model, split) == pytest.approx(expected, rel=1e-5)


def test_padding_bears_no_loss_and_keeps_rows() -> None:
    rows = [np.array([1, 2, 3, 4]), np.array([5, 6])]
    ids, targets = padded(rows, [np.array([False, False, True, True]), np.array([True, True])])
    assert ids.tolist() == [[1, 2, 3] + 13 * [0], [5] + 15 * [0]]
    assert targets.tolist() == [[IGNORE, 3, 4] + 13 * [IGNORE], [6] + 15 * [IGNORE]]


def test_every_parameter_is_trained_by_exactly_one_rule() -> None:
    model = tiny()
    optimizer = Optimizer(model, RATES)
    muon = [weight for stack in optimizer.stacks.values() for weight in stack]
    adam = [weight for group in optimizer.adam for weight in group.weights]
    assert sorted(map(id, [*muon, *adam])) == sorted(map(id, model.parameters()))
    assert all(isinstance(weight, nn.Parameter) and weight.ndim == 2 for weight in muon)
