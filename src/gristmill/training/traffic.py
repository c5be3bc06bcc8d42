"""How much a process of several sends to the others.

Counted is what a ring sends, as NCCL and gloo arrange large tensors: where P processes have or want n bytes together,
each sends (P - 1) / P · n in an all-gather and in a reduce-scatter, and twice that in an all-reduce, which is one after
the other. Not counted: the norm of sharded gradients (some bytes a tensor), and words, as of evaluations.
"""

# DDP reads the annotations of `reduce`, which must be no texts: so no `from __future__ import annotations`
from collections import Counter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gristmill.processes import SIZE

SENT: Counter[str] = Counter()  # bytes since the process began, by what they are


def count(what: str, tensor: Tensor, rounds: int = 1) -> None:
    """Count a collective on a tensor that is whole: an all-reduce has two rounds, the others have one."""
    SENT[what] += rounds * (SIZE - 1) * tensor.numel() * tensor.element_size() // SIZE


class Gathering:
    """FSDP2's all-gather of weights, counted; it is called with the tensors of the whole and of the share."""

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Room for a tensor."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        """Begin it."""
        count("weights", output_tensor)
        gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # PyTorch ≥ 2.13
        return gather(output_tensor, input_tensor, group=group, async_op=async_op)


class Scattering(Gathering):
    """FSDP2's reduce-scatter of gradients, counted."""

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:  # type: ignore[override]
        """Begin it."""
        count("gradients", input_tensor)
        scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
        return scatter(output_tensor, input_tensor, op=op, group=group, async_op=async_op)


def reduce(group: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's all-reduce of a bucket of gradients to their mean, counted."""
    buffer = bucket.buffer()
    count("gradients", buffer, rounds=2)
    work = dist.all_reduce(buffer.div_(SIZE), group=group, async_op=True)
    mean: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return mean
