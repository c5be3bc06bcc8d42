"""What training is said to take of memory is what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from forks import Commands

from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain
from gristmill.settings.recipe_file import load_recipe
from gristmill.training.budget.memory import training_memory

VOCABULARY = 400
SMALL: dict[str, Any] = dict(layers=1, width=32, heads=1, kv_heads=1, head_dim=32, ffn_width=32, context=64, batch=2)
DEEP: dict[str, Any] = dict(layers=4, width=192, heads=6, kv_heads=6, head_dim=32, ffn_width=512, context=256, batch=32)


def peak(commands: Commands, inputs: list[Path], out: Path, shape: dict[str, Any]) -> int:
    """The peak of a training of two steps."""
    settings = {**shape, "max_steps": 2, "snapshots": 2, "checkpoint_seconds": 0}
    options = [f"--set={name}={value}" for name, value in settings.items()]
    done = commands.run(["pretrain", *inputs, "-o", out, *options])
    assert done.code == 0, done.stderr
    made = Manifest.read(out)
    assert made
    return made.peak_rss_bytes


def test_the_peak_of_a_training_is_known_before(
    tokenizer_folder: Path, tokens_folder: Path, tmp_path: Path, commands: Commands
) -> None:
    inputs = [tokenizer_folder, tokens_folder]
    found = [peak(commands, inputs, tmp_path / str(shape["layers"]), shape) for shape in (SMALL, DEEP)]
    said = [training_memory(Pretrain(**shape), VOCABULARY, False).peak for shape in (SMALL, DEEP)]
    assert said[1] - said[0] == pytest.approx(found[1] - found[0], rel=0.15) and said[1] > 400 << 20


def test_on_a_gpu_it_is_what_was_measured_there() -> None:
    """One H200, PyTorch 2.11, 64 rows a step: 25.4 GiB (docs/notebook/speed.md)."""
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "h100.toml")
    assert recipe.pretrain and recipe.tokenizer
    made, vocabulary = recipe.pretrain.model_copy(update={"batch": 64, "accumulate": 1}), recipe.tokenizer.vocab_size

    def needed(processes: int = 1, **changes: object) -> int:
        return training_memory(made.model_copy(update=changes), vocabulary, True, processes).peak

    assert needed() == pytest.approx(25.4 * 2**30, rel=0.05)
    assert needed(batch=512, accumulate=8) > needed()  # gradients of the parts before
    assert needed(recompute=True) < needed() / 2 and needed(batch=32) < 0.6 * needed()
    assert needed(8, batch=512, parallel="fsdp") < needed(8, batch=512)
