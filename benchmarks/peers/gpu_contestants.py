"""The contestants of gpu_pretrain.py: the training steps of gristmill, nanoGPT and nanochat, on one GPU.

Each has the rates and schedules that its authors publish, stretched over the time that there is.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gristmill.model.loss import IGNORE, cross_entropy, upload
from gristmill.model.transformer import ModelConfig, Transformer, parameter_count
from gristmill.recipe import Pretrain
from gristmill.training import gpu
from gristmill.training.data.loader import Batch
from gristmill.training.optimizer import Optimizer, Rates, share_of_peak


@dataclass
class Contestant:
    """A model in training, with its clock."""

    name: str
    model: nn.Module
    step: Callable[[Batch, float], None]  # share of the time that has passed
    loss: Callable[[Batch], float]  # nats per token
    flops: float  # a token
    seconds: float = 0.0
    steps: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)  # (seconds, held-out nats per token)


def ours(params: Pretrain, vocabulary: int, device: str) -> Contestant:
    """Ours, as the recipe has it."""
    torch.manual_seed(params.seed)
    shape = {name: getattr(params, name) for name in ModelConfig.__dataclass_fields__ if hasattr(params, name)}
    model = Transformer(ModelConfig(vocab_size=vocabulary, **shape)).to(device)
    gpu.prepare(model, params.compile, params.recompute)
    optimizer = Optimizer(model, Rates.of(params))

    def nats(batch: Batch) -> Tensor:
        starts = batch.starts() if params.document_mask else None
        return cross_entropy(model, batch.inputs, batch.targets, starts_BT=starts)

    done = 0

    def step(batch: Batch, passed: float) -> None:
        nonlocal done
        nats(batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), params.clip)
        optimizer.step(share_of_peak(round(passed * 10_000), 10_000, params.warmup, params.decay), done)
        done += 1

    table = 0 if params.tie_embeddings else model.embed.weight.numel()
    return Contestant("gristmill", model, step, lambda batch: nats(batch).item(), flops(model, table, params))


def nanogpt(params: Pretrain, vocabulary: int, device: str, rate: float, folder: Path | None) -> Contestant:
    """nanoGPT's network, from its checkout or (the same) from transformers, with its published settings: AdamW, weight
    decay 0.1, betas 0.9 and 0.95, clipping at 1, bfloat16, compiled, warm-up and cosine."""
    torch.manual_seed(params.seed)
    sizes: dict[str, Any] = dict(
        n_layer=params.layers, n_head=params.width // 64, n_embd=params.width, vocab_size=vocabulary
    )
    if folder:
        published = module(folder, "model")
        model = published.GPT(published.GPTConfig(block_size=params.context, bias=False, dropout=0.0, **sizes))
        name = f"nanoGPT {revision(folder)}"
    else:
        import transformers

        off: dict[str, Any] = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_positions=params.context, **off, **sizes))
        name = f"transformers {transformers.__version__} GPT-2"
    model.to(device)
    on_gpu = device == "cuda"
    groups = [
        {"params": [w for w in model.parameters() if w.ndim >= 2], "weight_decay": 0.1},
        {"params": [w for w in model.parameters() if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
    network = torch.compile(model) if on_gpu else model

    def nats(called: Callable[..., Any], batch: Batch) -> Tensor:
        inputs, targets = placed(batch, device)
        with torch.autocast("cuda", torch.bfloat16) if on_gpu else contextlib.nullcontext():
            if folder:
                loss: Tensor = called(inputs, targets)[1]
                return loss
            return F.cross_entropy(
                called(inputs, use_cache=False).logits.flatten(0, 1), targets.flatten(), ignore_index=-1
            )

    def step(batch: Batch, passed: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, passed / 0.02) * (0.1 + 0.45 * (1 + math.cos(math.pi * passed)))
        nats(network, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    positions = model.transformer.wpe.weight.numel()
    told = f"{name}, rate {rate:g}"
    return Contestant(told, model, step, lambda batch: float(nats(model, batch)), flops(model, positions, params))


BATCH, DECAY = 2**19, 0.28  # tokens a step and weight decay that nanochat's rates are for


def nanochat(params: Pretrain, vocabulary: int, device: str, scale: float, folder: Path) -> Contestant:
    """nanochat's model of as many layers, its optimizer and schedules (scripts/base_train.py), at full attention. Its
    script scales rates by the root of the batch's size; `scale` does so beside that."""
    gpt = module(folder, "nanochat.gpt")
    torch.manual_seed(params.seed)
    width, heads = params.width, max(1, params.width // 128)
    shape = dict(n_layer=params.layers, n_embd=width, n_head=heads, n_kv_head=heads, window_pattern="L")
    with torch.device("meta"):
        model = gpt.GPT(gpt.GPTConfig(sequence_len=params.context, vocab_size=vocabulary, **shape))
    model.to_empty(device=device)
    model.init_weights()
    share = params.batch * params.context / BATCH
    rates = dict(unembedding_lr=0.008, embedding_lr=0.3, matrix_lr=0.02, scalar_lr=0.5)
    optimizer = model.setup_optimizer(**{name: rate * scale * share**0.5 for name, rate in rates.items()})
    network = torch.compile(model, dynamic=False) if device == "cuda" else model
    done = 0

    def step(batch: Batch, passed: float) -> None:
        nonlocal done
        network(*placed(batch, device)).backward()
        left = min(1.0, (1 - passed) / 0.65)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * min((done + 1) / 40, left + (1 - left) * 0.05)
            if group["kind"] == "muon":
                group["momentum"] = 0.85 + 0.12 * min(1.0, done / 400) if left == 1 else 0.90 + 0.07 * left
                group["weight_decay"] = DECAY * share**0.5 * 0.5 * (1 + math.cos(math.pi * passed))
        optimizer.step()
        model.zero_grad(set_to_none=True)
        done += 1

    count = 6 * model.num_matmul_params() + 12 * params.layers * width * params.context
    told = f"nanochat {revision(folder)}, scale {scale:g}"
    return Contestant(told, model, step, lambda batch: float(model(*placed(batch, device))), count)


def placed(batch: Batch, device: str) -> tuple[Tensor, Tensor]:
    """Inputs and targets on the device, as the peers want them: -1 where there is no target."""
    inputs, targets = (upload(value, torch.device(device)) for value in (batch.inputs, batch.targets))
    return inputs, torch.where(targets == IGNORE, -1, targets)


def flops(model: nn.Module, looked_up: int, params: Pretrain) -> float:
    """Of a token, forward and backward; `looked_up` parameters are in no matrix product."""
    return 6 * (parameter_count(model) - looked_up) + 12 * params.layers * params.width * params.context


def module(folder: Path, name: str) -> Any:
    """A module of a checkout."""
    if not (folder / f"{name.replace('.', '/')}.py").exists():
        raise SystemExit(f"no {name} in {folder}: give the folder of a checkout")
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def revision(folder: Path) -> str:
    """A checkout's commit, as far as it can be read without git."""
    head = folder / ".git" / "HEAD"
    text = head.read_text().strip() if head.exists() else ""
    path = folder / ".git" / text.removeprefix("ref: ")
    return (path.read_text() if text.startswith("ref: ") and path.exists() else text)[:8]
