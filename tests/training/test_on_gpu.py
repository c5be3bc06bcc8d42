"""Training and generation on a GPU give what a CPU gives. These tests need a GPU, and are skipped without one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from models import all_matter
from torch import Tensor

from gristmill.model.loss import IGNORE, cross_entropy
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.training import gpu
from gristmill.training.optimizer import Optimizer, Rates

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SHAPES = {"heads of 64": (2, 2, 64), "grouped heads of 32": (4, 2, 32)}


def pair(heads: int, kv_heads: int, head_dim: int, qk_norm: bool = True) -> tuple[Transformer, Transformer]:
    """The same model on the CPU and on the GPU, none of whose weights is zero."""
    torch.manual_seed(3)
    config = ModelConfig(600, 2, 128, heads, kv_heads, head_dim, 256, 64, qk_norm=qk_norm)
    here = all_matter(Transformer(config), std=0.05)
    there = Transformer(here.config).cuda()
    there.load_state_dict(here.state_dict())
    return here, there


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and where documents begin, of which some rows have several, and padding."""
    ids = torch.randint(0, 600, (6, 65), generator=torch.Generator().manual_seed(1))
    targets, starts = ids[:, 1:].clone(), torch.zeros(6, 64, dtype=torch.int64)
    targets[1, 50:] = IGNORE
    starts[2, 10:], starts[2, 33:], starts[4, 63:] = 10, 33, 63
    return ids[:, :-1], targets, starts


def slopes(model: Transformer) -> Tensor:
    """All gradients, on the CPU."""
    return torch.cat([w.grad.flatten().cpu() for w in model.parameters() if w.grad is not None])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_gradients_in_float32_are_those_of_a_cpu(shape: str, masked: bool) -> None:
    inputs, targets, starts = batch()
    here, there = pair(*SHAPES[shape])
    found = []
    for model in (here, there):
        loss = cross_entropy(model, inputs, targets, bfloat16=False, starts_BT=starts if masked else None)
        loss.backward()
        found.append((loss.item(), slopes(model)))
    assert found[1][0] == pytest.approx(found[0][0], rel=2e-5)
    assert F.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.9999


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_in_bfloat16_they_are_near(shape: str, masked: bool, compiled: bool, qk_norm: bool) -> None:
    inputs, targets, starts = batch()
    here, there = pair(*SHAPES[shape], qk_norm=qk_norm)
    exact = cross_entropy(here, inputs, targets, starts_BT=starts if masked else None)
    exact.backward()
    gpu.prepare(there, compiled, False)
    loss = cross_entropy(there, inputs, targets, starts_BT=starts if masked else None)
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
    for name, weight in there.named_parameters():
        truth = dict(here.named_parameters())[name].grad
        assert weight.grad is not None and weight.grad.dtype == torch.float32 and truth is not None
        assert F.cosine_similarity(weight.grad.flatten().cpu(), truth.flatten(), dim=0) > 0.99, name


def test_steps_learn_what_those_of_a_cpu_learn() -> None:
    inputs, targets, starts = batch()
    ends = []
    for model in pair(2, 2, 64):
        optimizer = Optimizer(model, Rates(0.02, 0.02, 0.02))
        for _ in range(20):
            loss = cross_entropy(model, inputs, targets, starts_BT=starts)
            loss.backward()
            optimizer.step(1.0)
        ends.append(loss.item())
    assert ends[1] == pytest.approx(ends[0], rel=0.05) and ends[0] < 3
