"""Training in several processes, as torchrun starts them, gives what one process gives."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonl
import pytest
import torch
from command_line import python
from forks import Commands
from safetensors.torch import load_file

from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain
from gristmill.training import pretrain

SETTINGS: dict[str, Any] = {
    **dict(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, ffn_width=70, context=64),  # 70 rows: uneven in 4
    **dict(
        batch=8, max_steps=13, evaluate_every=6, checkpoint_seconds=0, normuon=True, snapshots=2, sample_prompts=["A"]
    ),
}


@pytest.fixture(scope="module")
def alone(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains, uninterrupted."""
    out = tmp_path_factory.mktemp("alone")
    pretrain.run(inputs, Pretrain(**SETTINGS), out)
    return out


def arguments(inputs: list[Path], out: Path, **settings: object) -> list[str]:
    """The command that trains."""
    options = [f"--set={name}={json.dumps(value)}" for name, value in {**SETTINGS, **settings}.items()]
    return ["pretrain", *map(str, inputs), "-o", str(out), *options]


def same(out: Path, expected: Path) -> None:
    """The same loss curve and weights, but for rounding."""
    logs = [jsonl.read(folder / "log.jsonl") for folder in (out, expected)]
    for name in ("loss", "heldout_bpb"):
        found, wanted = ([(r["step"], r["tokens"], r[name]) for r in log if name in r] for log in logs)
        assert [record[:2] for record in found] == [record[:2] for record in wanted]
        assert [record[2] for record in found] == pytest.approx([record[2] for record in wanted], abs=1e-5)
    weights = [load_file(folder / "model.safetensors") for folder in (out, expected)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-3) for name in weights[0])


def sent(out: Path) -> int:
    """Bytes that the leader has sent in the last step."""
    made = Manifest.read(out)
    assert made
    return made.counts["bytes_sent_a_step"]


def expected(model: Path, processes: int, how: str = "ddp", parts: int = 1, low: int = 4) -> int:
    """The same by count: in a ring, of n bytes that all processes hold together, each sends all but its own share.

    Gradients go round twice with DDP, be a step in parts or not, and once with FSDP2, which gathers the weights: in
    every part those of layers twice, `low` bytes each, and the others once. Muon's gradients are gathered where they
    are sharded, and its updates anyway.
    """
    weights = load_file(model / "model.safetensors")
    fsdp = how == "fsdp"

    def whole(tensor: torch.Tensor) -> int:  # rows are filled up, so that all have as many
        return -(-len(tensor) // processes) * processes * tensor[0].numel() if fsdp else tensor.numel()

    stacks = defaultdict(list)
    for name, tensor in weights.items():
        if tensor.ndim == 2 and name.startswith("layers"):
            stacks[tensor.shape].append(tensor.numel())
    updates = sum(-(-len(stack) // processes) * processes * stack[0] for stack in stacks.values())
    gathered = sum(map(sum, stacks.values())) if fsdp else 0
    layers = sum(whole(tensor) for name, tensor in weights.items() if name.startswith("layers"))
    rest = sum(whole(tensor) for name, tensor in weights.items() if not name.startswith("layers"))
    reading = parts * (2 * layers * low + 4 * rest) if fsdp else 0
    sums = 2 * 8 * 5  # float64: loss, tokens, signals, whether a checkpoint is due; targets
    bytes_ = 4 * (layers + rest) * (1 if fsdp else 2) + 4 * (gathered + updates) + reading + sums
    return bytes_ * (processes - 1) // processes


def test_parts_of_a_batch_make_the_same_step(inputs: dict[str, Path], alone: Path, tmp_path: Path) -> None:
    params = Pretrain(**SETTINGS, accumulate=4)
    pretrain.run(inputs, params, tmp_path)
    same(tmp_path, alone)


def test_torchrun_makes_the_same_model(
    tokenizer_folder: Path, tokens_folder: Path, alone: Path, tmp_path: Path
) -> None:
    options = arguments([tokenizer_folder, tokens_folder], tmp_path / "out", parallel="ddp", accumulate=2)
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "gristmill"]
    done = subprocess.run([sys.executable, *launch, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    same(tmp_path / "out", alone)
    assert not (tmp_path / "out" / "checkpoints").exists()
    assert sent(tmp_path / "out") == expected(alone, 2)


def test_killed_and_resumed_in_other_numbers_of_processes(
    tokenizer_folder: Path, tokens_folder: Path, alone: Path, tmp_path: Path, commands: Commands
) -> None:
    inputs, out = [tokenizer_folder, tokens_folder], tmp_path / "out"
    kept = tmp_path / "out.partial" / "checkpoints"
    commands.start(arguments(inputs, out, parallel="fsdp"), processes=4)
    commands.until((kept / "step-00000003").exists)
    commands.kill()
    assert commands.wait() == -signal.SIGKILL
    newest = max(kept.glob("step-????????"))
    assert sorted(path.suffix for path in newest.iterdir()) == [".json", ".jsonl", *4 * [".safetensors"]]
    for step, processes in ((6, 2), (9, 1)):
        commands.start(arguments(inputs, out, parallel="ddp"), processes=processes)
        commands.until((kept / f"step-{step:08}").exists)
        commands.signal(signal.SIGTERM)
        assert commands.wait() != 0
        assert max(kept.glob("step-????????")).name > f"step-{step:08}"
    done = commands.run(arguments(inputs, out, parallel="fsdp", accumulate=2), processes=4)
    assert done.code == 0, done.stderr
    same(out, alone)
    assert not (out / "checkpoints").exists()
    assert sent(out) == expected(alone, 4, "fsdp", parts=2)


def test_in_bfloat16_sharded_weights_are_gathered_in_it(
    tokenizer_folder: Path, tokens_folder: Path, tmp_path: Path, commands: Commands
) -> None:
    losses = []
    for processes in (1, 2):
        out, how = tmp_path / str(processes), dict(parallel="fsdp", bfloat16=True, max_steps=8, evaluate_every=8)
        done = commands.run(arguments([tokenizer_folder, tokens_folder], out, **how), processes=processes)
        assert done.code == 0, done.stderr
        log = jsonl.read(out / "log.jsonl")
        losses.append([record[name] for record in log for name in ("loss", "heldout_bpb") if name in record])
    assert sent(out) == expected(out, 2, "fsdp", low=2)
    assert losses[1] == pytest.approx(losses[0], rel=2**-8) and losses[1] != losses[0]


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("None", 0), ("3", 3), ("'a word'", 1)])
def test_one_of_several_ends_without_the_end_of_the_interpreter(code: str, expected: int) -> None:
    """In which threads of PyTorch can abort it. What was registered for the end is done, what was printed is there."""
    program = (
        "import atexit, gristmill.processes as processes\n"
        "class Late:\n    def __del__(self): print('late')\n"
        "late = Late()\natexit.register(print, 'registered')\nprint('printed')\n"
        f"processes.leave({code})"
    )
    done = python(program)
    assert (done.returncode, done.stdout) == (expected, "printed\nregistered\n")
    assert done.stderr == ("a word\n" if "word" in code else "")
