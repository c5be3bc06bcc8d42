"""What must hold of any training: where the loss begins, that it can reach zero, and a run whose losses are known.

Where a change is meant to alter the losses of the known run, `python tests/training/test_correctness.py` writes them
anew; the change's notes should say why they differ.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.loop import train
from gristmill.training.optimizer import Rates

GOLDEN = Path(__file__).with_name("golden.json")
VOCABULARY = 64


def successor(step: int) -> Tensor:
    """Rows in which each token is mostly the one before plus 3: something to learn, [4, 33]."""
    random = torch.Generator().manual_seed(step)
    first = torch.randint(0, VOCABULARY, (4, 1), generator=random)
    noise = torch.randint(0, VOCABULARY, (4, 33), generator=random)
    rows = (first + 3 * torch.arange(33)) % VOCABULARY
    return torch.where(torch.rand(4, 33, generator=random) < 0.1, noise, rows)


def losses(out: Path, steps: int, tied: bool, fixed: bool = False, double: bool = False) -> list[float]:
    """The losses of a tiny training: on a new batch at every step, or on one batch (`fixed`)."""
    torch.manual_seed(7)
    model = Transformer(ModelConfig(VOCABULARY, 2, 32, 4, 2, 8, 64, 32, tie_embeddings=tied))
    if double:
        model.double()
    seen: list[float] = []

    def loss(step: int) -> StepLoss:
        ids = successor(0 if fixed else step)
        value = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        seen.append(value.item())
        return StepLoss(value, ids[:, 1:].numel())

    train(Job(model, loss, Plan("test", steps, Rates(0.02, 0.02, 0.005))), out)
    return seen


def known_runs() -> dict[str, list[float]]:
    """Losses at every fourth step, in float64: so they are the same on any machine."""
    with tempfile.TemporaryDirectory() as out:
        runs = {name: losses(Path(out) / name, 41, name == "tied", double=True) for name in ("tied", "untied")}
    return {name: [round(value, 6) for value in run[::4]] for name, run in runs.items()}


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_loss_is_that_of_guessing(tmp_path: Path, tied: bool) -> None:
    first = losses(tmp_path, 1, tied)[0]
    assert first == pytest.approx(math.log(VOCABULARY), abs=0.05)


def test_one_batch_can_be_learned_by_heart(tmp_path: Path) -> None:
    assert losses(tmp_path, 150, tied=False, fixed=True)[-1] < 0.01


def test_losses_are_the_known_ones() -> None:
    known, found = json.loads(GOLDEN.read_text()), known_runs()
    for name, run in found.items():
        assert run == pytest.approx(known[name], abs=1e-5), "see this file's docstring"


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(known_runs(), indent=1) + "\n")
