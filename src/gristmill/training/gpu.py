"""What training on a GPU does otherwise: bfloat16 (`model/loss.py`), compiled layers.

Weights, their gradients and the optimizer's state stay float32; matrix products and attention run in bfloat16
(autocast), so that PyTorch takes FlashAttention for `scaled_dot_product_attention`. Everything here also runs on a
CPU, where nothing of it is used unless a recipe asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gristmill.model.transformer import Transformer


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
    if not torch.is_grad_enabled():
        return plain(*inputs)
    mask = inputs[-1]
    if isinstance(mask, Tensor) and mask.ndim == 1:  # where documents begin: there are as many as there are
        torch._dynamo.mark_dynamic(mask, 0)
    return fast(*inputs)
