"""Training in several processes, as torchrun starts them, gives what one process gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gristmill.recipe import Pretrain
from gristmill.training import pretrain

SETTINGS: dict[str, Any] = {
    **dict(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, ffn_width=70, context=64),  # 70 rows: uneven in 4
    **dict(batch=8, max_steps=21, evaluate_every=10, checkpoint_seconds=0),
}


@pytest.fixture(scope="module")
def alone(tokenizer_folder: Path, tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains, uninterrupted."""
    out = tmp_path_factory.mktemp("alone")
    pretrain.run({"tokenizer": tokenizer_folder, "tokens": tokens_folder}, Pretrain(**SETTINGS), out)
    return out


def start(inputs: list[Path], out: Path, processes: int, **settings: object) -> subprocess.Popen[str]:
    """Begin to train in some processes."""
    options = [f"--set={name}={value}" for name, value in {**SETTINGS, **settings}.items()]
    launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, "-m", "gristmill", "pretrain", *map(str, inputs), "-o", str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)


def wait(process: subprocess.Popen[str], until: Callable[[], bool]) -> None:
    """Wait for something that a running process does."""
    ends = time.monotonic() + 120
    while not until():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < ends
        time.sleep(0.005)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill torchrun and what it has started, leaving none of them time for anything."""
    process.send_signal(signal.SIGSTOP)
    subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=True)
    process.kill()
    process.communicate(timeout=300)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for the end; what was printed."""
    told = process.communicate(timeout=200)[1]
    assert process.returncode == code, told
    return told


def same(out: Path, expected: Path) -> None:
    """The same loss curve and weights, but for rounding."""
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (out, expected)
    ]
    for name in ("loss", "heldout_bpb"):
        found, wanted = ([(r["step"], r["tokens"], r[name]) for r in log if name in r] for log in logs)
        assert [record[:2] for record in found] == [record[:2] for record in wanted]
        assert [record[2] for record in found] == pytest.approx([record[2] for record in wanted], abs=1e-5)
    weights = [load_file(folder / "model.safetensors") for folder in (out, expected)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-3) for name in weights[0])


def test_parts_of_a_batch_make_the_same_step(
    tokenizer_folder: Path, tokens_folder: Path, alone: Path, tmp_path: Path
) -> None:
    params = Pretrain(**SETTINGS, accumulate=4)
    pretrain.run({"tokenizer": tokenizer_folder, "tokens": tokens_folder}, params, tmp_path)
    same(tmp_path, alone)


@pytest.mark.parametrize(("processes", "how", "accumulate"), [(2, "ddp", 2), (4, "fsdp", 1)])
def test_processes_make_the_same_model(
    tokenizer_folder: Path,
    tokens_folder: Path,
    alone: Path,
    tmp_path: Path,
    processes: int,
    how: str,
    accumulate: int,
) -> None:
    inputs = [tokenizer_folder, tokens_folder]
    finish(start(inputs, tmp_path / "out", processes, parallel=how, accumulate=accumulate))
    same(tmp_path / "out", alone)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_killed_and_resumed_in_other_numbers_of_processes(
    tokenizer_folder: Path, tokens_folder: Path, alone: Path, tmp_path: Path
) -> None:
    inputs, out = [tokenizer_folder, tokens_folder], tmp_path / "out"
    kept = tmp_path / "out.partial" / "checkpoints"
    first = start(inputs, out, 4, parallel="fsdp")
    wait(first, (kept / "step-00000006").exists)
    kill(first)
    newest = max(kept.glob("step-????????"))
    assert sorted(path.suffix for path in newest.iterdir()) == [".json", ".jsonl", *4 * [".safetensors"]]
    second = start(inputs, out, 2, parallel="ddp")
    wait(second, (kept / "step-00000012").exists)
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=100)
    assert max(kept.glob("step-????????")).name > "step-00000012"
    finish(start(inputs, out, 1))
    same(out, alone)
