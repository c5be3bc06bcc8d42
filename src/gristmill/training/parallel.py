"""Training in the processes that torchrun starts: DDP and FSDP2, put around a plain model that knows nothing of it.

What is summed over processes is a step's loss and its gradients: every process computes its share of them, and the
shares add up. So any number of processes computes the same step, but for rounding. What only several processes need of
PyTorch is imported when there are several: it takes a second of processor time.
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

from gristmill.processes import LEADER, LOCAL_RANK, RANK, SIZE
from gristmill.training import traffic

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
    traffic.count("sums", summed, rounds=2)
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

    Whatever computes with the model goes through `call`, in all processes at the same time. `low`: layers compute in
    bfloat16, so that the weights of sharded ones are gathered in it; gradients are added up in float32.
    """

    def __init__(self, model: nn.Module, how: str, low: bool = False) -> None:
        self.model = model
        self.call: Any = Caller(model)
        self.sharded: list[Any] = []  # parts that are sharded each for itself
        self.low = low and SIZE > 1 and how == "fsdp"
        if SIZE > 1 and how == "ddp":
            self.call = nn.parallel.DistributedDataParallel(self.call, gradient_as_bucket_view=True)
            self.call.register_comm_hook(None, traffic.reduce)
        elif SIZE > 1:
            self.shard()

    def shard(self) -> None:
        """Put FSDP2 around every layer, and around the rest."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(next(self.model.parameters()).device.type, (SIZE,))
        exact = MixedPrecisionPolicy()
        low = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        for module in self.model.modules():
            if isinstance(module, nn.ModuleList):
                self.sharded += [
                    fully_shard(block, mesh=mesh, mp_policy=low if self.low else exact) for block in module
                ]
        self.sharded.append(fully_shard(self.call, mesh=mesh))
        for part in self.sharded:
            if hasattr(part, "set_custom_all_gather"):  # PyTorch ≥ 2.9
                part.set_custom_all_gather(traffic.Gathering())
                part.set_custom_reduce_scatter(traffic.Scattering())
            part.unshard()  # memory first taken in inference mode could not be trained in
        self.reshard()

    def part(self, last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward pass of a part of a step: only the last need exchange gradients."""
        for module in self.sharded:
            module.set_requires_gradient_sync(last)
        return nullcontext() if last or not hasattr(self.call, "no_sync") else self.call.no_sync()

    def clip(self, limit: float) -> float:
        """Scale all gradients down to `limit`, if their norm is above; returns the norm."""
        norm: Any = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        return float(norm.full_tensor() if is_sharded(norm) else norm)

    def reshard(self) -> None:
        """Give up what was gathered of the parameters for computing."""
        for module in self.sharded:
            module.reshard()

    def unwrap(self) -> None:
        """Make the model a plain one again, whole in every process."""
        self.reshard()
        for module in [*self.model.modules(), self.call]:
            for name, weight in list(module.named_parameters(recurse=False)):
                if is_sharded(weight):
                    setattr(module, name, nn.Parameter(weight.full_tensor().detach()))
        for module in self.sharded:
            for name, hooks in vars(module).items():
                if name.endswith("_hooks"):
                    hooks.clear()
            module.__class__ = type(module).__mro__[2]  # FSDP2 put a class of its own over the module's


def is_sharded(tensor: Tensor) -> bool:
    """Whether processes have rows of a tensor each (PyTorch's DTensor)."""
    return hasattr(tensor, "full_tensor")


def first_row(tensor: Tensor) -> int:
    """Which row of the whole tensor this process's first one is."""
    return RANK * -(-len(tensor) // SIZE) if is_sharded(tensor) else 0


def local(tensor: Tensor) -> Tensor:
    """This process's rows of a sharded tensor (they share memory); another tensor as it is."""
    sharded: Any = tensor
    rows: Tensor = sharded.to_local() if is_sharded(tensor) else tensor
    return rows


def like(rows: Tensor, weight: Tensor) -> Tensor:
    """This process's rows as a tensor that is sharded as `weight` is (they share memory)."""
    return sharded_as(weight, rows, weight.shape, weight.stride()) if is_sharded(weight) else rows


def gathered(rows_NRC: Tensor, weight: Tensor) -> Tensor:
    """The whole matrices of a stack of which each process has the rows that it has of `weight`."""
    if not is_sharded(weight):
        return rows_NRC
    from torch.distributed.tensor import Shard

    shape, stride = torch.Size((len(rows_NRC), *weight.shape)), (weight.numel(), *weight.stride())
    whole: Tensor = sharded_as(weight, rows_NRC, shape, stride, [Shard(1)]).full_tensor()
    traffic.count("updates", whole)
    return whole


def sharded_as(weight: Any, rows: Tensor, shape: torch.Size, stride: tuple[int, ...], how: Any = None) -> Any:
    """A tensor whose rows the processes of a sharded weight have, by rows or as told."""
    from torch.distributed.tensor import DTensor

    mesh, how = weight.device_mesh, how or weight.placements
    return DTensor.from_local(rows, mesh, how, run_check=False, shape=shape, stride=stride)


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
    whole = torch.cat(parts)
    traffic.count("updates", whole)
    return whole[: len(stack_NRC)]


def own(whole_RC: Tensor, weight: Tensor) -> Tensor:
    """The rows of a whole matrix that this process has of `weight`."""
    if not is_sharded(weight):
        return whole_RC
    first = first_row(weight)
    return whole_RC[first : first + len(local(weight))]
