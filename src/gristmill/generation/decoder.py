"""A transformer's step in one C call (`step/step.c`): float32 on a CPU, without PyTorch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from gristmill import native
from gristmill.model.config import ModelConfig
from gristmill.native import POINTER, SIZE

PANEL, PAGE, MOST_HEAD = 32, 16, 256  # outputs that lie together, positions of a page, size of a head
Weights = Callable[[str], np.ndarray]  # by the names of `Transformer`


class Step(ctypes.Structure):
    """A step as C has it."""

    _fields_ = (
        *((name, SIZE) for name in ("layers", "width", "heads", "kv_heads", "head", "ffn", "vocabulary")),
        ("eps", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("tied", "qk_norm")),
        *((name, POINTER) for name in ("weights", "cosine", "sine")),
        ("rows", SIZE),
        *((name, POINTER) for name in ("tokens", "positions", "pages", "outputs", "logits", "scratch")),
    )


STEP = native.Function("gm_step", None, ctypes.POINTER(Step))
SCRATCH = native.Function("gm_step_scratch", SIZE, ctypes.POINTER(Step))


class Rows(NamedTuple):
    """Tokens to read in one step, those of a sequence in order and next to each other."""

    tokens: list[int]
    positions: list[int]
    pages: list[np.ndarray]  # uint64: what `new_page` gave, for every PAGE positions of the row's sequence
    outputs: list[int]  # which row of logits follows, or -1


class Decoder(Protocol):
    """What reads tokens and gives logits; it owns the pages that hold keys and values."""

    rows: int  # at once, so that nobody waits long

    def new_page(self) -> int:
        """Room for PAGE positions of one sequence."""

    def copy_page(self, source: int, target: int) -> None:
        """Let one page hold what another does."""

    def step(self, rows: Rows, outputs: int) -> np.ndarray:
        """Logits of so many rows, float32 [outputs, V or more]. They hold until the next step."""


class NativeDecoder:
    """The C step of one model; its weights are a copy, packed for it."""

    rows = 64

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config, self.positions = config, 0
        self.weights = pack(config, weights)
        sizes = config.layers, config.width, config.heads, config.kv_heads, config.head_dim, config.ffn_width
        flags = config.norm_eps, config.tie_embeddings, config.qk_norm
        self.call = Step(*sizes, config.vocab_size, *flags, self.weights.ctypes.data)
        self.scratch = np.empty(SCRATCH(self.call), np.float32)
        self.call.scratch = self.scratch.ctypes.data
        self.pages: list[np.ndarray] = []

    @staticmethod
    def covers(config: ModelConfig) -> bool:
        """Whether it computes such a model."""
        return config.head_dim <= MOST_HEAD

    def new_page(self) -> int:
        """Room for PAGE positions."""
        size = self.config.layers * self.config.kv_heads * 2 * PAGE * up_to(self.config.head_dim, 16)
        self.pages.append(np.empty(size, np.float32))
        return self.pages[-1].ctypes.data

    def copy_page(self, source: int, target: int) -> None:
        """Let one page hold what another does."""
        ctypes.memmove(target, source, self.pages[0].nbytes)

    def step(self, rows: Rows, outputs: int) -> np.ndarray:
        """Logits, float32 [outputs, V rounded up to PANEL]."""
        if max(rows.positions) >= self.positions:
            self.turn(max(rows.positions) + 1)
        tokens, positions, wanted = (np.array(part, np.int32) for part in (rows.tokens, rows.positions, rows.outputs))
        pages = np.array([table.ctypes.data for table in rows.pages], np.uint64)
        logits, call = np.empty((outputs, up_to(self.config.vocab_size, PANEL)), np.float32), self.call
        call.rows = len(tokens)
        call.tokens, call.positions, call.pages, call.outputs, call.logits = (
            array.ctypes.data for array in (tokens, positions, pages, wanted, logits)
        )
        STEP(call)
        return logits

    def hidden(self, count: int) -> np.ndarray:
        """Normalised last hidden states of the `count` rows of the last step, all of which had outputs, float32
        [count, D]. They hold until the next step."""
        width = up_to(self.config.width, PANEL)
        return self.scratch[self.rows * width :][: count * width].reshape(count, width)[:, : self.config.width]

    def turn(self, positions: int) -> None:
        """Know the rotary angles of so many positions."""
        self.positions = min(self.config.context, max(positions, 2 * self.positions, 256))
        angles = np.arange(self.positions, dtype=np.float32)[:, None] * self.config.frequencies()
        self.cosine, self.sine = np.cos(angles), np.sin(angles)
        self.call.cosine, self.call.sine = self.cosine.ctypes.data, self.sine.ctypes.data


def up_to(n: int, unit: int) -> int:
    """n rounded up."""
    return -(-n // unit) * unit


def pack(config: ModelConfig, weight: Weights) -> np.ndarray:
    """All weights in the order and form in which `step/step.h` has them."""
    parts = []
    if not config.tie_embeddings:
        parts.append(padded(weight("embed.weight"), config.vocab_size, up_to(config.width, PANEL)).ravel())
    parts.append(panels(weight("embed.weight" if config.tie_embeddings else "head.weight")))
    parts.append(vector(weight("norm.weight"), PANEL))
    for layer in range(config.layers):
        parts += packed_layer(config, weight, f"layers.{layer}.")
    return np.concatenate(parts)


def packed_layer(config: ModelConfig, weights: Weights, layer: str) -> Iterator[np.ndarray]:
    """The weights of one layer."""

    def weight(name: str) -> np.ndarray:
        return weights(layer + name)

    K, one = up_to(config.head_dim, 16), np.ones(config.head_dim, np.float32)
    yield vector(weight("attention_norm.weight"), PANEL)
    heads = (weight(f"attention.{part}.weight") for part in "qkv")
    split = (part.reshape(-1, config.head_dim, config.width) for part in heads)
    yield panels(np.concatenate([padded(part, K, config.width).reshape(-1, config.width) for part in split]))
    for part in "qk":
        yield vector(weight(f"attention.{part}_norm.weight") if config.qk_norm else one, 16)
    o = weight("attention.o.weight").reshape(config.width, config.heads, config.head_dim)
    yield panels(padded(o, config.heads, K).reshape(config.width, -1), 1)
    yield vector(weight("ffn_norm.weight"), PANEL)
    size = up_to(config.width, PANEL) * PANEL
    both = [panels(weight(f"ffn.{part}.weight")).reshape(-1, size) for part in ("gate", "up")]
    yield np.stack(both, 1).ravel()
    yield panels(weight("ffn.down.weight"))


def vector(x: np.ndarray, unit: int) -> np.ndarray:
    """x with zeros up to a multiple."""
    return np.pad(x.astype(np.float32), (0, up_to(len(x), unit) - len(x)))


def padded(x: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The last two dimensions with zeros up to these sizes, float32."""
    made = np.zeros((*x.shape[:-2], rows, columns), np.float32)
    made[..., : x.shape[-2], : x.shape[-1]] = x
    return made


def panels(x: np.ndarray, unit: int = PANEL) -> np.ndarray:
    """A matrix [outputs, inputs] as panels [inputs up to a multiple of `unit`][PANEL]."""
    whole = padded(x, up_to(x.shape[0], PANEL), up_to(x.shape[1], unit))
    return whole.reshape(-1, PANEL, whole.shape[1]).transpose(0, 2, 1).ravel()
