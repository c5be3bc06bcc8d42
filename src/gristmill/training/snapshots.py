"""Snapshots: the model as it was at a handful of steps, and what the step after each did to every layer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from gristmill.files import write_text
from gristmill.model.transformer import Transformer, save_model

FOLDER = "snapshots"
STEP = "step.json"  # in a snapshot's folder: what the step taken from there was


class Snapshots:
    """Keeps a model's weights before some steps, in `out/snapshots/step-N/`; call it before every step.

    It neither changes the training nor draws random numbers: with it or without, the model's bits are the same. What
    it writes depends on the weights and the step alone, so that a run that was killed and resumed writes the same
    bytes. Cost: the size of the model on disk for each, and one more forward and backward pass.
    """

    def __init__(self, model: Transformer, out: Path, steps: int, count: int) -> None:
        self.model, self.out = model, out / FOLDER
        self.steps = snapshot_steps(steps, count)

    def __call__(self, step: int, loss: Callable[[], Tensor]) -> None:
        """Finish the snapshot of the step before, if there is one, and take that of this step, if it is due.

        `loss` gives the loss of this step's batch.
        """
        self.finish(step)
        if step in self.steps:
            told: dict[str, Any] = {"step": step, **gradients(self.model, loss)}
            folder = self.folder(step)
            save_model(self.model, folder)
            write_text(folder / STEP, json.dumps(told, indent=1) + "\n")

    def finish(self, step: int) -> None:
        """Measure how far the step before has moved each layer's weights, if there is a snapshot of before it."""
        folder = self.folder(step - 1)
        if step - 1 not in self.steps or not (folder / STEP).exists():
            return
        told = json.loads((folder / STEP).read_text())
        now, device = self.model.state_dict(), str(self.model.embed.weight.device)
        with safe_open(folder / "model.safetensors", "pt", device) as before:
            old = norms(now, before.get_tensor)
            change = norms(now, lambda name: now[name] - before.get_tensor(name))
        for layer in told["layers"]:
            name = layer["name"]
            layer |= {"weight": rounded(old[name]), "update": rounded(change[name])}
        write_text(folder / STEP, json.dumps(told, indent=1) + "\n")

    def folder(self, step: int) -> Path:
        """Where the snapshot of a step is."""
        return self.out / f"step-{step:07}"


def snapshot_steps(steps: int, count: int) -> list[int]:
    """About `count` of a training's steps, the first among them, the others each the same factor later than the one
    before: early on, when most happens, they are close together.
    """
    if count < 1:
        return []
    later = {round(steps ** (number / count)) for number in range(1, count)} if count > 1 else set()
    return sorted({0} | {step for step in later if step < steps})


def gradients(model: Transformer, loss: Callable[[], Tensor]) -> dict[str, Any]:
    """The loss, and the norm of its gradient for each layer."""
    value = loss()
    named = dict(model.named_parameters())
    found = dict(zip(named, torch.autograd.grad(value, list(named.values())), strict=True))
    by_layer = norms(found, found.__getitem__)
    layers = [{"name": name, "gradient": rounded(norm)} for name, norm in by_layer.items()]
    return {"loss": round(value.item(), 5), "layers": layers}


def norms(names: Iterable[str], tensor: Callable[[str], Tensor]) -> dict[str, float]:
    """The norm of each layer's numbers taken together, by the layer's name, from the input to the output.

    `tensor` gives each by its name, so that one at a time is in memory.
    """
    squares: dict[str, float] = {}
    for name in sorted(names, key=place):
        layer = layer_of(name)
        squares[layer] = squares.get(layer, 0.0) + float(tensor(name).float().square().sum(dtype=torch.float64))
    return {layer: square**0.5 for layer, square in squares.items()}


def layer_of(parameter: str) -> str:
    """`layers.3.attention.q.weight` → `layer 4`; `head.weight` → `head`."""
    first, second, *_ = parameter.split(".")
    return f"layer {int(second) + 1}" if first == "layers" else first


def place(parameter: str) -> tuple[int, int, str]:
    """Where a parameter is on the way from the input to the output."""
    first, second, *_ = parameter.split(".")
    return (
        {"embed": 0, "layers": 1, "norm": 2, "head": 3}.get(first, 2),
        int(second) if first == "layers" else 0,
        parameter,
    )


def rounded(value: float) -> float:
    """Six digits."""
    return float(f"{value:.6g}")
