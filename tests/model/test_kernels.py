"""The fused kernels against the plain formulas in float64: values, gradients, any number of threads, both widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gristmill.model import kernels
from gristmill.model.loss import cross_entropy, linear_cross_entropy
from gristmill.model.ops import apply_rope
from gristmill.model.transformer import Block, ModelConfig, RMSNorm, Transformer

pytestmark = pytest.mark.usefixtures("vectors")


def compare(fused: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: list[Tensor], tolerance: float) -> None:
    """Values and gradients of `fused` in float32 equal those of `plain` in float64, relative to their size."""
    mine = [x.float().requires_grad_() for x in inputs]
    exact = [x.float().double().requires_grad_() for x in inputs]
    y, expected = fused(*mine), plain(*exact)
    assert y.shape == expected.shape
    upstream = torch.randn(y.shape)
    found = [y, *torch.autograd.grad(y, mine, upstream)]
    wanted = [expected, *torch.autograd.grad(expected, exact, upstream.double())]
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.double() - theirs).abs().max() <= tolerance * (theirs.abs().max() + 1)


def attention(
    inputs: Sequence[Tensor | None],
    angles: tuple[Tensor, Tensor],
    starts_BT: Tensor | None = None,
    firsts_BT: Tensor | None = None,
    kept_BT: Tensor | None = None,
) -> Tensor:
    """QK-norm, rotary positions and causal attention as the equations have them; [B, T, heads, K] in and out."""
    q, k, v, q_weight, k_weight = inputs
    assert q is not None and k is not None and v is not None

    def turned(x: Tensor, weight: Tensor | None) -> Tensor:
        normed = x if weight is None else x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight
        return apply_rope(normed.transpose(1, 2), *(angle.to(x) for angle in angles))

    group = q.size(2) // k.size(2)
    q, k, v = turned(q, q_weight), turned(k, k_weight), v.transpose(1, 2)
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = q @ k.mT / q.size(-1) ** 0.5
    ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    if starts_BT is not None:
        before = torch.arange(q.size(2)) < starts_BT[:, None, :, None]
        if firsts_BT is not None and kept_BT is not None:
            places, firsts, kept = torch.arange(q.size(2)), firsts_BT[:, None, :, None], kept_BT[:, None, :, None]
            before &= (places < firsts) | (places >= kept)
        ahead = ahead | before
    y_BTHK: Tensor = (scores.masked_fill(ahead, -torch.inf).softmax(-1) @ v).transpose(1, 2)
    return y_BTHK


@pytest.mark.parametrize(
    ("B", "T", "H", "G", "K"),
    [(2, 1, 2, 1, 16), (1, 7, 2, 2, 32), (2, 33, 4, 2, 48), (3, 64, 2, 2, 64), (1, 130, 3, 1, 128)],
)
def test_attention(B: int, T: int, H: int, G: int, K: int) -> None:
    torch.manual_seed(T)
    model = Transformer(ModelConfig(8, 1, 16, H, G, K, 16, T))
    angles = model.angles(torch.arange(T)[None])
    plane = tuple(angle[0, 0] for angle in angles)
    inputs = [torch.randn(B, T, heads, K) for heads in (H, G, G)] + [torch.rand(K) + 0.5 for _ in range(2)]

    def fused(*inputs: Tensor) -> Tensor:
        return kernels.Attend.apply(*inputs, *plane, 1e-6)

    compare(fused, lambda *inputs: attention(inputs, angles), inputs, 1e-5)
    starts = torch.stack([torch.arange(T) // length * length for length in (5, 40)])[torch.arange(B) % 2]

    def masked(*inputs: Tensor) -> Tensor:
        return kernels.Attend.apply(*inputs, *plane, 1e-6, starts)

    compare(masked, lambda *inputs: attention(inputs, angles, starts), inputs, 1e-5)
    sharp = [*inputs[:3], inputs[3] * 40, inputs[4] * 40]  # scores of thousands: one key takes all
    exact = attention([x.double() for x in sharp], angles)
    assert (fused(*sharp).double() - exact).abs().mean() < 1e-3
    place = torch.arange(T)  # beginnings of 20 places, of which all but the first 6 are ways on of 5 places
    firsts = place // 20 * 20
    starts = torch.where(place - firsts < 6, firsts, firsts + 6 + (place - firsts - 6) // 5 * 5)
    turned = model.angles((place - firsts - torch.where(starts > firsts, starts - firsts - 6, 0)).expand(B, T))
    rows = tuple(x.expand(B, T) for x in (starts, firsts, firsts + 6))

    def branched(*inputs: Tensor) -> Tensor:
        return kernels.Attend.apply(*inputs, *(angle[:, 0] for angle in turned), 1e-6, *rows)

    compare(branched, lambda *inputs: attention(inputs, turned, *rows), inputs, 1e-5)

    def unnormed(*inputs: Tensor) -> Tensor:
        return kernels.Attend.apply(*inputs, None, None, *plane, 1e-6)

    compare(unnormed, lambda *inputs: attention([*inputs, None, None], angles), inputs[:3], 1e-5)


@settings(max_examples=20)
@given(rows=st.integers(1, 150), width=st.integers(1, 12), size=st.floats(1e-4, 1e4))
def test_rms_norm(rows: int, width: int, size: float) -> None:
    torch.manual_seed(rows)
    inputs = [torch.randn(rows, 16 * width) * size, torch.randn(16 * width)]
    compare(
        lambda x, w: kernels.Norm.apply(x, w, 1e-6),
        lambda x, w: x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w,
        inputs,
        1e-5,
    )


@settings(max_examples=20)
@given(rows=st.integers(1, 1200), size=st.floats(1e-3, 200))
def test_swiglu(rows: int, size: float) -> None:
    torch.manual_seed(rows)
    inputs = [torch.randn(rows, 16) * size, torch.randn(rows, 16)]
    compare(kernels.SwiGLU.apply, lambda gate, up: F.silu(gate) * up, inputs, 1e-5)


@settings(max_examples=20)
@given(rows=st.integers(1, 40), vocabulary=st.integers(1, 100), size=st.floats(1e-3, 10))
def test_cross_entropy(rows: int, vocabulary: int, size: float) -> None:
    torch.manual_seed(rows)
    inputs = [torch.randn(rows, 16), torch.randn(vocabulary, 16) * size]
    targets = torch.randint(vocabulary, (rows,))
    compare(
        lambda x, w: linear_cross_entropy(x, w, targets),
        lambda x, w: F.cross_entropy(x @ w.T, targets),
        inputs,
        1e-5,
    )


def test_logits_of_any_size_give_a_finite_loss() -> None:
    x, weight, targets = torch.randn(9, 16), torch.randn(40, 16) * 1e6, torch.randint(40, (9,))
    loss = linear_cross_entropy(x, weight, targets)
    assert loss.item() == pytest.approx(F.cross_entropy((x @ weight.T).double(), targets).item(), rel=1e-5)


def test_chunks_of_the_loss_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, targets = torch.randn(50, 16), torch.randn(30, 16), torch.randint(30, (50,))
    whole = linear_cross_entropy(x, weight, targets)
    monkeypatch.setattr("gristmill.model.loss.CHUNK_LOGITS", 7 * 30)
    assert torch.allclose(whole, linear_cross_entropy(x, weight, targets))
    test_cross_entropy()


@pytest.mark.parametrize("wrong", [-1, 30, 1 << 40])
def test_a_target_beyond_the_vocabulary_is_refused(wrong: int) -> None:
    with pytest.raises(IndexError):
        linear_cross_entropy(torch.randn(2, 16), torch.randn(30, 16), torch.tensor([3, wrong]))


def test_nan_is_not_hidden() -> None:
    x = torch.randn(4, 32)
    x[2, 5] = torch.nan
    assert kernels.SwiGLU.apply(x, x)[2, 5].isnan() and kernels.SwiGLU.apply(x, x).isnan().sum() == 1
    assert kernels.Norm.apply(x, torch.ones(32), 1e-6)[2].isnan().all()
    assert linear_cross_entropy(x, torch.randn(9, 32), torch.zeros(4, dtype=torch.long)).isnan()


def test_a_training_step_has_the_same_bits_with_any_number_of_threads() -> None:
    torch.manual_seed(0)
    ids = torch.randint(300, (4, 101))
    model = Transformer(ModelConfig(300, 2, 64, 4, 2, 16, 96, 128))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.1)
    before, found = torch.get_num_threads(), []
    h = model.hidden(ids[:, :-1]).detach().requires_grad_()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            block = model.layers[0]
            assert isinstance(block, Block)
            q, k, v = (torch.tensor_split(h, 3, 1)[i][:, :33].reshape(4, 33, 4, 16) for i in range(3))
            angles = (angle[0, 0] for angle in model.angles(torch.arange(33)[None]))
            y = kernels.Attend.apply(
                q, k, v, block.attention.q_norm.weight, block.attention.k_norm.weight, *angles, 1e-6
            )
            loss = y.square().sum() + block.ffn_norm(h).square().sum() + kernels.SwiGLU.apply(h, h).sum()
            found.append([loss.detach(), *torch.autograd.grad(loss, [h, block.ffn_norm.weight])])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0][1:], other[1:], strict=True))


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_with_kernels_equals_the_model_without(tied: bool) -> None:
    torch.manual_seed(2)
    config = ModelConfig(515, 2, 96, 4, 2, 32, 160, 80, tie_embeddings=tied)
    fused, plain = Transformer(config), Transformer(config).double()
    for weight in fused.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.15)
    plain.load_state_dict(fused.state_dict())
    assert kernels.fits(torch.zeros(1), 32) and not kernels.fits(torch.zeros(1).double(), 32)
    ids = torch.randint(515, (3, 78))
    ids[0, 40:] = -100  # padding bears no loss
    losses = [cross_entropy(model, ids[:, :-1].clamp(min=0), ids[:, 1:]) for model in (fused, plain)]
    assert abs(losses[0].item() - losses[1].item()) < 1e-5
    for loss in losses:
        loss.backward()
    for (name, ours), theirs in zip(fused.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert (ours.grad - theirs.grad).norm() < 1e-4 * theirs.grad.norm(), name


def test_other_shapes_take_the_plain_path() -> None:
    norm = RMSNorm(10, 1e-6)
    assert not kernels.fits(torch.zeros(3, 10), 10)
    x = torch.randn(3, 10)
    assert torch.allclose(norm(x), x / x.square().mean(-1, keepdim=True).add(1e-6).sqrt(), atol=1e-6)
