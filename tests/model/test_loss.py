"""The loss in chunks is the loss of all logits at once: values and gradients, in every precision."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from gristmill.model import loss
from gristmill.model.loss import IGNORE, linear_cross_entropy


@settings(max_examples=40)
@given(
    st.integers(1, 40),
    st.integers(2, 30),
    st.integers(1, 50),
    st.integers(0, 1000),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_the_loss_in_chunks_is_the_plain_one(
    rows: int, vocabulary: int, chunk: int, seed: int, kind: torch.dtype
) -> None:
    """Hidden states of any type; the weights are in float32 at least, as in training, and so are their gradients."""
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 7, generator=random).to(kind)
    weight = torch.randn(vocabulary, 7, generator=random).to(torch.promote_types(kind, torch.float32))
    targets = torch.randint(-1, vocabulary, (rows,), generator=random)
    targets[targets < 0] = IGNORE
    targets[0] = 0
    found = []
    for chunked in (True, False):
        h, w = (value.clone().requires_grad_() for value in (hidden, weight))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loss, "CHUNK_LOGITS", chunk * vocabulary)
            products = (h.double(), w.to(kind).double())
            value = (
                linear_cross_entropy(h, w, targets)
                if chunked
                else F.cross_entropy(products[0] @ products[1].T, targets)
            )
        (value * 3).backward()
        assert h.grad is not None and w.grad is not None and w.grad.dtype == weight.dtype
        found.append((value.detach().double(), h.grad.double(), w.grad.double()))
    near = 0.05 if kind == torch.bfloat16 else 1e-5
    for ours, plain in zip(*found, strict=True):
        assert torch.allclose(ours, plain, atol=near, rtol=near)


def test_without_a_target_the_loss_and_its_gradients_are_zero() -> None:
    for kind in (torch.float32, torch.float64):
        hidden, weight = (torch.randn(size, 16, dtype=kind).requires_grad_() for size in (3, 20))
        value = linear_cross_entropy(hidden, weight, torch.full((3,), IGNORE))
        value.backward()
        assert hidden.grad is not None and weight.grad is not None
        assert value.item() == 0 and not hidden.grad.any() and not weight.grad.any()


def test_gradients_are_made_where_they_are_wanted() -> None:
    hidden, weight, targets = torch.randn(3, 16), torch.randn(20, 16, requires_grad=True), torch.tensor([0, 1, 2])
    with torch.no_grad():
        scored = linear_cross_entropy(hidden, weight, targets)
    trained = linear_cross_entropy(hidden, weight, targets)
    assert not scored.requires_grad and trained.requires_grad and torch.equal(scored, trained.detach())
    assert not linear_cross_entropy(hidden, weight.detach(), targets).requires_grad
