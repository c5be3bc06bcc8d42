"""Training in the processes that torchrun starts: DDP and FSDP2, put around a plain model that knows nothing of it.

What is summed over processes is a step's loss and its gradients: every process computes its share of them, and the
shares add up. So any number of processes computes the same step, but for rounding.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from gristmill.processes import LEADER, LOCAL_RANK, RANK, SIZE

T = TypeVar("T")
LONG = timedelta(days=30)  # the others wait while the leader crawls and cleans


@cache
def store() -> dist.Store:
    """The key-value store that torchrun keeps for its processes."""
    found: dist.Store = next(dist.rendezvous("env://", RANK, SIZE, timeout=LONG))[0]
    return found


def broadcast(name: str, word: str) -> None:
    """Send the other processes a word under a name. The leader calls it."""
    if SIZE > 1:
        store().set(f"gristmill/{name}", word)


def receive(name: str) -> str:
    """The word that the leader sent under a name; waits for it."""
    store().wait([f"gristmill/{name}"], LONG)
    word: bytes = store().get(f"gristmill/{name}")
    return word.decode()


def join() -> None:
    """Form the process group, unless there is one or nothing to form."""
    if SIZE == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(LOCAL_RANK)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=dist.PrefixStore("training", store()), rank=RANK, world_size=SIZE)
    atexit.register(dist.destroy_process_group)


def total(*values: float) -> list[float]:
    """Each value summed over the processes."""
    if SIZE == 1:
        return list(values)
    summed = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(summed)
    return summed.tolist()


def everyones(values: Tensor) -> tuple[Tensor, slice]:
    """The values of all processes, [n], one process after the other, and where this one's are."""
    if SIZE == 1:
        return values, slice(None)
    found: list[list[float]] = [[] for _ in range(SIZE)]
    dist.all_gather_object(found, values.tolist())
    at = sum(map(len, found[:RANK]))
    joined = [value for one in found for value in one]
    return torch.tensor(joined, dtype=values.dtype, device=values.device), slice(at, at + len(values))


def from_leader(function: Callable[[], T]) -> T:
    """What the leader's call gives (as JSON can hold it), in every process; the others do not call."""
    if SIZE == 1:
        return function()
    word: list[Any] = [json.dumps(function()) if LEADER else None]
    dist.broadcast_object_list(word)
    value: T = json.loads(word[0])
    return value


class Caller(nn.Module):
    """Calls a function as its own forward pass, so that DDP and FSDP2 take what the function does with the model for
    it, whichever of the model's methods are used."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function gives."""
        return function(*arguments)


class Shared:
    """A model that all processes train. Its parameters are replicated (`ddp`) or sharded by rows (`fsdp`).

    Whatever computes with the model goes through `call`, in all processes at the same time.
    """

    def __init__(self, model: nn.Module, how: str) -> None:
        self.model = model
        self.call: Any = Caller(model)
        if SIZE > 1 and how == "ddp":
            self.call = DistributedDataParallel(self.call, gradient_as_bucket_view=True)
        elif SIZE > 1:
            mesh = init_device_mesh(next(model.parameters()).device.type, (SIZE,))
            for module in model.modules():
                if isinstance(module, nn.ModuleList):
                    for block in module:
                        fully_shard(block, mesh=mesh)
            fully_shard(self.call, mesh=mesh)
            for part in self.sharded():  # memory first taken in inference mode could not be trained in
                part.unshard()
            self.reshard()

    def sharded(self) -> list[FSDPModule]:
        """The parts that are sharded each for itself; none without FSDP2."""
        return [module for module in self.call.modules() if isinstance(module, FSDPModule)]

    def part(self, last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward pass of a part of a step: only the last need exchange gradients."""
        for module in self.sharded():
            module.set_requires_gradient_sync(last)
        return nullcontext() if last or not isinstance(self.call, DistributedDataParallel) else self.call.no_sync()

    def clip(self, limit: float) -> float:
        """Scale all gradients down to `limit`, if their norm is above; returns the norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def reshard(self) -> None:
        """Give up what was gathered of the parameters for computing."""
        for module in self.sharded():
            module.reshard()

    def unwrap(self) -> None:
        """Make the model a plain one again, whole in every process."""
        self.reshard()
        for module in [*self.model.modules(), self.call]:
            for name, weight in list(module.named_parameters(recurse=False)):
                if isinstance(weight, DTensor):
                    setattr(module, name, nn.Parameter(weight.full_tensor().detach()))
        for module in self.sharded():
            assert isinstance(module, nn.Module)
            for name, hooks in vars(module).items():
                if name.endswith("_hooks"):
                    hooks.clear()
            module.__class__ = type(module).__mro__[2]  # FSDP2 put a class of its own over the module's


def local(tensor: Tensor) -> Tensor:
    """This process's rows of a sharded tensor (they share memory); another tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(rows: Tensor, weight: Tensor) -> Tensor:
    """This process's rows as a tensor that is sharded as `weight` is (they share memory)."""
    if not isinstance(weight, DTensor):
        return rows
    return DTensor.from_local(
        rows, weight.device_mesh, weight.placements, run_check=False, shape=weight.shape, stride=weight.stride()
    )


def gathered(rows_NRC: Tensor, weight: Tensor) -> Tensor:
    """The whole matrices of a stack of which each process has the rows that it has of `weight`."""
    if not isinstance(weight, DTensor):
        return rows_NRC
    shape, stride = torch.Size((len(rows_NRC), *weight.shape)), (weight.numel(), *weight.stride())
    stack = DTensor.from_local(rows_NRC, weight.device_mesh, [Shard(1)], run_check=False, shape=shape, stride=stride)
    return stack.full_tensor()


def shared_out(compute: Callable[[Tensor], Tensor], stack_NRC: Tensor) -> Tensor:
    """What a function gives of a stack of matrices, of which each process computes a share for all."""
    if SIZE == 1:
        return compute(stack_NRC)
    each = -(-len(stack_NRC) // SIZE)
    share = stack_NRC[RANK * each : (RANK + 1) * each]
    found = stack_NRC.new_zeros(each, *stack_NRC.shape[1:])
    if len(share):
        found[: len(share)] = compute(share)
    parts = [torch.empty_like(found) for _ in range(SIZE)]
    dist.all_gather(parts, found)
    return torch.cat(parts)[: len(stack_NRC)]


def own(whole_RC: Tensor, weight: Tensor) -> Tensor:
    """The rows of a whole matrix that this process has of `weight`."""
    if not isinstance(weight, DTensor):
        return whole_RC
    each = -(-len(whole_RC) // SIZE)
    return whole_RC[RANK * each : (RANK + 1) * each]
