"""The shape of a transformer, without PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gristmill.errors import UserError


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a transformer."""

    vocab_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_width: int
    context: int  # longest sequence, tokens
    tie_embeddings: bool = False
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    qk_norm: bool = True  # without it the model is a Llama
    rope_scaling: list[float] | None = None  # of Llama 3: factor, low and high frequency factor, context before

    def __post_init__(self) -> None:
        """Raises ValueError for a size below 1, and UserError for sizes that go together in no model."""
        if least := [f"{name} = {value}" for name, value in vars(self).items() if type(value) is int and value < 1]:
            raise ValueError(least[0])
        if self.heads % self.kv_heads:
            raise UserError(
                f"heads = {self.heads} is not a multiple of kv_heads = {self.kv_heads}", "change one of them"
            )
        if self.head_dim % 2:
            raise UserError(f"head_dim = {self.head_dim} is odd", "rotary positions need an even one")

    def frequencies(self) -> np.ndarray:
        """What the rotary angles of a position are multiples of, float32 [K/2]; `Transformer.angles` has the same."""
        half = np.arange(0, self.head_dim, 2, dtype=np.float32)
        plain: np.ndarray = np.float32(1) / np.float32(self.rope_theta) ** (half / np.float32(self.head_dim))
        if not self.rope_scaling:
            return plain
        factor, low, high, context = self.rope_scaling
        kept = ((context * plain / (2 * math.pi) - low) / (high - low)).clip(0, 1)
        scaled: np.ndarray = ((1 - kept) * plain / factor + kept * plain).astype(np.float32)
        return scaled
