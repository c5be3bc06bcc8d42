"""Weights as the C step reads them: matrices in panels, in float32, bfloat16 or int8 (`step/panels.h`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from mmap import MAP_PRIVATE, mmap
from typing import Any, NamedTuple

import numpy as np

from gristmill.generation.weight_type import WeightType
from gristmill.model.config import ModelConfig

PANEL, GROUP = 32, 32  # outputs that lie together, inputs that share a scale
LINE = 64  # bytes that a vector may have, and that memory is read by
LARGE = 1 << 16  # bytes

Weights = Callable[[str], np.ndarray]  # by the names of `Transformer`


class Packed(NamedTuple):
    """All weights of a model."""

    shared: list[np.ndarray]  # embeddings, unembedding (the same where they are tied), last norm
    layers: list[list[np.ndarray]]  # of each, in the order of `struct step_layer`


def packed(config: ModelConfig, weight: Weights, kind: WeightType) -> Packed:
    """All weights in the order and form in which C has them."""
    embeddings = panels(weight("embed.weight"), kind)
    unembedding = embeddings if config.tie_embeddings else panels(weight("head.weight"), kind)
    shared = [embeddings, unembedding, vector(weight("norm.weight"), PANEL)]
    return Packed(shared, [list(packed_layer(config, weight, f"layers.{n}.", kind)) for n in range(config.layers)])


def packed_layer(config: ModelConfig, weights: Weights, layer: str, kind: WeightType) -> Iterator[np.ndarray]:
    """The weights of one layer."""

    def weight(name: str) -> np.ndarray:
        return weights(layer + name)

    K, one = up_to(config.head_dim, 16), np.ones(config.head_dim, np.float32)
    yield vector(weight("attention_norm.weight"), PANEL)
    heads = (weight(f"attention.{part}.weight") for part in "qkv")
    split = (part.reshape(-1, config.head_dim, config.width) for part in heads)
    yield panels(np.concatenate([padded(part, K, config.width).reshape(-1, config.width) for part in split]), kind)
    for part in "qk":
        yield vector(weight(f"attention.{part}_norm.weight") if config.qk_norm else one, 16)
    o = weight("attention.o.weight").reshape(config.width, config.heads, config.head_dim)
    yield panels(padded(o, config.heads, K).reshape(config.width, -1), kind)
    yield vector(weight("ffn_norm.weight"), PANEL)
    both = [weight(f"ffn.{part}.weight") for part in ("gate", "up")]
    turns = [
        padded(part, up_to(config.ffn_width, PANEL), config.width).reshape(-1, PANEL, config.width) for part in both
    ]
    yield panels(np.stack(turns, 1).reshape(-1, config.width), kind)
    yield panels(weight("ffn.down.weight"), kind)


def up_to(n: int, unit: int) -> int:
    """n rounded up."""
    return -(-n // unit) * unit


def aligned(size: int, of: Any) -> np.ndarray:
    """A new array whose memory begins where a line does: a vector then never lies on two. A large one has pages of its
    own, among which nothing that was let go is left."""
    needed = size * np.dtype(of).itemsize
    own = needed >= LARGE
    room = np.frombuffer(mmap(-1, needed, MAP_PRIVATE), np.uint8) if own else np.empty(needed + LINE, np.uint8)
    begin = -room.ctypes.data % LINE
    return room[begin : begin + needed].view(of)


def vector(x: np.ndarray, unit: int) -> np.ndarray:
    """x with zeros up to a multiple, float32."""
    made = aligned(up_to(len(x), unit), np.float32)
    made[: len(x)], made[len(x) :] = x, 0
    return made


def padded(x: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The last two dimensions with zeros up to these sizes, float32."""
    made = np.zeros((*x.shape[:-2], rows, columns), np.float32)
    made[..., : x.shape[-2], : x.shape[-1]] = x
    return made


def panels(x: np.ndarray, kind: WeightType) -> np.ndarray:
    """A matrix [outputs, inputs] in panels of PANEL outputs, uint8."""
    whole = padded(x, up_to(x.shape[0], PANEL), up_to(x.shape[1], GROUP))
    inputs = whole.shape[1]
    rows = whole.reshape(-1, PANEL, inputs).transpose(0, 2, 1)  # [panels, inputs, PANEL]
    made: np.ndarray
    if kind == WeightType.FLOAT32:
        made = aligned(rows.size, np.float32)
        made.reshape(rows.shape)[:] = rows
    elif kind == WeightType.BFLOAT16:
        made = aligned(rows.size, np.uint16)
        made.reshape(-1, inputs // 2, PANEL, 2)[:] = bfloat16(rows).reshape(-1, inputs // 2, 2, PANEL).swapaxes(2, 3)
    else:
        scales, groups = quantised(rows.reshape(-1, inputs // GROUP, GROUP, PANEL))
        made = aligned(len(rows) * inputs // GROUP * PANEL * (4 + GROUP), np.uint8)
        parts = made.reshape(-1, inputs // GROUP, PANEL * (4 + GROUP))
        parts[..., : 4 * PANEL] = scales.view(np.uint8)
        pairs = groups.reshape(*groups.shape[:2], GROUP // 2, 2, PANEL).swapaxes(3, 4)
        parts[..., 4 * PANEL :] = np.ascontiguousarray(pairs).view(np.uint8).reshape(*parts.shape[:2], -1)
    return made.view(np.uint8)


def bfloat16(x: np.ndarray) -> np.ndarray:
    """The nearest numbers of 16 bits (of two the even one), uint16: the upper half of float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    nearest = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(x), 0x7FC0, nearest).astype(np.uint16)


def quantised(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups of weights [..., GROUP, PANEL] as a scale of each output, float32 [..., PANEL], and int8 of at most 127;
    where one is no number, the scale is none."""
    scales = np.ascontiguousarray(np.abs(x).max(-2) / 127, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.nan_to_num(x / scales[..., None, :], posinf=0, neginf=0)
    return scales, np.rint(shares).clip(-127, 127).astype(np.int8)
