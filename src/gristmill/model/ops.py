"""The operations of the transformer next to its matrix products, each by the fastest way that there is for its tensors:
fused C for float32 on a CPU (`kernels.py`), Triton for bfloat16 on a GPU (`gpu_kernels.py`), otherwise PyTorch, which
`torch.compile` fuses on a GPU.

Shape letters as in `transformer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gristmill.model import kernels

try:
    from gristmill.model import gpu_kernels as gpu_kernels
except ImportError:  # PyTorch for CPUs comes without Triton
    gpu_kernels = None  # type: ignore[assignment]

FASTEST = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
Extend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Angles = tuple[Tensor, Tensor]  # cosine and sine


class Branches(NamedTuple):
    """What each token sees where a beginning is followed by several ways on from it, which are blind to each other: all
    places up to its own that come after the first of its way on, or are of the beginning. None falls in a row."""

    starts_BT: Tensor  # int64: where the way on that a token is of begins, or the beginning
    firsts_BT: Tensor  # int64: where its beginning begins
    kept_BT: Tensor  # int64: where that ends


Mask = Tensor | Branches


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) · weight, over the last dimension."""
    if kernels.fits(x, x.size(-1)):
        return kernels.Norm.apply(x, weight.to(x.dtype), eps)
    # vector_norm is one fused pass; `F.rms_norm` runs as many small ones on a CPU
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * torch.rsqrt(norm * norm / x.size(-1) + eps) * weight


def apply_rope(x_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Turn each pair (i, i + K/2) by its position's angle."""
    a, b = x_BHTK.chunk(2, dim=-1)
    return torch.cat((a * cos_TK - b * sin_TK, b * cos_TK + a * sin_TK), dim=-1)


def gated(x: Tensor, gate: Any, up: Any) -> Tensor:
    """silu(gate(x)) · up(x)."""
    if one_product(x, (gate, up)):
        both = F.linear(x, torch.cat((gate.weight, up.weight)))
        if gpu_kernels is not None and both.dtype == torch.bfloat16:
            y: Tensor = gpu_kernels.swiglu(both)
            return y
        return swiglu(*both.chunk(2, -1))
    return swiglu(gate(x), up(x))


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up."""
    return kernels.SwiGLU.apply(gate, up) if kernels.fits(gate, gate.numel()) else F.silu(gate) * up


def low_precision(device: torch.device) -> ExitStack:
    """Run matrix products and attention in bfloat16, attention by the fastest way that there is on a GPU."""
    stack = ExitStack()
    stack.enter_context(torch.autocast(device.type, torch.bfloat16))
    if device.type == "cuda":
        stack.enter_context(sdpa_kernel(FASTEST, set_priority=True))
    return stack


def linear(x: Tensor, maps: Sequence[Any]) -> tuple[Tensor, ...]:
    """Several linear maps of the same numbers."""
    if one_product(x, maps):
        weights = [one.weight for one in maps]
        parts: tuple[Tensor, ...] = F.linear(x, torch.cat(weights)).split([len(weight) for weight in weights], -1)
        return parts
    return tuple(one(x) for one in maps)


def one_product(x: Tensor, maps: Sequence[Any]) -> bool:
    """Whether to compute linear maps as one product: in training on a GPU that is faster than several."""
    return x.is_cuda and torch.is_grad_enabled() and all(type(one) is nn.Linear for one in maps)


def boundaries(starts_BT: Tensor) -> Tensor:
    """Where documents begin in the rows written one after the other, and where the last one ends, int32 [N + 1]."""
    starts = starts_BT.numpy()
    begins = np.flatnonzero(starts == np.arange(starts.shape[1]))
    return torch.from_numpy(np.append(begins, starts.size).astype(np.int32))


def allowed(mask: Mask, B: int, T: int) -> Tensor:
    """Where attention is allowed, bool [B, 1, T, T], by either form of where documents begin, or for branches."""
    if isinstance(mask, Branches):
        place_T = torch.arange(T, device=mask.starts_BT.device)
        kept = (place_T >= mask.firsts_BT[:, :, None]) & (place_T < mask.kept_BT[:, :, None])
        return allowed(mask.starts_BT, B, T) | (kept & (place_T <= place_T[:, None]))[:, None]
    place_T = torch.arange(T, device=mask.device)
    if mask.dtype == torch.int32:
        row_B1 = T * torch.arange(B, device=mask.device)[:, None]
        begun = torch.searchsorted(mask, (row_B1 + place_T).int(), right=True) - 1
        mask = mask[begun] - row_B1
    return ((place_T >= mask[:, :, None]) & (place_T <= place_T[:, None]))[:, None]


def attend(
    q_BTHK: Tensor,
    k_BTGK: Tensor,
    v_BTGK: Tensor,
    angles: Angles,
    norms: tuple[Tensor, Tensor] | None,
    eps: float,
    extend: Extend | None,
    mask: Mask | None,
) -> Tensor:
    """Attention over rotated queries and keys, which are normalised first if there are `norms` (their weights).

    `angles` are [B or 1, 1, T, K/2] each. `extend` puts what came before in front of new keys and values
    [B, G, T, K]. Attention is causal without a `mask`: where it is allowed, bool [B, 1, T, S]; or, causal too, where
    the documents of rows begin, as the first place that each token sees, int64 [B, T], or as `boundaries` gives it; or
    `Branches`. Returns [B, T, H, K].
    """
    B, T, H, K = q_BTHK.shape
    branches = mask if isinstance(mask, Branches) else None
    documents = mask if isinstance(mask, Tensor) and mask.dtype in (torch.int64, torch.int32) else None
    alike = angles[0].size(0) == 1  # positions, in all rows
    plain = extend is None and (mask is None or documents is not None or branches is not None)
    if plain and kernels.fits(q_BTHK, K) and (documents is None or documents.dtype == torch.int64):
        turns = tuple(part[0, 0] if alike else part[:, 0] for part in angles)
        weights = norms or (None, None)
        return kernels.Attend.apply(q_BTHK, k_BTGK, v_BTGK, *weights, *turns, eps, *(branches or (documents,)))
    low = q_BTHK.is_cuda and q_BTHK.dtype == torch.bfloat16
    if norms and plain and alike and low and gpu_kernels is not None and K & (K - 1) == 0:
        turns = angles[0][0, 0], angles[1][0, 0]
        q, k = (
            gpu_kernels.norm_and_turn(x, w.float(), *turns, eps) for x, w in zip((q_BTHK, k_BTGK), norms, strict=True)
        )
        q, k = q.transpose(1, 2), k.transpose(1, 2)
    else:
        if norms:
            q_BTHK, k_BTGK = rms_norm(q_BTHK, norms[0], eps), rms_norm(k_BTGK, norms[1], eps)
        q, k = apply_rope(q_BTHK.transpose(1, 2), *angles), apply_rope(k_BTGK.transpose(1, 2), *angles)
    v = v_BTGK.transpose(1, 2)
    if extend is not None:
        k, v = extend(k, v)
    grouped = q.size(1) != k.size(1)
    apart = low and not grouped and gpu_kernels is not None and gpu_kernels.varlen_attn is not None
    if apart and documents is not None and documents.dtype == torch.int32:
        q, k, v = (x.to(v.dtype).transpose(1, 2).flatten(0, 1) for x in (q, k, v))
        return gpu_kernels.attend_documents(q, k, v, documents, T).view(B, T, H, K)
    layout = documents if branches is None else branches
    seen = allowed(layout, B, T) if layout is not None else mask if isinstance(mask, Tensor) else None
    y_BHTK = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None, enable_gqa=grouped)
    return y_BHTK.transpose(1, 2)
