"""What a training step does between its matrix products, as fused C (`kernels.c`): for float32 on the CPU.

PyTorch runs each of these as a dozen passes over memory, which on a CPU take longer than the matrix products. `fits`
says whether a kernel takes a tensor; where it does not (GPU, other precisions, odd sizes), the model runs the same
formula in plain PyTorch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from gristmill import native
from gristmill.native import INT, POINTER, SIZE

LANES = 16  # numbers that a kernel takes at once


@cache
def pool() -> Any:
    """PyTorch's own OpenMP, so that its threads run our work too; None (one thread) where it is of another kind."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, POINTER)
    except AttributeError:
        return None


def fields(tensors: str, sizes: str, scalar: str = "") -> list[tuple[str, Any]]:
    """Those of a job in kernels.h: pointers, sizes and perhaps a float."""
    kinds = (POINTER, tensors), (SIZE, sizes), (ctypes.c_float, scalar)
    return [(name, kind) for kind, names in kinds for name in names.split()]


class AttentionJob(ctypes.Structure):
    """Causal attention, forward and backward."""

    _fields_ = fields(
        "q k v q_weight k_weight cosine sine starts firsts kept y lse dy dq dk dv dq_weight dk_weight",
        "B T H G K turned",
        "eps",
    )


class NormJob(ctypes.Structure):
    """RMSNorm, forward and backward."""

    _fields_ = fields("x weight dy y dx dweight", "rows width", "eps")


class SwigluJob(ctypes.Structure):
    """SwiGLU, forward and backward."""

    _fields_ = fields("gate up dy y dgate dup", "n")


class CrossEntropyJob(ctypes.Structure):
    """Cross-entropy with its gradient."""

    _fields_ = fields("logits loss targets", "rows V", "scale")


def declare(name: str, job: type[ctypes.Structure]) -> native.Function:
    """The C function that does such jobs."""
    return native.Function(name, INT, ctypes.POINTER(job), POINTER, ctypes.c_uint)


ATTEND, ATTEND_BACK = declare("gm_attend", AttentionJob), declare("gm_attend_back", AttentionJob)
RMS_NORM, RMS_NORM_BACK = declare("gm_rms_norm", NormJob), declare("gm_rms_norm_back", NormJob)
SWIGLU, SWIGLU_BACK = declare("gm_swiglu", SwigluJob), declare("gm_swiglu_back", SwigluJob)
CROSS_ENTROPY = declare("gm_cross_entropy", CrossEntropyJob)


def call(kernel: native.Function, numbers: dict[str, float], **tensors: Tensor) -> None:
    """Run a kernel on contiguous tensors, named as in its job; one without numbers is none. Raises MemoryError, and
    IndexError for a target that is no row.
    """
    if any(tensor.dtype not in (torch.float32, torch.int64) for tensor in tensors.values()):
        raise TypeError(f"{kernel.name} takes float32 and, as targets, int64")
    pointers = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    failed = kernel(kernel.arguments[0]._type_(**pointers, **numbers), pool(), torch.get_num_threads())
    if failed:
        raise IndexError("a target is out of range") if failed < 0 else MemoryError(kernel.name)


@contextmanager
def fast_products(fast: bool = True) -> Iterator[None]:
    """Let PyTorch multiply float32 matrices with oneDNN ("medium" precision) instead of MKL; or not, if not `fast`.

    On an AMD CPU with AVX-512 that is 2.3 times as fast and still float32; where the CPU or GPU has units for bfloat16
    products (AMX), factors are rounded to it. oneDNN keeps code and memory for every shape that it meets (about 0.6 MB
    for small ones): it is for what comes in few shapes.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if fast else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def rounds_factors() -> bool:
    """Whether fast products on this CPU round their factors to bfloat16."""
    a, b = torch.linspace(0.5, 1.5, 64 * 64).view(64, 64), torch.eye(64)
    with fast_products():
        return not torch.allclose(a @ b, a, rtol=1e-5)


def fits(x: Tensor, size: int) -> bool:
    """Whether kernels take float32 tensors as this one with rows of `size`."""
    here = x.device.type == "cpu" and not torch.compiler.is_compiling()  # torch.compile fuses the plain form by itself
    return here and x.dtype == torch.float32 and size % LANES == 0 and x.numel() > 0


class Kernel(Function):
    """An operation with a gradient of its own, whose outcome is one tensor."""

    if TYPE_CHECKING:  # PyTorch's own has no annotations

        @classmethod
        def apply(cls, *arguments: Any) -> Tensor: ...


class Attend(Kernel):
    """Causal attention of queries [B, T, H, K] over keys and values [B, T, G, K], with rotary positions, and QK-norm
    where it has weights.

    Angles are [T, K/2], or [B, T, K/2]. `starts` [B, T] is the first place that each query sees, 0 without it; it sees
    from `firsts` up to before `kept` too [B, T]. None of them falls in a row.
    Extra memory is that of the output; scores exist a block of 32 queries at a time, in each thread.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_weight: Tensor | None,
        k_weight: Tensor | None,
        cosine: Tensor,
        sine: Tensor,
        eps: float,
        starts_BT: Tensor | None = None,
        firsts_BT: Tensor | None = None,
        kept_BT: Tensor | None = None,
    ) -> Tensor:
        """The heads' outputs, [B, T, H, K]."""
        given = (q, k, v, q_weight, k_weight, cosine, sine, starts_BT, firsts_BT, kept_BT)
        inputs = [q.new_empty(0) if x is None else x.contiguous() for x in given]  # the first is at NULL
        B, T, H, K = q.shape
        y, lse = torch.empty_like(inputs[0]), q.new_empty(B, H, T)
        turned = T if cosine.ndim == 3 else 0
        ctx.numbers = {"B": B, "T": T, "H": H, "G": k.size(2), "K": K, "turned": turned, "eps": eps}
        saved = (*inputs, y, lse)
        call(ATTEND, ctx.numbers, **dict(zip(SAVED, saved, strict=True)))
        ctx.save_for_backward(*saved)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the first five arguments."""
        saved = dict(zip(SAVED, ctx.saved_tensors, strict=True))
        made = {f"d{name}": torch.empty_like(saved[name]) for name in ("q", "k", "v")}
        for weight in ("q_weight", "k_weight"):
            made[f"d{weight}"] = dy.new_empty(ctx.numbers["B"] * ctx.numbers["G"], ctx.numbers["K"])
        call(ATTEND_BACK, ctx.numbers, **saved, dy=dy.contiguous(), **made)
        norms = (made[f"d{name}"].sum(0) if len(saved[name]) else None for name in ("q_weight", "k_weight"))
        return (made["dq"], made["dk"], made["dv"], *norms, None, None, None, None, None, None)


SAVED = ("q", "k", "v", "q_weight", "k_weight", "cosine", "sine", "starts", "firsts", "kept", "y", "lse")


class Norm(Kernel):
    """RMSNorm over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x / sqrt(mean(x²) + eps) · weight."""
        x, y = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        ctx.numbers = {"rows": x.numel() // x.size(-1), "width": x.size(-1), "eps": eps}
        call(RMS_NORM, ctx.numbers, x=x, weight=weight, y=y)
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weight."""
        x, weight = ctx.saved_tensors
        dx, parts = torch.empty_like(x), x.new_empty(-(-ctx.numbers["rows"] // NORM_ROWS), len(weight))
        call(RMS_NORM_BACK, ctx.numbers, x=x, weight=weight, dy=dy.contiguous(), dx=dx, dweight=parts)
        return dx, parts.sum(0), None


NORM_ROWS = 64  # rows that share one part of the weight's gradient, as in kernels.c


class SwiGLU(Kernel):
    """silu(gate) · up."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """Elementwise, any shape."""
        gate, up = gate.contiguous(), up.contiguous()
        y = torch.empty_like(gate)
        call(SWIGLU, {"n": gate.numel()}, gate=gate, up=up, y=y)
        ctx.save_for_backward(gate, up)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of both."""
        gate, up = ctx.saved_tensors
        dgate, dup = torch.empty_like(gate), torch.empty_like(up)
        call(SWIGLU_BACK, {"n": gate.numel()}, gate=gate, up=up, dy=dy.contiguous(), dgate=dgate, dup=dup)
        return dgate, dup


def cross_entropy(logits_NV: Tensor, targets_N: Tensor, share: float) -> Tensor:
    """The loss of each row in nats, [N]. The logits become the gradient of `share` times the rows' sum by them."""
    losses = logits_NV.new_empty(len(logits_NV))
    rows, vocabulary = logits_NV.shape
    numbers = {"rows": rows, "V": vocabulary, "scale": share}
    call(CROSS_ENTROPY, numbers, logits=logits_NV, targets=targets_N.contiguous(), loss=losses)
    return losses
