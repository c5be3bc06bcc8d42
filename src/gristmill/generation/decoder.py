"""A transformer's step in one C call (`step/`) on a CPU, without PyTorch."""

from __future__ import annotations

import ctypes
from typing import NamedTuple, Protocol

import numpy as np

from gristmill import native
from gristmill.generation.packing import PANEL, Weights, aligned, packed, up_to
from gristmill.generation.weight_type import WeightType
from gristmill.model.config import ModelConfig
from gristmill.native import POINTER, SIZE

PAGE, MOST_HEAD = 16, 256  # positions of a page, size of a head


class Step(ctypes.Structure):
    """A step as C has it."""

    _fields_ = (
        *((name, SIZE) for name in ("layers", "width", "heads", "kv_heads", "head", "ffn", "vocabulary")),
        ("eps", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("qk_norm", "type")),
        *((name, POINTER) for name in ("embeddings", "unembedding", "norm", "layer", "cosine", "sine")),
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
    exact: bool  # what a row gives does not depend on which rows share the step, to the bit

    def new_page(self) -> int:
        """Room for PAGE positions of one sequence."""

    def copy_page(self, source: int, target: int) -> None:
        """Let one page hold what another does."""

    def step(self, rows: Rows, outputs: int) -> np.ndarray:
        """Logits of so many rows, float32 [outputs, V or more]. They hold until the next step."""


class NativeDecoder:
    """The C step of one model; its weights are a copy, packed for it, their matrices in numbers of `kind`."""

    rows, exact = 64, True

    def __init__(self, config: ModelConfig, weights: Weights, kind: WeightType = WeightType.FLOAT32) -> None:
        self.config, self.kind, self.positions = config, kind, 0
        self.weights = packed(config, weights, kind)
        shared, layers = [part.ctypes.data for part in self.weights.shared], self.weights.layers
        self.layers = np.array([[part.ctypes.data for part in layer] for layer in layers], np.uint64)
        sizes = config.layers, config.width, config.heads, config.kv_heads, config.head_dim, config.ffn_width
        rest = config.norm_eps, config.qk_norm, [*WeightType].index(kind)
        self.call = Step(*sizes, config.vocab_size, *rest, *shared, self.layers.ctypes.data)
        self.scratch = aligned(SCRATCH(self.call), np.float32)
        self.call.scratch = self.scratch.ctypes.data
        self.pages: list[np.ndarray] = []
        self.make_room(self.rows, 1)

    @staticmethod
    def covers(config: ModelConfig) -> bool:
        """Whether it computes such a model."""
        return config.head_dim <= MOST_HEAD

    def new_page(self) -> int:
        """Room for PAGE positions."""
        head = up_to(self.config.head_dim, 16)
        room = PAGE * (head + 2 if self.kind == WeightType.INT8 else 2 * head)  # int8: of 16 bits, and two scales
        self.pages.append(aligned(self.config.layers * self.config.kv_heads * room, np.float32))
        return self.pages[-1].ctypes.data

    def copy_page(self, source: int, target: int) -> None:
        """Let one page hold what another does."""
        ctypes.memmove(target, source, self.pages[0].nbytes)

    def step(self, rows: Rows, outputs: int) -> np.ndarray:
        """Logits, float32 [outputs, V rounded up to PANEL]. They hold until the next step."""
        count, given, most = len(rows.tokens), self.given, max(rows.positions)
        if most >= self.positions:
            self.turn(most + 1)
        if count > given.shape[1] or outputs > len(self.logits):
            self.make_room(max(count, given.shape[1]), max(outputs, len(self.logits)))
            given = self.given
        given[0, :count], given[1, :count], given[2, :count] = rows.tokens, rows.positions, rows.outputs
        self.tables[:count] = [table.ctypes.data for table in rows.pages]
        self.call.rows = count
        STEP(self.call)
        return self.logits[:outputs]

    def make_room(self, rows: int, outputs: int) -> None:
        """Have memory for what C takes and gives."""
        self.given, self.tables = np.empty((3, rows), np.int32), np.empty(rows, np.uint64)
        self.logits = aligned(outputs * up_to(self.config.vocab_size, PANEL), np.float32).reshape(outputs, -1)
        self.call.tokens, self.call.positions, self.call.outputs = (part.ctypes.data for part in self.given)
        self.call.pages, self.call.logits = self.tables.ctypes.data, self.logits.ctypes.data

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
