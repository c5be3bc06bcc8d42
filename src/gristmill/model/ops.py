"""The operations of the transformer next to its matrix products, each by the fastest way that there is for its tensors:
fused C for float32 on a CPU (`kernels.py`), otherwise PyTorch, which `torch.compile` fuses on a GPU.

Shape letters as in `transformer.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gristmill.model import kernels

Extend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) · weight, over the last dimension."""
    if kernels.fits(x, x.size(-1)):
        return kernels.Norm.apply(x, weight, eps)
    # vector_norm is one fused pass; `F.rms_norm` runs as many small ones on a CPU
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * torch.rsqrt(norm * norm / x.size(-1) + eps) * weight


def apply_rope(x_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Turn each pair (i, i + K/2) by its position's angle."""
    a, b = x_BHTK.chunk(2, dim=-1)
    return torch.cat((a * cos_TK - b * sin_TK, b * cos_TK + a * sin_TK), dim=-1)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up."""
    return kernels.SwiGLU.apply(gate, up) if kernels.fits(gate, gate.numel()) else F.silu(gate) * up


def attend(
    q_BTHK: Tensor,
    k_BTGK: Tensor,
    v_BTGK: Tensor,
    angles: tuple[Tensor, Tensor],
    norms: tuple[Tensor, Tensor] | None,
    eps: float,
    extend: Extend | None,
    mask: Tensor | None,
) -> Tensor:
    """Attention over rotated queries and keys, which are normalised first if there are `norms` (their weights).

    `angles` are cosine and sine, [B or 1, 1, T, K/2]. `extend` puts what came before in front of new keys and values
    [B, G, T, K]. Attention is causal without a `mask`: where it is allowed, bool [B, 1, T, S]; or, causal too, the
    first place that each token sees, int64 [B, T]. Returns [B, T, H, K].
    """
    alike = angles[0].size(0) == 1  # positions, in all rows
    causal = mask is None or mask.dtype == torch.int64
    if norms and alike and extend is None and causal and kernels.fits(q_BTHK, q_BTHK.size(-1)):
        return kernels.Attend.apply(q_BTHK, k_BTGK, v_BTGK, *norms, angles[0][0, 0], angles[1][0, 0], eps, mask)
    if mask is not None and causal:
        place_T = torch.arange(mask.size(1), device=mask.device)
        mask = ((place_T >= mask[:, :, None]) & (place_T <= place_T[:, None]))[:, None]
    if norms:
        q_BTHK, k_BTGK = rms_norm(q_BTHK, norms[0], eps), rms_norm(k_BTGK, norms[1], eps)
    q, k, v = (x.transpose(1, 2) for x in (q_BTHK, k_BTGK, v_BTGK))
    q, k = apply_rope(q, *angles), apply_rope(k, *angles)
    if extend is not None:
        k, v = extend(k, v)
    grouped = q.size(1) != k.size(1)
    y_BHTK = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
    return y_BHTK.transpose(1, 2)
