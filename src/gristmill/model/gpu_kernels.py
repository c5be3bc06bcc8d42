"""What a training step on a GPU does between its matrix products, in Triton.

`torch.compile` fuses the rest. What these do it does not make of their formulas: the gradient of the loss is written
over the logits; QK-norm with rotation, and SwiGLU, read and write each number once.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

try:
    from torch.nn.attention.varlen import varlen_attn as varlen_attn
except ImportError:  # PyTorch < 2.10
    varlen_attn = None  # type: ignore[assignment]

COLUMNS = 8192  # of the logits at once
ROWS = 32  # heads of tokens at once
PROGRAMS = 1056  # that share the rows in the backward pass: 8 on each of 132 multiprocessors


@triton.jit
def slope_of_loss(logits, targets, losses, share, vocabulary, ignored, COLUMNS: tl.constexpr):
    """A row's cross-entropy in nats; `share` times its gradient takes the place of the logits."""
    row = tl.program_id(0)
    logits += row.to(tl.int64) * vocabulary
    target = tl.load(targets + row)
    part = tl.arange(0, COLUMNS)
    if target == ignored:
        for at in range(0, vocabulary, COLUMNS):
            zero = tl.zeros((COLUMNS,), logits.dtype.element_ty)
            tl.store(logits + at + part, zero, mask=at + part < vocabulary)
        tl.store(losses + row, 0.0)
    else:
        most, total = -float("inf"), 0.0
        for at in range(0, vocabulary, COLUMNS):
            x = tl.load(logits + at + part, mask=at + part < vocabulary, other=-float("inf")).to(tl.float32)
            higher = tl.maximum(most, tl.max(x))
            total = total * tl.exp(most - higher) + tl.sum(tl.exp(x - higher))
            most = higher
        most += tl.log(total)  # of the sum of exponentials, from here on
        tl.store(losses + row, most - tl.load(logits + target).to(tl.float32))
        weight = tl.load(share)
        for at in range(0, vocabulary, COLUMNS):
            inside = at + part < vocabulary
            x = tl.load(logits + at + part, mask=inside, other=-float("inf")).to(tl.float32)
            slope = (tl.exp(x - most) - tl.where(at + part == target, 1.0, 0.0)) * weight
            tl.store(logits + at + part, slope.to(logits.dtype.element_ty), mask=inside)


def cross_entropy(logits_NV: Tensor, targets_N: Tensor, share: Tensor, ignored: int) -> Tensor:
    """The loss of each row in nats, [N]; 0 where the target is `ignored`. The logits become the gradient of `share` (a
    scalar) times the rows' sum by them."""
    losses = logits_NV.new_empty(len(logits_NV), dtype=torch.float32)
    slope_of_loss[(len(logits_NV),)](
        logits_NV, targets_N, losses, share, logits_NV.size(1), ignored, COLUMNS=COLUMNS, num_warps=8
    )
    return losses


@triton.jit
def tile(row, rows, heads, HALF: tl.constexpr):
    """Token and head of each of some rows, the numbers of half a head, and which rows there are."""
    token, head = row // heads, row % heads
    return token[:, None], head[:, None], tl.arange(0, HALF)[None, :], (row < rows)[:, None]


@triton.jit
def turn(x, weight, cosine, sine, y, rows, heads, stride, period, eps, HALF: tl.constexpr, ROWS: tl.constexpr):
    """Normalise heads and rotate them."""
    token, head, k, inside = tile(tl.program_id(0) * ROWS + tl.arange(0, ROWS), rows, heads, HALF)
    x += token.to(tl.int64) * stride + head * 2 * HALF + k
    a, b = tl.load(x, mask=inside, other=0.0).to(tl.float32), tl.load(x + HALF, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(a * a + b * b, 1)[:, None] / (2 * HALF) + eps)
    a, b = a * scale * tl.load(weight + k), b * scale * tl.load(weight + HALF + k)
    angle = token % period * HALF + k
    cos, sin = tl.load(cosine + angle, mask=inside, other=0.0), tl.load(sine + angle, mask=inside, other=0.0)
    y += (token.to(tl.int64) * heads + head) * 2 * HALF + k
    tl.store(y, (a * cos - b * sin).to(y.dtype.element_ty), mask=inside)
    tl.store(y + HALF, (b * cos + a * sin).to(y.dtype.element_ty), mask=inside)


@triton.jit
def turn_back(
    x, weight, cosine, sine, dy, dx, dweight, rows, heads, stride, period, eps, HALF: tl.constexpr, ROWS: tl.constexpr
):
    """The gradients of `turn`; of the weight, those of this program's rows."""
    k = tl.arange(0, HALF)
    wa, wb = tl.load(weight + k)[None, :], tl.load(weight + HALF + k)[None, :]
    da_sum, db_sum = tl.zeros((HALF,), tl.float32), tl.zeros((HALF,), tl.float32)
    for first in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
        token, head, k2, inside = tile(first + tl.arange(0, ROWS), rows, heads, HALF)
        at = token.to(tl.int64) * stride + head * 2 * HALF + k2
        a = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(x + at + HALF, mask=inside, other=0.0).to(tl.float32)
        scale = tl.rsqrt(tl.sum(a * a + b * b, 1)[:, None] / (2 * HALF) + eps)
        a, b = a * scale, b * scale
        angle = token % period * HALF + k2
        cos, sin = tl.load(cosine + angle, mask=inside, other=0.0), tl.load(sine + angle, mask=inside, other=0.0)
        at = (token.to(tl.int64) * heads + head) * 2 * HALF + k2
        ta = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
        tb = tl.load(dy + at + HALF, mask=inside, other=0.0).to(tl.float32)
        da, db = ta * cos + tb * sin, tb * cos - ta * sin
        da_sum += tl.sum(da * a, 0)
        db_sum += tl.sum(db * b, 0)
        da, db = da * wa, db * wb
        along = tl.sum(da * a + db * b, 1)[:, None] / (2 * HALF)
        tl.store(dx + at, ((da - a * along) * scale).to(dx.dtype.element_ty), mask=inside)
        tl.store(dx + at + HALF, ((db - b * along) * scale).to(dx.dtype.element_ty), mask=inside)
    tl.store(dweight + tl.program_id(0) * 2 * HALF + k, da_sum)
    tl.store(dweight + tl.program_id(0) * 2 * HALF + HALF + k, db_sum)


def sizes(x_BTHK: Tensor) -> tuple[int, int, int]:
    """Rows, heads, and the distance of two tokens in memory. Raises ValueError where tokens are not evenly apart."""
    B, T, H, K = x_BTHK.shape
    if x_BTHK.stride()[2:] != (K, 1) or (B > 1 and x_BTHK.stride(0) != T * x_BTHK.stride(1)):
        raise ValueError(f"heads {tuple(x_BTHK.shape)} lie in memory as {x_BTHK.stride()}")
    return B * T * H, H, x_BTHK.stride(1)


@torch.library.custom_op("gristmill::norm_and_turn", mutates_args=())
def norm_and_turn(x_BTHK: Tensor, weight_K: Tensor, cosine_TK: Tensor, sine_TK: Tensor, eps: float) -> Tensor:
    """RMSNorm of each head times the weight, then rotary positions: [B, T, H, K], as `x_BTHK` in type. K is 2^n.

    cosine and sine: float32 [T, K/2]. Within a token x's heads follow each other in memory; what is between two tokens
    does not matter, so that x may be part of a larger product.
    """
    B, T, H, K = x_BTHK.shape
    rows, heads, stride = sizes(x_BTHK)
    y = x_BTHK.new_empty(B, T, H, K)
    turn[(triton.cdiv(rows, ROWS),)](
        x_BTHK, weight_K, cosine_TK, sine_TK, y, rows, heads, stride, T, eps, HALF=K // 2, ROWS=ROWS, num_warps=4
    )
    return y


@norm_and_turn.register_fake
def _(x_BTHK: Tensor, *rest: Any) -> Tensor:
    return x_BTHK.new_empty(x_BTHK.shape)


@torch.library.custom_op("gristmill::norm_and_turn_back", mutates_args=())
def norm_and_turn_back(
    x_BTHK: Tensor, weight_K: Tensor, cosine_TK: Tensor, sine_TK: Tensor, eps: float, dy_BTHK: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the weight."""
    B, T, H, K = x_BTHK.shape
    rows, heads, stride = sizes(x_BTHK)
    dy = dy_BTHK.contiguous()
    dx = dy.new_empty(B, T, H, K)
    programs = min(PROGRAMS, triton.cdiv(rows, ROWS))
    dweight = dy.new_empty(programs, K, dtype=torch.float32)
    turn_back[(programs,)](
        *(x_BTHK, weight_K, cosine_TK, sine_TK, dy, dx, dweight, rows, heads, stride, T, eps),
        HALF=K // 2,
        ROWS=ROWS,
        num_warps=4,
    )
    return dx, dweight.sum(0)


@norm_and_turn_back.register_fake
def _(x_BTHK: Tensor, weight_K: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x_BTHK.new_empty(x_BTHK.shape), weight_K.new_empty(weight_K.shape)


def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """For the backward pass: what came in."""
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def back(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of x and of the weight."""
    return (*norm_and_turn_back(*ctx.saved_tensors, ctx.eps, dy), None, None, None)


norm_and_turn.register_autograd(back, setup_context=keep)


@triton.jit
def gate(x, y, width, WIDTH: tl.constexpr):
    """silu of the first half of a row, times the second."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = at < width
    a = tl.load(x + row * 2 * width + at, mask=inside).to(tl.float32)
    b = tl.load(x + row * 2 * width + width + at, mask=inside).to(tl.float32)
    tl.store(y + row * width + at, (a * tl.sigmoid(a) * b).to(y.dtype.element_ty), mask=inside)


@triton.jit
def gate_back(x, dy, dx, width, WIDTH: tl.constexpr):
    """The gradients of both halves."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = at < width
    a = tl.load(x + row * 2 * width + at, mask=inside).to(tl.float32)
    b = tl.load(x + row * 2 * width + width + at, mask=inside).to(tl.float32)
    d = tl.load(dy + row * width + at, mask=inside).to(tl.float32)
    s = tl.sigmoid(a)
    slope = s * (1 + a * (1 - s))
    tl.store(dx + row * 2 * width + at, (d * b * slope).to(dx.dtype.element_ty), mask=inside)
    tl.store(dx + row * 2 * width + width + at, (d * a * s).to(dx.dtype.element_ty), mask=inside)


def columns(width: int) -> int:
    """Of a row at once."""
    return min(2048, 1 << (width - 1).bit_length())


@torch.library.custom_op("gristmill::swiglu", mutates_args=())
def swiglu(x: Tensor) -> Tensor:
    """silu(gate) · up, where the last dimension of x holds both, one after the other. x is contiguous."""
    width = x.size(-1) // 2
    y = x.new_empty(*x.shape[:-1], width)
    gate[(y.numel() // width, triton.cdiv(width, columns(width)))](x, y, width, WIDTH=columns(width), num_warps=4)
    return y


@swiglu.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.size(-1) // 2)


@torch.library.custom_op("gristmill::swiglu_back", mutates_args=())
def swiglu_back(x: Tensor, dy: Tensor) -> Tensor:
    """The gradient of x."""
    width = dy.size(-1)
    dx, dy = torch.empty_like(x), dy.contiguous()
    grid = (dy.numel() // width, triton.cdiv(width, columns(width)))
    gate_back[grid](x, dy, dx, width, WIDTH=columns(width), num_warps=4)
    return dx


@swiglu_back.register_fake
def _(x: Tensor, dy: Tensor) -> Tensor:
    return torch.empty_like(x)


swiglu.register_autograd(
    lambda ctx, dy: swiglu_back(*ctx.saved_tensors, dy),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


CAUSAL: dict[str, Any] = {}
if varlen_attn is not None:
    newer = "window_size" in inspect.signature(varlen_attn).parameters  # PyTorch ≥ 2.11
    CAUSAL = {"window_size": (-1, 0)} if newer else {"is_causal": True}


def attend_documents(q_NHK: Tensor, k_NHK: Tensor, v_NHK: Tensor, boundaries: Tensor, longest: int) -> Tensor:
    """Causal attention within documents that lie one after the other, from each of `boundaries` (int32) to the next.
    None is longer than `longest`. By FlashAttention: [N, H, K]."""
    y: Tensor = varlen_attn(q_NHK, k_NHK, v_NHK, boundaries, boundaries, longest, longest, **CAUSAL)  # type: ignore[assignment]
    return y
