"""Stages after pretraining in two processes, as torchrun starts them, give what one process gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonl
import pytest
import torch
from forks import Commands
from safetensors.torch import load_file
from talking import WORDS, chat

from gristmill.settings.stages import BY_NAME

USER = [[{"role": "user", "content": f"Say {word}"}] for word in WORDS]
COMMON = ["batch=6", "epochs=3", "lr=0.02"]


def records(stage: str) -> list[dict[str, Any]]:
    """A few, for any stage."""
    if stage == "sft":
        return [{"messages": chat(f"Say {word}", "A red boat on the river." * n)} for word in WORDS for n in (1, 2, 3)]
    if stage == "rl":
        return [{"prompt": prompt, "truth": "boat"} for prompt in USER]
    return [{"prompt": prompt, "chosen": "A boat.", "rejected": "cat"} for prompt in USER] * 2


def arguments(stage: str, inputs: dict[str, Path], path: str, out: Path, settings: list[str]) -> list[object]:
    """The command that runs a stage alone."""
    file = {"sft": "conversations", "rl": "prompts"}.get(stage, "preferences")
    options = [f"--set={one}" for one in (*COMMON, *settings, f"{file}={path}")]
    reads = sorted(BY_NAME[stage].reads, key=lambda name: name in BY_NAME[stage].optional)
    known = [name in inputs for name in reads]
    # without one, no later one is given
    return [stage, *(inputs[name] for name in reads[: [*known, False].index(False)]), "-o", out, *options]


STAGES = {
    "sft": ["average=answer", "replay=0.2", "batch=16"],
    "dpo": [],
    "kto": [],
    "reward": [],
    "rl": ["updates=2", "group=4", "max_tokens=6", "method=ppo", "temperature=1.3"],
}


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_make_the_same_model(
    stage: str, base: dict[str, Path], tuned: dict[str, Path], corpus: Path, tmp_path: Path, commands: Commands
) -> None:
    inputs = {**(base if stage == "sft" else tuned), "corpus": corpus}
    path = jsonl.write(tmp_path / "r.jsonl", records(stage))
    folders = [tmp_path / str(processes) for processes in (1, 2)]
    for processes, out in enumerate(folders, 1):
        done = commands.run(arguments(stage, inputs, path, out, STAGES[stage]), processes=processes)
        assert done.code == 0, done.stderr
    logs = [jsonl.read(one / "log.jsonl") for one in folders]
    assert [record.keys() for record in logs[0]] == [record.keys() for record in logs[1]]
    for one, two in zip(*logs, strict=True):
        assert two == pytest.approx(one, abs=1.1e-5)
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-3) for name in weights[0])
