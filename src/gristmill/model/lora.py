"""LoRA: matrices of low rank next to frozen ones, which alone are trained (Hu et al. 2021, arXiv:2106.09685 §4).

Adapters are read and written in PEFT's format (`adapter_model.safetensors`, `adapter_config.json`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gristmill.errors import UserError
from gristmill.files import atomic_path, write_json
from gristmill.model.formats.hf_format import renamed
from gristmill.model.transformer import Network
from gristmill.progress import warn
from gristmill.settings.types import Matrix

TARGETS = get_args(Matrix)
PREFIX = "base_model.model."
M = TypeVar("M", bound=nn.Module)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "gristmill_base_sha256"
ADAPTER = "adapter"  # folder of them in a stage's


class Adapted(nn.Module):
    """W x + scale · B A x, where W is frozen, A [rank, in] is random and B [out, rank] begins as 0."""

    def __init__(self, plain: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.weight, self.scale = plain.weight, scale
        self.lora_a = nn.Parameter(self.weight.new_empty(rank, plain.in_features))
        self.lora_b = nn.Parameter(self.weight.new_zeros(plain.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """As the linear map that it takes the place of."""
        low = F.linear(x, self.lora_a) * self.scale
        return F.linear(x, self.weight).add_(F.linear(low, self.lora_b))  # in place: long rows are large

    def merged(self) -> nn.Linear:
        """One linear map that computes the same."""
        plain = nn.Linear(self.lora_a.size(1), self.lora_b.size(0), bias=False, device="meta")
        plain.weight = nn.Parameter((self.weight + self.scale * self.lora_b @ self.lora_a).detach())
        return plain


def attach(model: Network, rank: int, alpha: float, targets: Sequence[str] = TARGETS) -> None:
    """Freeze a model and put adapters next to the matrices of its layers that are named, of the scale alpha / rank."""
    model.requires_grad_(False)
    for parent, name, plain in list(places(model, nn.Linear)):
        if name in targets:
            setattr(parent, name, Adapted(plain, rank, alpha / rank))


def merge(model: Network) -> None:
    """Put the adapters into the matrices, which are trained again from then on."""
    for parent, name, adapted in list(places(model, Adapted)):
        setattr(parent, name, adapted.merged())
    model.requires_grad_(True)


def places(model: nn.Module, kind: type[M]) -> Iterator[tuple[nn.Module, str, M]]:
    """The modules of a kind in a model's layers: whose they are, under which name, and they themselves."""
    for parent in getattr(model, "layers", model).modules():
        for name, child in parent.named_children():
            if isinstance(child, kind):
                yield parent, name, child


def write_adapter(model: Network, folder: Path, base: str) -> None:
    """Write a model's adapters for PEFT. `base` says what they were trained on; so does a digest of its weights, in the
    one table of the configuration that may hold anything: PEFT keeps it, and passes over it where there is a task."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" in name}
    tensors = {written(name): tensor.detach().cpu().contiguous() for name, tensor in names.items()}
    with atomic_path(folder / WEIGHTS) as path:
        save_file(tensors, path, metadata={"format": "pt"})
    adapted = next(module for _, _, module in places(model, Adapted))
    rank = adapted.lora_a.size(0)
    config = {
        **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "bias": "none"},
        **{"r": rank, "lora_alpha": adapted.scale * rank, "lora_dropout": 0.0, "inference_mode": True},
        "target_modules": sorted({name.split(".")[-3] for name in tensors}),
        "auto_mapping": {BASE: base_digest(model)},
    }
    write_json(folder / CONFIG, config)


def base_digest(model: Network) -> str:
    """SHA-256 of the weights of a model's layers, as float32, without adapters. Embeddings are left out: how many rows
    they have is the tokenizer's affair, and rows of new tokens are means, whose last bit may differ."""
    found = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        if name.startswith("layers.") and ".lora_" not in name:
            found.update(name.encode())
            found.update(weight.detach().cpu().float().contiguous().numpy().astype("<f4", copy=False).data)
    return found.hexdigest()


def written(name: str) -> str:
    """PEFT's name of an adapter's matrix: `….q_proj.lora_A.weight`."""
    place, _, letter = name.rpartition(".lora_")
    return f"{PREFIX}{renamed(f'{place}.weight').removesuffix('.weight')}.lora_{letter.upper()}.weight"


def read_adapter(model: Network, folder: Path) -> None:
    """Attach the adapters of a PEFT folder; where they say so, warn that they were trained on other weights. Raises
    UserError where they are of another kind, or for a model of another shape."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        base = (config.get("auto_mapping") or {}).get(BASE)
        if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("modules_to_save"):
            raise UserError(f"{folder}: not plain LoRA", "adapters of matrices alone can be used")
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        if rank < 1:
            raise ValueError(f"r = {rank}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, SafetensorError) as error:
        inside = folder / ADAPTER
        why = error.strerror if isinstance(error, OSError) else error
        there = f": name {inside}" if (inside / CONFIG).exists() else ", as sft/adapter"
        raise UserError(f"no adapters of PEFT in {folder}: {why}", f"name the folder of a LoRA{there}") from error
    ends = {name.split(".")[-3:][0].removesuffix("_proj") for name in tensors}
    attach(model, rank, alpha * math.sqrt(rank) if config.get("use_rslora") else alpha, sorted(ends))
    own = {written(name): tensor for name, tensor in model.state_dict().items() if ".lora_" in name}
    wrong = sorted(own.keys() ^ tensors.keys()) or [n for n in own if own[n].shape != tensors[n].shape]
    if wrong:
        raise UserError(f"{folder}: {wrong[0]} is not of this model", "name the adapters of the model that is tuned")
    if base and base != base_digest(model):
        told = f"the adapters in {folder} were trained on a model of other weights, though of the same shape"
        warn(f"caution: {told}: with these they may be worth nothing; name the model that they were trained on")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
