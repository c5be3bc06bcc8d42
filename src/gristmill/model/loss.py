"""What a model is trained and judged by: the cross-entropy of the next token, and bits per byte of whole documents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from gristmill.model import kernels, ops
from gristmill.model.transformer import Transformer
from gristmill.tokenizer.shards import Split

IGNORE = -100  # target that is left out of the loss
CHUNK_LOGITS = 1 << 20  # at once on a CPU: what its cache holds
WINDOWS = 1024  # of a context's length: seconds of scoring
Part = Callable[[str, Callable[[], float]], float]
CHUNK_TOKENS = 8192  # at once on a GPU: 1.6 GB of logits in float32 at a vocabulary of 50,000


def cross_entropy(
    model: Transformer,
    inputs_BT: Tensor,
    targets_BT: Tensor,
    bfloat16: bool | None = None,
    starts_BT: Tensor | None = None,
) -> Tensor:
    """Mean next-token loss in nats over the targets that are not IGNORE; 0 where all are.

    `starts_BT`: where each token's document begins, where rows hold several that do not see each other.
    `bfloat16`: whether matrix products and attention run in it, sums and the loss in float32; None: on a GPU, and
    where they run in it already.
    """
    device = model.embed.weight.device
    low = device.type == "cuda" or torch.is_autocast_enabled(device.type) if bfloat16 is None else bfloat16
    with ops.low_precision(device) if low else nullcontext():
        if starts_BT is not None and low:
            starts_BT = ops.boundaries(starts_BT)
        mask = None if starts_BT is None else upload(starts_BT, device)
        hidden_ND = model.hidden(upload(inputs_BT, device), mask=mask).flatten(0, 1)
    hidden_ND = hidden_ND.bfloat16() if low else hidden_ND
    return linear_cross_entropy(hidden_ND, model.unembedding, upload(targets_BT, device).flatten())


def linear_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of `hidden @ weight.T` against the targets that are not IGNORE; 0 where all are.

    Raises IndexError on a CPU where a target is no row of `weight`.
    """
    borne = targets_N != IGNORE
    if not hidden_ND.is_cuda and not borne.all():  # a GPU would have to wait for how many there are
        hidden_ND, targets_N = hidden_ND[borne], targets_N[borne]
    wanted = torch.is_grad_enabled() and (hidden_ND.requires_grad or weight_VD.requires_grad)
    return LinearCrossEntropy.apply(hidden_ND, weight_VD, targets_N, wanted)


class LinearCrossEntropy(kernels.Kernel):
    """Cross-entropy of hidden [N, D] · weight [V, D]ᵀ, in chunks of rows. Products run in the type of `hidden`.

    The gradients of a chunk are computed with its loss, as they need nothing that comes later but a factor; so the
    logits of one chunk are all that is ever held, and none is computed twice (the idea of Liger Kernel,
    arXiv:2410.10989).
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, wanted: bool) -> Tensor:
        """The mean over the targets that are not IGNORE; the gradients too where they are wanted."""
        on_gpu = hidden_ND.is_cuda
        count: Any = (targets_N != IGNORE).sum().clamp(min=1) if on_gpu else max(1, len(targets_N))
        share = 1.0 / count
        rows = CHUNK_TOKENS if on_gpu else max(1, CHUNK_LOGITS // len(weight_VD))
        low_VD = weight_VD.to(hidden_ND.dtype)
        dhidden, dweight = (torch.empty_like(hidden_ND), torch.zeros_like(weight_VD)) if wanted else (None, None)
        losses = []
        for at in range(0, len(hidden_ND), rows):
            h_CD, t_C = hidden_ND[at : at + rows], targets_N[at : at + rows]
            # what is left over comes in any number of rows
            with nullcontext() if on_gpu or len(h_CD) == rows else kernels.fast_products(False):
                loss_C, slope_CV = chunk_loss(h_CD, low_VD, t_C, share)
                losses.append(loss_C)
                if dhidden is not None and dweight is not None:
                    torch.mm(slope_CV, low_VD, out=dhidden[at : at + rows])
                    if dweight.dtype == h_CD.dtype:
                        dweight.addmm_(slope_CV.T, h_CD)
                    elif on_gpu:  # the sum stays in float32
                        torch.addmm(dweight, slope_CV.T, h_CD, out_dtype=dweight.dtype, out=dweight)
                    else:
                        dweight += slope_CV.T @ h_CD
        ctx.save_for_backward(dhidden, dweight)
        return torch.cat(losses).sum() / count if losses else weight_VD.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        """What the forward pass has computed, times the outer gradient."""
        dhidden, dweight = ctx.saved_tensors
        return dhidden * outer.to(dhidden.dtype), dweight * outer, None, None


def token_logprobs(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, never: int | None = None) -> Tensor:
    """The log-probability of each target, in nats, [N], where the logits are `hidden @ weight.T`; `never` is a token
    that is taken to be impossible, and no target."""
    if kernels.fits(hidden_ND, kernels.LANES):
        wanted = torch.is_grad_enabled() and (hidden_ND.requires_grad or weight_VD.requires_grad)
        return TokenLogprobs.apply(hidden_ND, weight_VD, targets_N, never, wanted)
    logits_NV = F.linear(hidden_ND, weight_VD)
    if never is not None:
        logits_NV[:, never] = -torch.inf
    return -F.cross_entropy(logits_NV, targets_N, reduction="none")


class TokenLogprobs(kernels.Kernel):
    """Log-probabilities of targets, in float32 on a CPU: the logits become their own gradient, in their place."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, never: int | None, wanted: bool
    ) -> Tensor:
        """Those of all rows; without a gradient, the logits of a chunk of rows are held at a time."""
        rows = max(1, CHUNK_LOGITS // len(weight_VD))
        slope_NV = hidden_ND.new_empty(len(hidden_ND) if wanted else min(rows, len(hidden_ND)), len(weight_VD))
        losses = []
        for at in range(0, len(hidden_ND), rows):
            h_CD = hidden_ND[at : at + rows]
            logits_CV = slope_NV[at : at + rows] if wanted else slope_NV[: len(h_CD)]
            torch.mm(h_CD, weight_VD.T, out=logits_CV)
            if never is not None:
                logits_CV[:, never] = -torch.inf
            losses.append(kernels.cross_entropy(logits_CV, targets_N[at : at + rows], 1.0))
        ctx.save_for_backward(hidden_ND, weight_VD, slope_NV)
        return -torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer_N: Tensor) -> tuple[Tensor | None, ...]:
        """The factor of a row goes to what is narrower than the logits."""
        hidden_ND, weight_VD, slope_NV = ctx.saved_tensors
        factor_N1 = -outer_N[:, None]
        return (slope_NV @ weight_VD) * factor_N1, slope_NV.T @ (hidden_ND * factor_N1), None, None, None


def chunk_loss(hidden_CD: Tensor, weight_VD: Tensor, targets_C: Tensor, share: Any) -> tuple[Tensor, Tensor]:
    """The loss of each of a chunk's rows, [C], and the gradient of `share` times it by the logits, [C, V]: in
    their place where a kernel computes both. The loss is in float32 at least."""
    logits_CV = F.linear(hidden_CD, weight_VD)
    if kernels.fits(hidden_CD, kernels.LANES):
        return kernels.cross_entropy(logits_CV, targets_C, share), logits_CV
    if hidden_CD.is_cuda and ops.gpu_kernels is not None:
        return ops.gpu_kernels.cross_entropy(logits_CV, targets_C, share, IGNORE), logits_CV
    logits_CV = logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))
    borne_C = targets_C != IGNORE
    index_C1 = torch.where(borne_C, targets_C, 0)[:, None]
    total_C = logits_CV.logsumexp(-1)
    loss_C = (total_C - logits_CV.gather(1, index_C1)[:, 0]) * borne_C
    hit_CV = torch.arange(logits_CV.size(1), device=logits_CV.device) == index_C1
    slope_CV = ((logits_CV - total_C[:, None]).exp() - hit_CV.to(logits_CV.dtype)) * (borne_C * share)[:, None]
    return loss_C, slope_CV.to(hidden_CD.dtype)


@torch.no_grad()
def bits_per_byte(
    model: Transformer, split: Split, max_tokens: int = 0, batch: int = 16, part: Part = lambda _, make: make()
) -> float:
    """Loss in bits over UTF-8 bytes, each document alone from its first token (which nothing predicts but the end
    of the document before it), its end token included. `max_tokens` > 0 takes documents from all over the split, as far
    as they have about that many tokens together.

    Comparable between tokenizers. Long documents are read in windows of the model's context. `part` is called with a
    name and what computes the loss of WINDOWS of them: it may know it from before.
    """
    context = model.config.context
    windows: list[np.ndarray] = []
    total_bytes = 0
    count = min(len(split), -(-max_tokens * len(split) // len(split.tokens))) if max_tokens else len(split)
    for index in (number * len(split) // count for number in range(count)):
        document = split.document(index).astype(np.int64)
        total_bytes += int(split.bytes[index])
        windows += windows_of(document, context)
    windows.sort(key=len)
    nats = 0.0
    for at in range(0, len(windows), WINDOWS):
        nats += part(f"heldout-{at:08}", partial(nats_of, model, windows[at : at + WINDOWS], batch))
    return nats / float(np.log(2)) / max(1, total_bytes)


def windows_of(document: np.ndarray, context: int) -> list[np.ndarray]:
    """A document in rows of at most `context` targets, each row opened by the token before its first."""
    document = np.concatenate((document[-1:], document))  # the end token opens every document
    return [document[at : at + context + 1] for at in range(0, len(document) - 1, context)]


def nats_of(model: Transformer, windows: list[np.ndarray], batch: int) -> float:
    """The loss of some windows' tokens, all together."""
    nats = 0.0
    for at in range(0, len(windows), batch):
        inputs, targets = padded(windows[at : at + batch])
        count = int((targets != IGNORE).sum())
        nats += float(cross_entropy(model, inputs, targets)) * count
    return nats


def padded(rows: list[np.ndarray], masks: list[np.ndarray] | None = None) -> tuple[Tensor, Tensor]:
    """Rows of unequal length as inputs and targets [B, T], padded on the right; a mask says which count in the loss."""
    longest = rounded_up(max(len(row) for row in rows) - 1)
    inputs = torch.zeros(len(rows), longest, dtype=torch.int64)
    targets = torch.full((len(rows), longest), IGNORE, dtype=torch.int64)
    for i, row in enumerate(rows):
        length = len(row) - 1
        inputs[i, :length] = torch.from_numpy(row[:-1])
        target = torch.from_numpy(row[1:].copy())
        if masks is not None:
            target[~torch.from_numpy(masks[i][1:])] = IGNORE
        targets[i, :length] = target
    return inputs, targets


def rounded_up(length: int, step: int = 16) -> int:
    """The next multiple of `step`: so that batches come in few shapes (see `kernels.fast_products`)."""
    return -(-length // step) * step


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
