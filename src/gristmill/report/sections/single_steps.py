"""What single steps of training did to each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.inspection.predictions import Moment, moments, steps
from gristmill.report.blocks import Figure, Section, Table
from gristmill.report.plot import bar_chart, number
from gristmill.report.reading import Folders, has_model

LEARNS = (
    "A perceptron (Rosenblatt, 1958) learns from its mistakes: where its answer is wrong, each weight moves so that "
    "the answer becomes less wrong. That works for one layer only, as no one says what a layer further in should have "
    "answered. Backpropagation (Rumelhart, Hinton and Williams, 1986) follows the chain rule from the loss backwards, "
    "layer by layer, and so tells for every weight how the loss would change with it. The length of a layer's numbers "
    "is its gradient norm; the optimizer makes a step of them, and the update is how far the layer's weights moved, as "
    "a share of their own length. Where the output of a layer is multiplied by weights that are still zero, its own "
    "gradient is zero too, or smaller, until those weights have moved."
)


def learned(found: Sequence[Moment]) -> Section | None:
    """What single steps did to each layer; None where nothing was kept of any."""
    told = list(steps(list(found)))
    if not told:
        return None
    one = told[len(told) // 2]
    head = ("layer", *(f"step {step['step']:,}" for step in told))
    section = Section("From the perceptron to backpropagation", LEARNS)
    for caption, name in (
        ("Gradient norm by layer", "gradient"),
        ("Update by layer, of its weights' length", "update"),
    ):
        bars = [(layer["name"], [("", value(layer, name))]) for layer in one["layers"]]
        when = f"at step {one['step']:,} (loss {one['loss']:.3f})"
        section.blocks.append(Figure(f"{caption}, {when}", bar_chart(bars, caption)))
        rows = [
            [layer["name"], *(number(value(step["layers"][place], name)) for step in told)]
            for place, layer in enumerate(one["layers"])
        ]
        section.blocks.append(Table(f"{caption}, from step to step", head, rows))
    section.blocks.append(Table("Loss of the step's batch", head[1:], [[f"{step['loss']:.3f}" for step in told]]))
    return section


def value(layer: dict[str, Any], name: str) -> float:
    """A layer's gradient norm, or its update as a share of its weights."""
    if name == "gradient":
        return float(layer["gradient"])
    return float(f"{layer['update'] / layer['weight']:.4g}") if layer.get("weight") else 0.0


def stepped(folders: Folders) -> Section | None:
    """For the report: what single steps of pretraining did."""
    return learned(moments(folders["pretrain"])) if has_model(folders, "pretrain") else None
