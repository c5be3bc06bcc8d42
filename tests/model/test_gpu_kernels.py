"""The kernels for GPUs: on one where there is one, otherwise in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before it is imported
pytest.importorskip("triton")

from gristmill.model import gpu_kernels, ops
from gristmill.model.loss import IGNORE

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}  # of the largest number


def near(found: Tensor, exact: Tensor, dtype: torch.dtype) -> bool:
    """Whether numbers are those of float64, to the precision of a type."""
    return bool((found.double() - exact).abs().max() <= CLOSE[dtype] * exact.abs().max())


@pytest.mark.parametrize("dtype", list(CLOSE))
def test_the_loss_and_its_gradient_are_those_of_float64(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    logits = (3 * torch.randn(6, 8_500, device=DEVICE)).to(dtype)  # more columns than are looked at once
    targets = torch.tensor([5, 0, IGNORE, 8_499, 8_192, IGNORE], device=DEVICE)
    exact = logits.double().requires_grad_()
    losses = F.cross_entropy(exact, targets, ignore_index=IGNORE, reduction="none")
    (losses.sum() * 0.25).backward()
    found = gpu_kernels.cross_entropy(logits, targets, torch.tensor(0.25, device=DEVICE), IGNORE)
    assert found.dtype == torch.float32 and near(found, losses.detach(), torch.float32)
    assert exact.grad is not None and near(logits, exact.grad, dtype)
    assert not logits[2].any() and not logits[5].any()


@pytest.mark.parametrize("dtype", list(CLOSE))
def test_norm_and_rotation_are_those_of_the_formula(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    B, T, H, K, eps = 3, 21, 3, 16, 1e-6  # 189 heads of tokens: no multiple of what is computed at once
    wide = torch.randn(B, T, H * K + 32, device=DEVICE).to(dtype)  # heads are a part of it
    weight, outer = 1 + torch.randn(K, device=DEVICE) / 4, torch.randn(B, T, H, K, device=DEVICE).to(dtype)
    angle = torch.arange(T, device=DEVICE)[:, None] * torch.logspace(0, -3, K // 2, device=DEVICE)
    turns = angle.cos().float(), angle.sin().float()

    exact, exact_weight = wide.double().requires_grad_(), weight.double().requires_grad_()
    normed = ops.rms_norm(exact[..., 16:-16].view(B, T, H, K), exact_weight, eps)
    truth = ops.apply_rope(normed.transpose(1, 2), *(turn.double() for turn in turns)).transpose(1, 2)
    truth.backward(outer.double())

    given, scale = wide.clone().requires_grad_(), weight.clone().requires_grad_()
    found = gpu_kernels.norm_and_turn(given[..., 16:-16].view(B, T, H, K), scale, *turns, eps)
    found.backward(outer)
    assert found.dtype == dtype and near(found.detach(), truth.detach(), dtype)
    assert given.grad is not None and exact.grad is not None and near(given.grad, exact.grad, dtype)
    assert scale.grad is not None and exact_weight.grad is not None
    assert scale.grad.dtype == torch.float32 and near(scale.grad, exact_weight.grad, dtype)


@pytest.mark.parametrize("dtype", list(CLOSE))
def test_swiglu_is_that_of_float64(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    both, outer = torch.randn(3, 5, 144, device=DEVICE).to(dtype), torch.randn(3, 5, 72, device=DEVICE).to(dtype)
    exact = both.double().requires_grad_()
    truth = ops.swiglu(*exact.chunk(2, -1))
    truth.backward(outer.double())
    given = both.clone().requires_grad_()
    found = gpu_kernels.swiglu(given)
    found.backward(outer)
    assert found.dtype == dtype and near(found.detach(), truth.detach(), dtype)
    assert given.grad is not None and exact.grad is not None and near(given.grad, exact.grad, dtype)
