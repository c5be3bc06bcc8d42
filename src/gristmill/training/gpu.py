"""What training on a GPU does otherwise: bfloat16, compiled layers, a loss that never holds all logits.

Weights, their gradients and the optimizer's state stay float32; matrix products and attention run in bfloat16
(autocast), so that PyTorch takes FlashAttention for `scaled_dot_product_attention`. Everything here also runs on a
CPU, where nothing of it is used unless a recipe asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.utils.checkpoint import checkpoint

from gristmill.model.kernels import Kernel
from gristmill.model.transformer import Transformer

CHUNK = 8192  # tokens whose logits are held at once: 1.6 GB in float32 at a vocabulary of 50,000


def prepare(model: Transformer, compiled: bool | None, recompute: bool) -> None:
    """Set up a model's layers for training: what is not training (generation, scoring) goes on with the plain ones.

    `compiled`: by torch.compile; None means on a GPU only. All layers have one code, which is compiled once.
    `recompute`: keep a layer's input only, and compute the layer a second time when its gradient is due; the numbers
    are the same.
    """
    on_gpu = model.embed.weight.is_cuda
    if on_gpu:
        torch.set_float32_matmul_precision("high")  # what is left in float32 may run as TF32
    for block in model.layers:
        plain = fast = block.forward
        if on_gpu if compiled is None else compiled:
            fast = torch.compile(plain, dynamic=False)
        if recompute:
            fast = partial(checkpoint, fast, use_reentrant=False, preserve_rng_state=False)
        block.forward = partial(forward, fast, plain)


def forward(fast: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """A layer's output, by the fast way where gradients are wanted."""
    return (fast if torch.is_grad_enabled() else plain)(*inputs)


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def cross_entropy(model: Transformer, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Mean next-token loss in nats over the targets that are not negative, in bfloat16 with float32 sums."""
    device = model.embed.weight.device
    with torch.autocast(device.type, torch.bfloat16):
        hidden_ND = model.hidden(upload(inputs_BT, device)).flatten(0, 1)
    return ChunkedLoss.apply(hidden_ND.bfloat16(), model.unembedding, upload(targets_BT, device).flatten())


class ChunkedLoss(Kernel):
    """Cross-entropy of `hidden @ weight.T`, CHUNK tokens at a time.

    The gradients of a chunk are computed with its loss, as they need nothing that comes later but a factor; so the
    logits of one chunk are all that is ever held, and none is computed twice (the idea of Liger Kernel,
    arXiv:2410.10989). Products run in the type of `hidden`.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        """The mean over the targets that are not negative."""
        share = 1.0 / (targets_N >= 0).sum().clamp(min=1)
        low_VD = weight_VD.to(hidden_ND.dtype)
        wanted = any(ctx.needs_input_grad)  # type: ignore[attr-defined]
        work = chunk_function(hidden_ND.is_cuda)
        loss = torch.zeros((), device=hidden_ND.device)
        slopes, slope_VD = [], torch.zeros_like(weight_VD) if wanted else None
        for h_CD, t_C in zip(hidden_ND.split(CHUNK), targets_N.split(CHUNK), strict=True):
            part, slope_CV = work(h_CD, low_VD, t_C, share)
            loss += part
            if slope_VD is not None:
                slopes.append(slope_CV @ low_VD)
                slope_VD += slope_CV.T @ h_CD
        if slope_VD is not None:
            ctx.save_for_backward(torch.cat(slopes), slope_VD)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor, None]:
        """What the forward pass has computed, times the outer gradient."""
        slope_ND, slope_VD = ctx.saved_tensors
        return slope_ND * outer[0].to(slope_ND.dtype), slope_VD * outer[0], None


def chunk_loss(hidden_CD: Tensor, weight_VD: Tensor, targets_C: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The chunk's part of the mean loss, and its gradient by the logits, [C, V]."""
    logits_CV = (hidden_CD @ weight_VD.T).float()
    borne_C = targets_C >= 0
    index_C1 = targets_C.clamp(min=0)[:, None]
    total_C = logits_CV.logsumexp(-1)
    loss = ((total_C - logits_CV.gather(1, index_C1)[:, 0]) * borne_C).sum() * share
    hit_CV = torch.arange(logits_CV.size(1), device=logits_CV.device) == index_C1
    slope_CV = ((logits_CV - total_C[:, None]).exp() - hit_CV.float()) * (borne_C * share)[:, None]
    return loss, slope_CV.to(hidden_CD.dtype)


@lru_cache
def chunk_function(fused: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """`chunk_loss`, on a GPU with all that comes after the product in one kernel."""
    return torch.compile(chunk_loss, dynamic=True) if fused else chunk_loss
