"""How fast the stages after pretraining train, where a recipe does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gristmill.manifest import Manifest
from gristmill.progress import console
from gristmill.recipe import SFT, Tune
from gristmill.training.job import Plan
from gristmill.training.optimizer import Rates

LR, LR_OF_ADAPTERS = 0.3, 0.1  # of `sft`: docs/notebook/post-training.md
LR_OF_ALIGNING = 0.1  # of what comes after it
LR_OF_OTHERS = 0.01  # of both, where `sft.init_from` took a model by others


def factor(params: Tune, model: Path | None) -> float:
    """By how much the rates are scaled of a stage that goes on from the model in a folder, or from that of
    `sft.init_from`. Where `lr` is not set and the model is by others, the choice is said."""
    if params.lr:
        return params.lr
    tuned = params if isinstance(params, SFT) else None
    if tuned and (tuned.lora_rank or tuned.lora_from):
        return LR_OF_ADAPTERS
    made = Manifest.read(model) if model else None
    if (tuned and tuned.init_from) or (made and "sft" in made.begun_with):
        console.print(f"           lr = {LR_OF_OTHERS}, as the model is by others")
        return LR_OF_OTHERS
    return LR if tuned else LR_OF_ALIGNING


def tuning(task: str, steps: int, params: Tune, model: Path, **more: Any) -> Plan:
    """The plan of a stage that goes on from the model in a folder: its rates fall from the end of the warm-up on."""
    rates = Rates.of(params).scaled(factor(params, model))
    clock = params.checkpoint_seconds
    return Plan(task, steps, rates, warmup=params.warmup, decay=1.0, checkpoint_seconds=clock, **more)
