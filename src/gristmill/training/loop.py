"""The one training loop. Pretraining, SFT, reward model and RL give it a loss; it does the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gristmill.manifest import write_text
from gristmill.model.kernels import fast_products
from gristmill.progress import Progress, quantity
from gristmill.training.optimizer import Optimizer, Rates, share_of_peak
from gristmill.training.probe import PROBE
from gristmill.training.watch import warn

CHECKPOINT = "checkpoint"
LOG_EVERY = 10  # steps


class Loss(Protocol):
    """One step's loss. A pure function of the model and the step number: that makes resuming exact."""

    def __call__(self, step: int) -> tuple[Tensor, int, dict[str, float]]:
        """The loss (a scalar to call backward on), the tokens it covers, and figures for the log."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train."""

    task: str
    steps: int
    rates: Rates
    warmup: float = 0.02  # share of all steps
    decay: float = 0.6  # share of all steps
    clip: float = 1.0  # gradient norm
    checkpoint_every: int = 200  # steps


def train(
    model: nn.Module,
    loss: Loss,
    plan: Plan,
    out: Path,
    *,
    every: int = 0,
    evaluate: Callable[[int], dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place and write `out/log.jsonl`; returns the log's records.

    Every `plan.checkpoint_every` steps the whole state goes to `out/checkpoint`; a run that finds one there goes on
    from it and ends with the same bits as if it had never stopped (on one machine and thread count). `evaluate` is
    called before the first step, every `every` steps and after the last one; what it returns joins the log.
    """
    if probe := PROBE.get():  # `gristmill plan`: a few steps are timed, and no more done
        probe(model, loss, plan, every, evaluate)
    optimizer = Optimizer(model, plan.rates)
    done, tokens, log = resume(model, optimizer, out)
    model.train()
    with fast_products(), Progress(plan.task, plan.steps, "steps") as bar:
        bar.resume(done)
        for step in range(done, plan.steps):
            record: dict[str, Any] = {}
            if evaluate and every and step % every == 0:
                record |= {"step": step} | evaluated(model, evaluate, step)
                warn(log, record)
            value, count, figures = loss(step)
            value.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            share = share_of_peak(step, plan.steps, plan.warmup, plan.decay)
            if torch.isfinite(norm):
                optimizer.step(share)
            else:  # one bad batch must not spoil the model
                model.zero_grad()
                record["skipped"] = True
            tokens += count
            if record or step % LOG_EVERY == 0 or figures:
                record |= {"step": step, "tokens": tokens, "loss": round(value.item(), 5), "lr": round(share, 4)}
                log.append(record | figures)
            bar.advance(1, note(log))
            if (step + 1) % plan.checkpoint_every == 0 and step + 1 < plan.steps:
                save(model, optimizer, {"done": step + 1, "tokens": tokens, "log": log}, out)
    if evaluate:
        log.append({"step": plan.steps, "tokens": tokens} | evaluated(model, evaluate, plan.steps))
    write_text(out / "log.jsonl", "".join(json.dumps(record) + "\n" for record in log))
    return log


def evaluated(model: nn.Module, evaluate: Callable[[int], dict[str, Any]], step: int) -> dict[str, Any]:
    """Call `evaluate` with the model in evaluation mode and without gradients."""
    model.eval()
    with torch.no_grad():
        figures = evaluate(step)
    model.train()
    return figures


def note(log: list[dict[str, Any]]) -> str:
    """What the progress line says of training so far."""
    if not log:
        return ""
    parts = [f"loss {log[-1]['loss']:.3f}", f"{quantity(log[-1]['tokens'])} tokens"]
    for name in ("epoch", "heldout_bpb", "train_bpb", "reward"):
        values = [record[name] for record in log if name in record]
        parts += [f"{name} {values[-1]:.3f}"] if values else []
    return ", ".join(parts)


def save(model: nn.Module, optimizer: Optimizer, state: dict[str, Any], out: Path) -> None:
    """Replace the checkpoint in one rename; a kill between the two renames leaves the older one."""
    new, old = out / f"{CHECKPOINT}.new", out / f"{CHECKPOINT}.old"
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, new / "model.safetensors")
    save_file(optimizer.state(), new / "optimizer.safetensors")
    write_text(new / "state.json", json.dumps(state))
    if (out / CHECKPOINT).exists():
        (out / CHECKPOINT).rename(old)
    new.rename(out / CHECKPOINT)
    shutil.rmtree(old, ignore_errors=True)


def resume(model: nn.Module, optimizer: Optimizer, out: Path) -> tuple[int, int, list[dict[str, Any]]]:
    """Load the newest whole checkpoint, if there is one: steps done, tokens seen, log."""
    for folder in (out / CHECKPOINT, out / f"{CHECKPOINT}.old"):
        if (folder / "state.json").exists():
            device = str(next(model.parameters()).device)
            model.load_state_dict(load_file(folder / "model.safetensors", device))
            optimizer.load(load_file(folder / "optimizer.safetensors", device))
            state = json.loads((folder / "state.json").read_text())
            return state["done"], state["tokens"], state["log"]
    return 0, 0, []


def discard_checkpoint(out: Path) -> None:
    """Remove training state: call it once the finished model is written."""
    for suffix in ("", ".new", ".old"):
        shutil.rmtree(out / f"{CHECKPOINT}{suffix}", ignore_errors=True)


def best_device() -> str:
    """Where to train: the GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
