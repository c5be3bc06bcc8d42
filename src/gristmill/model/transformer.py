"""The transformer: a decoder that computes exactly what Hugging Face's `Qwen3ForCausalLM` computes.

Pre-norm blocks of grouped-query attention and SwiGLU; RMSNorm (arXiv:1910.07467), rotary positions
(arXiv:2104.09864), QK-norm (arXiv:2302.05442), SwiGLU (arXiv:2002.05202), grouped queries (arXiv:2305.13245), no
biases. Export is therefore a renaming.

Shape letters: B batch, T new tokens, S tokens seen in all, D width, H heads, G key-value heads, K head size, V
vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gristmill.errors import UserError
from gristmill.files import atomic_path, write_json
from gristmill.manifest import intact, within
from gristmill.model import ops
from gristmill.model.config import ModelConfig as ModelConfig


class Cache(Protocol):
    """Keys and values of the tokens seen so far."""

    def extend(self, layer: int, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values of one layer; returns all of that layer's."""


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight, over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        inner, inner_kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q = nn.Linear(config.width, inner, bias=False)
        self.k = nn.Linear(config.width, inner_kv, bias=False)
        self.v = nn.Linear(config.width, inner_kv, bias=False)
        self.o = nn.Linear(inner, config.width, bias=False)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def forward(
        self, x_BTD: Tensor, angles: ops.Angles, layer: int, cache: Cache | None, mask: ops.Mask | None
    ) -> Tensor:
        B, T, _ = x_BTD.shape
        q, k, v = (part.view(B, T, -1, self.config.head_dim) for part in ops.linear(x_BTD, (self.q, self.k, self.v)))
        norms = (self.q_norm.weight, self.k_norm.weight) if self.config.qk_norm else None
        extend = None if cache is None else partial(cache.extend, layer)
        y_BTHK = ops.attend(q, k, v, angles, norms, self.config.norm_eps, extend, mask)
        y_BTD: Tensor = self.o(y_BTHK.reshape(B, T, -1))
        return y_BTD


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) · up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.ffn_width, bias=False)
        self.up = nn.Linear(config.width, config.ffn_width, bias=False)
        self.down = nn.Linear(config.ffn_width, config.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.down(ops.gated(x_BTD, self.gate, self.up))
        return y_BTD


class Block(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.width, config.norm_eps)
        self.ffn = FeedForward(config)

    def forward(
        self, x_BTD: Tensor, angles: ops.Angles, layer: int, cache: Cache | None, mask: ops.Mask | None
    ) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), angles, layer, cache, mask)
        x_BTD = x_BTD + self.ffn(self.ffn_norm(x_BTD))
        return x_BTD


class Network(nn.Module):
    """A model that its configuration rebuilds: what can be trained and saved."""

    config: ModelConfig


N = TypeVar("N", bound=Network)


class Transformer(Network):
    """Token ids in, logits over the next token out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        if not config.tie_embeddings:
            self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.initialise()

    def initialise(self) -> None:
        """Scaled uniform-variance weights; what writes to the residual stream starts at zero.

        A tied embedding is small: while nothing is written, the last state is the embedding of the token that was read,
        normalised, and that token's own logit is std · width. 2 is hardly seen; 15 would be a model that repeats its
        input.
        """
        tied = min(0.02, 2 / self.config.width)
        for name, weight in self.named_parameters():
            if name.endswith(("o.weight", "down.weight")):
                nn.init.zeros_(weight)
            elif name == "embed.weight":
                nn.init.normal_(weight, std=tied if self.config.tie_embeddings else 1.0)
            elif name == "head.weight":
                nn.init.normal_(weight, std=0.002)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=weight.size(1) ** -0.5)

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        cache: Cache | None = None,
        positions_BT: Tensor | None = None,
        mask: ops.Mask | None = None,
    ) -> Tensor:
        """Normalised last hidden states, [B, T, D].

        Without a cache, attention is causal and positions count from 0. With one, `positions_BT` and the boolean
        `mask` [B, 1, T, S] (True where attention is allowed) must be given. A mask of int64 [B, T] is causal, and says
        for each token where its document begins, before which it sees nothing (or `ops.boundaries` of that). Rotary
        attention depends on distances alone, so that positions need not begin anew. `ops.Branches` need positions.
        """
        if positions_BT is None:
            positions_BT = torch.arange(ids_BT.size(1), device=ids_BT.device)[None]
        angles = self.angles(positions_BT)
        x_BTD = self.embed(ids_BT)
        for layer, block in enumerate(self.layers):
            x_BTD = block(x_BTD, angles, layer, cache, mask)
        normed_BTD: Tensor = self.norm(x_BTD)
        return normed_BTD

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits of hidden states, [..., V]."""
        return F.linear(hidden, self.unembedding)

    @property
    def unembedding(self) -> Tensor:
        """The matrix that turns hidden states into logits, [V, D]."""
        return self.embed.weight if self.config.tie_embeddings else self.head.weight

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits [B, T, V] of whole sequences."""
        return self.logits(self.hidden(ids_BT))

    def angles(self, positions_BT: Tensor) -> ops.Angles:
        """Cosine and sine of the rotary angles, each [B, 1, T, K/2]."""
        half = torch.arange(0, self.config.head_dim, 2, device=positions_BT.device, dtype=torch.float32)
        frequency = 1.0 / self.config.rope_theta ** (half / self.config.head_dim)
        if self.config.rope_scaling:
            frequency = llama3_rope_scaling(frequency, *self.config.rope_scaling)
        angle = positions_BT[:, None, :, None].float() * frequency
        return angle.cos(), angle.sin()


def llama3_rope_scaling(frequency: Tensor, factor: float, low: float, high: float, context: float) -> Tensor:
    """Rotary frequencies for a longer context, as Llama 3.1 has them: slow ones slower, fast ones as they are."""
    turns = context * frequency / (2 * math.pi)  # within the context before
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * frequency / factor + kept * frequency


def parameter_count(model: nn.Module) -> int:
    """How many numbers a model has learned."""
    return sum(weight.numel() for weight in model.parameters())


def save_model(model: Network, folder: Path) -> None:
    """Write `model.safetensors` and `model.json`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "model.safetensors") as path:
        save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, path)
    write_json(folder / "model.json", asdict(model.config))


def load_model(folder: Path | str, device: str = "cpu") -> Transformer:
    """Read the folder of a stage that trains a model (pretrain, sft, rl), to a device of PyTorch's.

    A module of PyTorch in float32: `model(ids_BT)` takes token ids, int64 [B, T] with T at most
    `model.config.context`, and gives the logits of the token after each, [B, T, V]. Nothing in it depends on
    `train()` and `eval()`.

    Raises UserError naming the file that is missing or does not fit.
    """
    return load_network(Transformer, Path(folder), device, "pretrain, sft or rl")


def load_network(make: Callable[[ModelConfig], N], folder: Path, device: str, stages: str) -> N:
    """The same of whatever network `save_model` wrote in the folder of one of some `stages`."""
    for name in ("model.json", "model.safetensors"):
        intact(folder / name)
    try:
        config = ModelConfig(**json.loads((folder / "model.json").read_text()))
        weights = load_file(folder / "model.safetensors", device=device)
        with torch.device(device):
            model = make(config)
        model.load_state_dict(weights)
    except OSError as error:
        if folder.is_file() or (folder / "config.json").exists():
            problem = f"{folder} is a model by others, no stage's folder"
            raise UserError(problem, "read it by Engine.load, as find_model names it: engine.model") from error
        remedy = within(folder, "model.json") or "train one first: gristmill run"
        raise UserError(f"no model in {folder}: {error.strerror}", remedy) from error
    except Exception as error:
        if "state_dict" in str(error):  # torch names every tensor, over many lines
            problem = f"the tensors in {folder} are not those of the model that its model.json describes"
            raise UserError(problem, f"name the folder of {stages}") from error
        raise UserError(f"{folder} holds no readable model: {error}", "train it again") from error
    return model
